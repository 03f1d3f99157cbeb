"""Lane ``gang``: a group of workers of its own for every trial."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from sweeps.engine.job import Job
from sweeps.engine.lanes.tuning import PROXY, brokered, scaling, tuned
from sweeps.engine.race import RESTARTS, Race
from sweeps.engine.spec import Resources
from sweeps.engine.trial import Message, Runner


def run(race: Race, runner: Runner, *, resources: Resources, concurrency: int, scratch: Path) -> None:
    """Run the whole sweep, a ``TorchTrainer`` a trial inside Tune's function; Ray must be up."""
    broker, judged = brokered()

    def work(config: Mapping[str, Any]) -> None:
        serve(runner, broker, **config)

    def trial(config: Mapping[str, Any]) -> None:
        job, said = Job.from_json(config["jobs"][0]), ""
        heard, known = TuneReportCallback(), ray.get(broker.identity.remote())
        for deaths in range(RESTARTS + 1):
            name = f"gang-{uuid.uuid4().hex[:12]}"
            trainer = TorchTrainer(
                work,
                train_loop_config={"text": config["jobs"][0], "name": name, "deaths": deaths},
                scaling_config=scaling(resources, runner.sweep.workers(job.point)),
                run_config=ray.train.RunConfig(name=name, storage_path=str(scratch), callbacks=[heard]),
            )
            try:
                trainer.fit()
                break
            except ray.train.TrainingFailedError as error:
                said = str(error)
        else:
            reason = f"a worker died {RESTARTS + 1} times (killed from outside, or out of memory); the last checkpoint is kept"
            deaths = RESTARTS + 1
            last = {"rows": [], "status": "failed", "reason": reason, "error": f"{reason}\n{said}"}
            heard.after_report(None, [_message(last, deaths)], None)
        # Ray hands on what workers report from one queue and what the trial says itself from another. It waits forever where
        # the second, in which a trial says that it has returned, is filled before the first is empty. A broker that was started
        # again may have lost the word.
        while not ray.get(broker.verdict.remote(job.id, -deaths)) and ray.get(broker.identity.remote()) == known:
            pass

    tuned(race, trial, wanted=PROXY, concurrency=concurrency, scratch=scratch, reuse=False, judged=judged)


def serve(runner: Runner, broker: Any, *, text: str, name: str, deaths: int) -> None:
    """One worker of a gang: run the job, and end with it."""
    from sweeps.engine.lanes.group import Group

    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()

    def send(message: Message) -> None:
        # Ray Train waits for the report of every worker and hands on the first one's.
        ray.train.report({"message": json.dumps(message)})

    last = Group(runner, broker, rank=rank, size=size).run(Job.from_json(text), workers=size, name=name, send=send)
    ray.train.report(_message(last, deaths))


def _message(last: Message, deaths: int) -> dict[str, str]:
    """The last message of a gang, as it is reported: that it has been heard is known by the number of deaths before it."""
    return {"message": json.dumps({**last, "deaths": deaths, "waits": -deaths})}
