"""The race as Ray Tune sees it: a searcher that deals its jobs and a scheduler that takes in its results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.train import ScalingConfig
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.engine.job import Job
from sweeps.engine.lanes.broker import Broker
from sweeps.engine.packs import Word
from sweeps.engine.race import Race
from sweeps.engine.spec import Resources

PROXY = {"memory": 1}
"""What a trial takes whose workers are Ray Train's: a byte, so that the workers get every CPU; every node has memory."""

PATIENCE_SECONDS = 600
"""How long an actor waits for the function of its last trial to return, which may still have a checkpoint to write.

Tune's own two seconds are too short on a busy machine; the trial that the actor was to run next is then lost without a word.
"""

Judged = Callable[[str, int, Any], None]
"""Carries the word on an epoch of a job, or on a message of a pack, to workers that wait for it."""


class Deal(Protocol):
    """Deals out jobs by packs."""

    def next(self) -> list[Job]:
        """The jobs of the next trial of Tune's, begun; none when there are none now."""
        ...

    def more(self, like: Job, members: int) -> list[Job]:
        """Jobs, begun, that may join a trial of jobs ``like`` this one, of which so many are left."""
        ...


def tuned(
    race: Race,
    trainable: Callable[..., None],
    *,
    wanted: Mapping[str, float],
    concurrency: int,
    scratch: Path,
    reuse: bool = True,
    deal: Deal | None = None,
    judged: Judged | None = None,
) -> None:
    """Run the race as one Tuner run; a trial takes ``wanted`` of Ray, and Tune's own files lie in ``scratch``.

    A trial of Tune's is one job, or as many as ``deal`` hands out, which ``config["jobs"]`` holds as text; more may join it.

    Raises what went wrong in the driver, and RuntimeError when Tune ended before the race did.
    """

    def patient(config: Mapping[str, Any]) -> None:
        os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", str(PATIENCE_SECONDS))
        trainable(config)

    dealer = Dealer(race, concurrency, deal)
    tuner = tune.Tuner(
        tune.with_resources(patient, dict(wanted)),
        tune_config=tune.TuneConfig(
            search_alg=dealer,
            scheduler=Marshal(race, dealer, judged),
            num_samples=-1,
            reuse_actors=reuse,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(name="sweep", storage_path=str(scratch), verbose=0),
    )
    tuner.fit()
    if race.fault is not None:
        raise race.fault
    if not race.done:
        raise RuntimeError(
            f"Ray Tune ended before the sweep did (Ray {ray.__version__}); run the same command to go on"
        )


def scaling(resources: Resources, workers: int) -> ScalingConfig:
    """What Ray Train sets aside for a group of workers."""
    gpus = resources.gpus or 0.0
    each = {"CPU": float(resources.cpus), "GPU": gpus, "memory": float(resources.memory_bytes or 0)}
    return ScalingConfig(
        num_workers=workers,
        use_gpu=gpus > 0,
        resources_per_worker={name: amount for name, amount in each.items() if amount},
        accelerator_type=resources.gpu_type,
    )


def brokered() -> tuple[Any, Judged]:
    """A broker on the driver's own node, which no autoscaler takes away, and what carries the driver's words to it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    broker = ray.remote(**options)(Broker).remote()

    def judged(name: str, number: int, word: Any) -> None:
        broker.judged.remote(name, number, word)

    return broker, judged


def _forgotten(trial: Any) -> None:
    """Take from a trial of Tune's, over, what it remembers of its results: half of what a long sweep would fill the memory with."""
    metadata = trial.run_metadata
    metadata.last_result, metadata.metric_analysis, metadata.metric_n_steps = {"message": ""}, {}, {}


@contextmanager
def _kept(race: Race) -> Iterator[None]:
    """Keep an exception, a full disk say, for after the run: Tune would bury it in one of its own and go on."""
    try:
        yield
    except Exception as error:
        race.fault = error


class Dealer(Searcher):  # type: ignore[misc]
    """Suggests the next jobs of the race while fewer than ``most`` trials are under way.

    Its own bookkeeping is the ledger's, so Tune's snapshots hold nothing.
    """

    def __init__(self, race: Race, most: int, deal: Deal | None = None) -> None:
        super().__init__(metric="message", mode="max")
        self._race, self._most, self._deal = race, most, deal
        self._jobs: dict[str, list[str]] = {}
        self._trials: dict[str, Any] = {}
        self._over: list[Any] = []

    def added(self, trial: Any) -> None:
        """A trial as Tune has it, once it was suggested."""
        self._trials[trial.trial_id] = trial

    def _one(self) -> list[Job]:
        job = self._race.next()
        return [job] if job is not None else []

    def suggest(self, trial_id: str) -> dict[str, list[str]] | str | None:
        """Jobs as text; None to be asked again later; FINISHED when all is done."""
        for over in self._over:
            _forgotten(over)
        self._over.clear()
        # Tune tells nobody of a trial whose actor could not be handed over; it would be waited for in vain.
        for lost in [name for name, trial in self._trials.items() if trial.status == "ERROR"]:
            self.on_trial_complete(lost, error=True)
        if self._race.fault is not None:
            return str(Searcher.FINISHED)
        if len(self._jobs) >= self._most:
            return None
        jobs = self._deal.next() if self._deal is not None else self._one()
        if jobs:
            self._jobs[trial_id] = [job.id for job in jobs]
            return {"jobs": [job.to_json() for job in jobs]}
        return str(Searcher.FINISHED) if self._race.done else None

    def join(self, trial_id: str, like: Job, members: int) -> list[Job]:
        """Jobs that join a trial of several, of which so many are left."""
        if self._deal is None or trial_id not in self._jobs:
            return []
        jobs = self._deal.more(like, members)
        self._jobs[trial_id] += [job.id for job in jobs]
        return jobs

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: ARG002
        """The end of a trial, whichever way; what it said last has been told by the scheduler.

        Exceptions are told as messages, so an error here is a process that is gone. Tune would restart only a trial that was
        running, not one whose actor died in being handed over, so restarting is the race's.
        """
        if (trial := self._trials.pop(trial_id, None)) is not None:
            self._over.append(trial)
        jobs = self._jobs.pop(trial_id, ())  # Tune tells some ends twice
        if self._race.fault is not None:
            return
        with _kept(self._race):
            for job in jobs:
                if error:
                    self._race.died(job)
                else:
                    self._race.stopped(job)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Results are the scheduler's, which sees all of them."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its parts in order to restore them; the race, with its open ledger, stays in this process.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was saved: a sweep goes on from its ledger."""


class Marshal(TrialScheduler):  # type: ignore[misc]
    """Hands every result to the race and stops a trial when the race says so; starts trials in the order of their dealing.

    With ``judged`` the workers that wait for the word stop by themselves, and their trial returns: Tune would kill it first, and
    leave their placement group behind.
    """

    def __init__(self, race: Race, dealer: Dealer, judged: Judged | None = None) -> None:
        super().__init__()
        self._race, self._dealer, self._judged = race, dealer, judged

    @property
    def metric(self) -> str:
        """What every result must hold."""
        return "message"

    def set_search_properties(self, metric: str | None, mode: str | None, **_: Any) -> bool:  # noqa: ARG002
        """Metric and mode are the race's."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002
        """Tell the race, once; a function that has returned repeats its last result."""
        if result.get("done"):
            return str(TrialScheduler.STOP)
        if self._race.fault is None:
            with _kept(self._race):
                message = json.loads(result["message"])
                stop = self._pack(trial, message) if "said" in message else self._single(trial, message)
                if not stop or self._judged is not None:
                    return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.STOP)

    def _single(self, trial: Any, message: Mapping[str, Any]) -> bool:
        """Of one job."""
        job = json.loads(trial.config["jobs"][0])["id"]
        stop = self._race.told(job, message)
        if self._judged is not None and message.get("waits") is not None:
            self._judged(job, message["waits"], stop or "status" in message)
        return stop

    def _pack(self, trial: Any, message: Mapping[str, Any]) -> bool:
        """Of several, which go on without those that are to stop, and with others in the places of those that have ended."""
        stopped = [job for job, said in message["said"].items() if self._race.told(job, said)]
        if self._judged is not None and "pack" in message:
            like, members = Job.from_json(trial.config["jobs"][0]), message["members"]
            joining = self._dealer.join(trial.trial_id, like, members) if members is not None else []
            self._judged(message["pack"], message["number"], Word(stop=stopped, join=joining).to_json())
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was saved: a sweep goes on from its ledger."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The trial that waits and was dealt first; only live trials are looked at, so that a long sweep costs no more a trial."""
        waiting = [trial for trial in tune_controller.get_live_trials() if trial.status == "PENDING"]
        return min(waiting, key=lambda trial: json.loads(trial.config["jobs"][0])["number"], default=None)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:  # noqa: ARG002
        """Known to the race already, not to the dealer, who suggested it before it was there."""
        self._dealer.added(trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Told by the searcher."""

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Told by the searcher."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Nothing is kept here."""

    def debug_string(self) -> str:
        """Shown by Tune's own reporter, which is off."""
        return "the race"
