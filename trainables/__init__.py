"""One training run: recipe, task and loop. Needs torch and numpy alone; the settings are importable without loading either."""

from trainables.augment import Augmentations, FrameDelay, Mirror, Noise
from trainables.averages import EMA, SWA
from trainables.clip import ClipNorm, Clips, ClipValue
from trainables.compiled import Compile
from trainables.curriculum import Curriculum
from trainables.data import Balanced, Chunked, InMemory, Prefetch
from trainables.data.embedded import Embedded, Stacked
from trainables.dropout import DropoutRamp
from trainables.errors import ConflictError
from trainables.keep import Keep
from trainables.losses import (
    BinaryCrossEntropy,
    Constraint,
    CrossEntropy,
    Focal,
    Huber,
    MeanSquaredError,
    Quantile,
    SampleWeighted,
    Sum,
    TemporalDifference,
)
from trainables.metrics import WholeSet, absolute_error, accuracy
from trainables.micro_batch import Auto
from trainables.noise import GradientNoise
from trainables.optimizers import LAMB, SGD, Adam, AdamW, RAdam, RMSprop
from trainables.plan import Plan
from trainables.precision import BF16, FP16, FP32, FP64, TF32, PureBF16
from trainables.profiler import Profile, profile
from trainables.recipe import PerWorker, Recipe
from trainables.scaling import LinearScaling, SquareRootScaling
from trainables.schedules import Constant, Cosine, Exponential, OneCycle, Plateau, Step, WarmRestarts
from trainables.seeds import Seeds
from trainables.split import Holdout, KFold, WalkForward
from trainables.stopping import EarlyStopping
from trainables.task import Maximise, Minimise, Shape, Splits, Task
from trainables.validation import EveryEpoch, Int8, OnPlateau, Sampled, Thirds, WithinEpoch

__all__ = [
    "BF16",
    "EMA",
    "FP16",
    "FP32",
    "FP64",
    "LAMB",
    "SGD",
    "SWA",
    "TF32",
    "Adam",
    "AdamW",
    "Augmentations",
    "Auto",
    "Balanced",
    "BinaryCrossEntropy",
    "Chunked",
    "ClipNorm",
    "ClipValue",
    "Clips",
    "Compile",
    "ConflictError",
    "Constant",
    "Constraint",
    "Cosine",
    "CrossEntropy",
    "Curriculum",
    "DropoutRamp",
    "EarlyStopping",
    "Embedded",
    "EveryEpoch",
    "Exponential",
    "Focal",
    "FrameDelay",
    "GradientNoise",
    "Holdout",
    "Huber",
    "InMemory",
    "Int8",
    "KFold",
    "Keep",
    "LinearScaling",
    "Maximise",
    "MeanSquaredError",
    "Minimise",
    "Mirror",
    "Noise",
    "OnPlateau",
    "OneCycle",
    "PerWorker",
    "Plan",
    "Plateau",
    "Prefetch",
    "Profile",
    "PureBF16",
    "Quantile",
    "RAdam",
    "RMSprop",
    "Recipe",
    "SampleWeighted",
    "Sampled",
    "Seeds",
    "Shape",
    "Splits",
    "SquareRootScaling",
    "Stacked",
    "Step",
    "Sum",
    "Task",
    "TemporalDifference",
    "Thirds",
    "WalkForward",
    "WarmRestarts",
    "WholeSet",
    "WithinEpoch",
    "absolute_error",
    "accuracy",
    "profile",
]
