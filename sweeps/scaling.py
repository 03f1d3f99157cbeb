"""How many times as fast do more workers train, at the same batch and at the same batch a worker?

python sweeps/scaling.py
python sweeps/scaling.py --workers 8
ray submit cluster.yaml sweeps/scaling.py

24 finals of 20 epochs, one at a time, by a crew of two workers; --quick: 18 of 5 epochs.
"""

from sweeps import Resources, Sweep, each, main
from trainables import AdamW, Cosine, PerWorker, Recipe
from trainables.models import MLP
from trainables.tasks import digits

BATCHES: tuple[int | PerWorker, ...] = (256, PerWorker(128))  # shared by all: strong scaling; for each: weak

sweep = Sweep(
    name="scaling",
    task=digits,
    recipe=Recipe(
        model=MLP(widths=(512, 512)),
        batch_size=each(*BATCHES),
        optimizer=AdamW(lr=1e-3),
        schedule=Cosine(warmup=0.1),
        epochs=20,
    ),
    resources=Resources(workers=each(1, 2)),
    seeds=8,  # finals; nothing is searched
)

if __name__ == "__main__":
    main(sweep)  # the same few options for every sweep
