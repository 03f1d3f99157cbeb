"""Lane ``fused``: workers that are kept, each trains packs of trials at once."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune

from analysis.records import Stage
from sweeps.engine import capacity
from sweeps.engine.job import Job
from sweeps.engine.lanes.tuning import brokered, tuned
from sweeps.engine.packing import Packer
from sweeps.engine.packs import PackRunner, Word
from sweeps.engine.race import Race
from sweeps.engine.spec import Resources
from sweeps.engine.trial import Message, Runner


def run(race: Race, runner: Runner, *, resources: Resources, concurrency: int, scratch: Path, packer: Packer) -> None:
    """Run the whole sweep as one Tuner run, a pack of jobs a trial of Tune's; Ray must be up."""
    broker, judged = brokered()
    packs = PackRunner(runner=runner)

    def trial(config: Mapping[str, Any]) -> None:
        jobs = [Job.from_json(text) for text in config["jobs"]]
        name, numbers = uuid.uuid4().hex[:12], itertools.count()
        halved = runner.sweep.early_stop is not None and jobs[0].stage is Stage.HEAT

        def tell(said: Mapping[str, Message], *, members: int | None = None) -> Word:
            number = next(numbers)
            waits = halved or members is not None
            asked = {"pack": name, "number": number, "members": members} if waits else {}
            tune.report({"message": json.dumps({"said": said, **asked})})
            word = ray.get(broker.verdict.remote(name, number)) if waits else None
            return Word.of(word) if word else Word()

        packs(jobs, tell)

    wanted = capacity.bundle(resources)
    tuned(race, trial, wanted=wanted, concurrency=concurrency, scratch=scratch, deal=packer, judged=judged)
