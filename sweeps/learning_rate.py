"""Which learning rate, and how wide is the range in which it does not matter?

python sweeps/learning_rate.py
ray submit cluster.yaml sweeps/learning_rate.py

56 finals of 20 epochs, nothing is searched; --quick: 42 of 5 epochs, about 30 CPU seconds.
"""

from sweeps import Sweep, each, main
from trainables import AdamW, Cosine, Recipe
from trainables.models import MLP
from trainables.tasks import digits

sweep = Sweep(
    name="learning_rate",
    task=digits,
    recipe=Recipe(
        model=MLP(widths=(128, 128)),
        batch_size=64,
        optimizer=AdamW(lr=each(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)),
        schedule=Cosine(warmup=0.1),
        epochs=20,
    ),
    seeds=8,  # finals; nothing is searched
)

if __name__ == "__main__":
    main(sweep)  # the same few options for every sweep
