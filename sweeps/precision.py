"""What does half precision cost in accuracy, and what does it save in time?

On a CPU FP16 is emulated: slow, and for its accuracy alone. A GPU from compute capability 8.0 can have TF32() among the levels too.

python sweeps/precision.py
ray submit cluster.yaml sweeps/precision.py

36 finals of 20 epochs, nothing is searched; --quick: 18 of 5 epochs, about 30 CPU seconds.
"""

from sweeps import Sweep, each, main
from trainables import BF16, FP16, FP32, AdamW, Cosine, Recipe
from trainables.models import MLP
from trainables.precision import Precision
from trainables.tasks import digits

PRECISIONS: tuple[Precision, ...] = (FP32(), BF16(), FP16())

sweep = Sweep(
    name="precision",
    task=digits,
    recipe=Recipe(
        model=MLP(widths=(128, 128)),
        batch_size=64,
        optimizer=AdamW(lr=3e-3),
        schedule=Cosine(warmup=0.1),
        precision=each(*PRECISIONS),
        epochs=20,
    ),
    seeds=12,  # finals; nothing is searched
)

if __name__ == "__main__":
    main(sweep)  # the same few options for every sweep
