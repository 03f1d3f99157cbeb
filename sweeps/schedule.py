"""Which learning-rate schedule, each at its own best peak?

python sweeps/schedule.py
ray submit cluster.yaml sweeps/schedule.py

112 heats and 56 finals of 20 epochs; --quick: 28 and 42 of 5 epochs, about 30 CPU seconds.
"""

from sweeps import ASHA, TPE, Sweep, each, log_uniform, main
from trainables import AdamW, Constant, Cosine, Exponential, OneCycle, Plateau, Recipe, Step, WarmRestarts
from trainables.models import MLP
from trainables.schedules import Schedule
from trainables.tasks import digits

SCHEDULES: tuple[Schedule, ...] = (
    Constant(),
    Step(),
    Exponential(final=0.01),
    Cosine(warmup=0.1),
    WarmRestarts(cycles=2),
    OneCycle(),
    Plateau(factor=0.3, patience=2),
)

sweep = Sweep(
    name="schedule",
    task=digits,
    recipe=Recipe(
        model=MLP(widths=(128, 128)),
        batch_size=64,
        optimizer=AdamW(lr=log_uniform(1e-4, 3e-2)),
        schedule=each(*SCHEDULES),
        epochs=20,
    ),
    search=TPE(trials=16),  # for each schedule
    early_stop=ASHA(grace=2, factor=3),
    seeds=8,  # finals
)

if __name__ == "__main__":
    main(sweep)  # the same few options for every sweep
