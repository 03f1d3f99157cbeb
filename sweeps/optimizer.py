"""Which optimizer, each at its own best learning rate?

python sweeps/optimizer.py
ray submit cluster.yaml sweeps/optimizer.py

112 heats and 56 finals of 20 epochs; --quick: 28 and 42 of 5 epochs, about 30 CPU seconds.
"""

from sweeps import ASHA, TPE, Sweep, each, log_uniform, main
from trainables import LAMB, SGD, Adam, AdamW, Cosine, RAdam, Recipe, RMSprop
from trainables.models import MLP
from trainables.optimizers import Optimizer
from trainables.tasks import digits

OPTIMIZERS: tuple[Optimizer, ...] = (
    AdamW(lr=log_uniform(1e-4, 3e-2)),
    Adam(lr=log_uniform(1e-4, 3e-2)),
    RAdam(lr=log_uniform(1e-4, 3e-2)),
    LAMB(lr=log_uniform(1e-3, 1e-1)),
    RMSprop(lr=log_uniform(1e-5, 1e-2)),
    SGD(lr=log_uniform(1e-2, 1.0), momentum=0.9),
    SGD(lr=log_uniform(1e-2, 1.0), momentum=0.9, nesterov=True),
)

sweep = Sweep(
    name="optimizer",
    task=digits,
    recipe=Recipe(
        model=MLP(widths=(128, 128)),
        batch_size=64,
        optimizer=each(*OPTIMIZERS),
        schedule=Cosine(warmup=0.1),
        epochs=20,
    ),
    search=TPE(trials=16),  # for each optimizer
    early_stop=ASHA(grace=2, factor=3),
    seeds=8,  # finals
)

if __name__ == "__main__":
    main(sweep)  # the same few options for every sweep
