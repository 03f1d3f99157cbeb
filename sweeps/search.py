"""Which search finds the best recipe with as many trials, when five settings are open?

python sweeps/search.py
ray submit cluster.yaml sweeps/search.py

Each search has 32 heats of 20 epochs; the finals judge the point that it found. That is one run of each search: how lucky it was
is not among what the finals' seeds draw, so a narrow lead says little of the method. About two minutes on two cores; --quick 30 s.
"""

from sweeps import CMAES, GP, TPE, Random, Rivals, Search, Sweep, each, int_range, log_uniform, main, uniform
from trainables import AdamW, Cosine, Recipe
from trainables.models import MLP
from trainables.tasks import digits

SEARCHES: tuple[Search, ...] = (Random(), TPE(), CMAES(), GP())

sweep = Sweep(
    name="search",
    task=digits,
    recipe=Recipe(
        model=MLP(widths=(int_range(16, 256, log=True),), dropout=uniform(0.0, 0.6)),
        batch_size=64,
        optimizer=AdamW(lr=log_uniform(1e-4, 1e-1), weight_decay=log_uniform(1e-4, 1.0)),
        schedule=Cosine(warmup=uniform(0.0, 0.5)),
        epochs=20,
    ),
    search=Rivals(trials=32, method=each(*SEARCHES)),  # 32 heats for each
    seeds=8,  # finals
)

if __name__ == "__main__":
    main(sweep)  # the same few options for every sweep
