"""Runs trials again by the loop written by hand, to see that the others did the same: outcomes in on stdin, outcomes out.

python -m benchmarks.reference < outcomes
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from benchmarks.stock import trained
from benchmarks.trial import Outcome, data

if __name__ == "__main__":
    splits = data()
    for line in sys.stdin:
        asked = Outcome.of(json.loads(line))
        found = trained(splits, lr=asked.lr, seed=asked.seed, trial=asked.trial, report=lambda _: None)
        print(json.dumps(asdict(found)))
