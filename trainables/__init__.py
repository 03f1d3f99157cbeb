"""One training run: recipe, task and loop. Needs torch and numpy alone; the settings are importable without loading either."""

from trainables.averages import EMA
from trainables.clip import ClipNorm, Clips, ClipValue
from trainables.errors import ConflictError
from trainables.losses import CrossEntropy, MeanSquaredError
from trainables.metrics import absolute_error, accuracy
from trainables.optimizers import SGD, AdamW
from trainables.plan import Plan
from trainables.precision import BF16, FP16, FP32, FP64, TF32
from trainables.recipe import PerWorker, Recipe
from trainables.schedules import Constant, Cosine
from trainables.seeds import Seeds
from trainables.stopping import EarlyStopping
from trainables.task import Maximise, Minimise, Shape, Splits, Task

__all__ = [
    "BF16",
    "EMA",
    "FP16",
    "FP32",
    "FP64",
    "SGD",
    "TF32",
    "AdamW",
    "ClipNorm",
    "ClipValue",
    "Clips",
    "ConflictError",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "EarlyStopping",
    "Maximise",
    "MeanSquaredError",
    "Minimise",
    "PerWorker",
    "Plan",
    "Recipe",
    "Seeds",
    "Shape",
    "Splits",
    "Task",
    "absolute_error",
    "accuracy",
]
