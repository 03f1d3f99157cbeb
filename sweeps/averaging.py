"""Does averaging the weights pay: none, exponential (EMA) or over the last epochs (SWA), each at its own best learning rate?

python sweeps/averaging.py
ray submit cluster.yaml sweeps/averaging.py

64 heats and 32 finals of 20 epochs; --quick: 16 and 24 of 5 epochs, about 30 CPU seconds.
"""

from sweeps import ASHA, TPE, Sweep, each, log_uniform, main
from trainables import EMA, SWA, AdamW, Constant, Recipe
from trainables.models import MLP
from trainables.tasks import digits

sweep = Sweep(
    name="averaging",
    task=digits,
    recipe=Recipe(
        model=MLP(widths=(128, 128)),
        batch_size=64,
        optimizer=AdamW(lr=log_uniform(1e-4, 3e-2)),
        schedule=Constant(warmup=0.1),  # averaging stands in for a decay, so there is none beside it
        average=each(None, EMA(decay=0.9), EMA(decay=0.99), SWA(epochs=5)),
        epochs=20,
    ),
    search=TPE(trials=16),  # for each average
    early_stop=ASHA(grace=2, factor=3),
    seeds=8,  # finals
)

if __name__ == "__main__":
    main(sweep)  # the same few options for every sweep
