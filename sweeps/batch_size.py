"""Does a larger batch reach the target sooner, each at its own best learning rate?

python sweeps/batch_size.py
ray submit cluster.yaml sweeps/batch_size.py

96 heats and 192 finals of 20 epochs: less than three minutes on two cores; --quick, 24 and 36 of 5 epochs, 30 CPU seconds.
"""

from sweeps import ASHA, TPE, Sweep, each, log_uniform, main
from trainables import EMA, AdamW, Cosine, Recipe
from trainables.models import MLP
from trainables.tasks import digits

sweep = Sweep(
    name="batch_size",
    task=digits,
    recipe=Recipe(
        model=MLP(widths=(128, 128)),
        batch_size=each(16, 32, 64, 128, 256, 512),
        optimizer=AdamW(lr=log_uniform(1e-4, 3e-2)),
        schedule=Cosine(warmup=0.1),
        average=EMA(decay=0.99),
        epochs=20,
    ),
    search=TPE(trials=16),  # for each batch size
    early_stop=ASHA(grace=2, factor=3),
    seeds=32,  # finals
)

if __name__ == "__main__":
    main(sweep)  # the same few options for every sweep
