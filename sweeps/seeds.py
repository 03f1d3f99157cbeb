"""How much of the spread between runs is initialisation, how much data order, how much the split?

python sweeps/seeds.py
ray submit cluster.yaml sweeps/seeds.py

256 finals of 20 epochs, trained in packs: 6 CPU seconds, 12 s, and 24 s with everything around them; 24 finals one by one
(--lane solo --seeds 6) took 8, 12 and 22 (three runs each, two cores of an AMD EPYC). --quick: 24 finals of 5 epochs.
"""

from sweeps import Sweep, each, main
from trainables import AdamW, Cosine, Recipe
from trainables.models import MLP
from trainables.tasks import digits

SOURCES = (("init",), ("order",), ("split",), ("init", "order", "split"))  # the last is the whole

sweep = Sweep(
    name="seeds",
    task=digits,
    recipe=Recipe(
        model=MLP(widths=(32, 32)),
        batch_size=32,
        optimizer=AdamW(lr=3e-3),
        schedule=Cosine(warmup=0.1),
        epochs=20,
    ),
    vary=each(*SOURCES),  # what is not drawn stays as seed 0 has it
    seeds=64,  # finals for each; nothing is searched
    lane="fused",
    timed=0,  # none alone for their seconds, which nobody asks about
)

if __name__ == "__main__":
    main(sweep)  # the same few options for every sweep
