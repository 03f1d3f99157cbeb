"""Handwritten digits: 1,797 images of 8 x 8, ten classes, shipped inside scikit-learn (Alpaydin and Kaynak, 1998)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from trainables.metrics import accuracy
from trainables.splitting import stratified
from trainables.task import Maximise, Splits, Task


def load(seed: int) -> Splits:
    """Pixels scaled to [0, 1], [N, 64], and classes [N]; 60 % train, 20 % validation, 20 % test, stratified by class."""
    import numpy as np
    import torch

    rows = torch.from_numpy(np.loadtxt(_file(), delimiter=",", dtype=np.float32))
    return stratified(rows[:, :64] / 16.0, rows[:, 64].long(), seed=seed)


def _file() -> Path:
    # Importing sklearn.datasets costs every worker 2.6 s of CPU for a table of 57 kB, so the file is read as it lies.
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install scikit-learn")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


digits = Task(
    name="digits", data=load, metrics={"accuracy": accuracy}, goal=Maximise("accuracy", target=0.95), samples=1079
)
