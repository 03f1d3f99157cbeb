"""Do settings that are bred in mid-run beat fixed ones, for as many epochs?

python sweeps/population.py
ray submit cluster.yaml sweeps/population.py

Population-based training finds a course of learning rates; a schedule has one built in. So each search is given both a constant
rate and a cosine's. 16 whole runs for every level, and 32 finals; --quick: 4 and 24, of 5 epochs, about 30 CPU seconds.
"""

from sweeps import PBT, TPE, Rivals, Search, Sweep, each, log_uniform, main
from trainables import AdamW, Constant, Cosine, Recipe
from trainables.models import MLP
from trainables.schedules import Schedule
from trainables.tasks import digits

SCHEDULES: tuple[Schedule, ...] = (Constant(), Cosine())
SEARCHES: tuple[Search | PBT, ...] = (TPE(), PBT())

sweep = Sweep(
    name="population",
    task=digits,
    recipe=Recipe(
        model=MLP(widths=(128, 128)),
        batch_size=64,
        optimizer=AdamW(lr=log_uniform(1e-4, 1e-1), weight_decay=log_uniform(1e-4, 1.0)),
        schedule=each(*SCHEDULES),
        epochs=20,
    ),
    search=Rivals(trials=16, method=each(*SEARCHES)),
    seeds=8,  # finals
)

if __name__ == "__main__":
    main(sweep)  # the same few options for every sweep
