"""Lane ``crew``: groups of workers that stay, fed trial after trial by Ray Tune."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray import tune
from ray.train.torch import TorchTrainer

from sweeps.engine.job import Job
from sweeps.engine.lanes.tuning import PROXY, brokered, scaling, tuned
from sweeps.engine.race import Race
from sweeps.engine.spec import Resources
from sweeps.engine.trial import Message, Runner
from sweeps.engine.watchdog import StalledError

LOOK_SECONDS = 0.2
"""How often the driver looks whether another crew is wanted."""


def run(race: Race, runner: Runner, *, resources: Resources, concurrency: int, scratch: Path) -> None:
    """Run the whole sweep on at most ``concurrency`` crews of ``sweep.most_workers`` workers each; Ray must be up."""
    broker, judged = brokered()
    workers = runner.sweep.workers

    def trial(config: Mapping[str, Any]) -> None:
        text = config["jobs"][0]
        job = Job.from_json(text)
        while not _followed(broker, job, text, workers(job.point)):
            pass  # the broker was started again and knows nothing of the job

    crews = _Crews(race, runner, broker, resources=resources, most=concurrency, scratch=scratch)
    with crews:
        tuned(race, trial, wanted=PROXY, concurrency=concurrency, scratch=scratch, judged=judged)


def _followed(broker: Any, job: Job, text: str, workers: int) -> bool:
    """Hand a job in and report all that is said of it to Tune; False when the broker has lost it."""
    ticket = ray.get(broker.submit.remote(job.id, text, workers))
    try:
        for index in itertools.count():
            message = ray.get(broker.message.remote(job.id, ticket, index))
            if message is None:
                return bool(ray.get(broker.is_closed.remote()))
            tune.report({"message": json.dumps(message)})  # leaves by SystemExit when Tune stops the trial
            if "status" in message:
                return True
    finally:
        ray.get(broker.withdraw.remote(job.id, ticket))
    return True


class _Crews:
    """The crews of one sweep: each is a ``TorchTrainer`` in a thread of the driver, started when jobs wait for one."""

    def __init__(
        self, race: Race, runner: Runner, broker: Any, *, resources: Resources, most: int, scratch: Path
    ) -> None:
        self._race, self._runner, self._broker = race, runner, broker
        self._resources, self._most, self._scratch = resources, most, scratch
        self._threads: dict[str, threading.Thread] = {}
        self._over = threading.Event()
        self._numbers = itertools.count(1)
        self._manager = threading.Thread(target=self._manage, name="crews", daemon=True)

    def __enter__(self) -> None:
        self._manager.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        if kind is not None:
            return  # nobody is asked to go home: leaving Ray ends them, and it may not answer any more
        ray.get(self._broker.close.remote())
        self._manager.join()
        _, _, mustered = ray.get(self._broker.census.remote())
        # One that still waits for its place cannot be told; it ends with Ray.
        for name in self._threads.keys() & set(mustered):
            self._threads[name].join()

    def _manage(self) -> None:
        """Start a crew when more jobs wait than crews do, as long as there is room."""
        while not self._over.wait(LOOK_SECONDS):
            try:
                waiting, idle, mustered = ray.get(self._broker.census.remote())
            except ray.exceptions.RayError:
                continue  # the broker is being started again, or Ray is gone and the Tuner run says so
            self._threads = {name: thread for name, thread in self._threads.items() if thread.is_alive()}
            starting = len(self._threads.keys() - set(mustered))
            if waiting > idle + starting and len(self._threads) < self._most:
                name = f"crew-{next(self._numbers)}"
                self._threads[name] = threading.Thread(target=self._fit, args=(name,), name=name, daemon=True)
                self._threads[name].start()

    def _fit(self, name: str) -> None:
        """One crew from its start until it goes home."""
        runner, broker = self._runner, self._broker

        def work(_: Mapping[str, Any]) -> None:
            serve(runner, broker, name)

        trainer = TorchTrainer(
            work,
            train_loop_config={},
            scaling_config=scaling(self._resources, runner.sweep.most_workers),
            run_config=ray.train.RunConfig(
                name=name,
                storage_path=str(self._scratch),
                failure_config=ray.train.FailureConfig(max_failures=-1),
            ),
        )
        try:
            trainer.fit()
            why = ray.get(self._broker.given_up.remote(name))
            fault: Exception | None = None
            if why is not None:
                cause = why or "killed from outside, or out of memory"
                fault = StalledError(
                    f"the workers of {name} die again and again before they have anything to do: {cause}"
                )
        except Exception as error:
            fault = error
        if fault is not None and not self._over.is_set():
            self._race.fault = fault
            ray.get(self._broker.close.remote())


def serve(runner: Runner, broker: Any, name: str) -> None:
    """One worker of a crew: take orders and run them, until there are no more; what it raises is kept for the crew's record."""
    try:
        _serve(runner, broker, name)
    except Exception as error:
        ray.get(broker.broke.remote(name, f"{type(error).__name__}: {error}"[:300]))
        raise


def _serve(runner: Runner, broker: Any, name: str) -> None:
    import torch.distributed as dist

    from sweeps.engine.lanes.group import Group

    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    group = Group(runner, broker, rank=rank, size=size)
    box = [ray.get(broker.muster.remote(name)) if rank == 0 else None]
    if size > 1:
        dist.broadcast_object_list(box, src=0)
    generation = box[0]
    if generation is None:
        return
    for number in itertools.count():
        order = ray.get(broker.take.remote(name, generation, rank, number))
        if order is None:
            return
        text, workers = order
        job = Job.from_json(text)

        def send(message: Message, job_id: str = job.id) -> None:
            if rank == 0:
                ray.get(broker.tell.remote(name, job_id, message))

        last = group.run(job, workers=workers, name=f"{name}/{generation}/{number}", send=send)
        if rank == 0:
            ray.get(broker.finished.remote(name, job.id, last))
