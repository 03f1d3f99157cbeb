"""Lane ``solo``: one worker a trial, on actors that Ray Tune keeps and uses again."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sweeps.engine import capacity, cluster
from sweeps.engine.job import Job
from sweeps.engine.nodes import awaited
from sweeps.engine.race import Race
from sweeps.engine.spec import Resources
from sweeps.engine.trial import Message, Runner


def run(race: Race, runner: Runner, *, resources: Resources, concurrency: int, scratch: Path) -> None:
    """Run the whole sweep as one Tuner run; Ray must be up, and ``resources`` fit it ``concurrency`` times."""
    _quiet()
    from ray import tune

    from sweeps.engine.lanes.tuning import tuned

    def trial(config: Mapping[str, Any]) -> None:
        def tell(message: Message) -> bool:
            # JSON, since Tune would flatten, copy and inspect every value of a nested result.
            tune.report({"message": json.dumps(message)})
            return False

        runner(Job.from_json(config["jobs"][0]), tell)

    tuned(race, trial, wanted=capacity.bundle(resources), concurrency=concurrency, scratch=scratch)


def start(resources: Resources) -> tuple[Resources, capacity.Fit]:
    """Start Ray on this machine, or join the cluster that ``RAY_ADDRESS`` names.

    What a trial takes comes back, with its GPUs settled, and how many trials fit at once. Raises QuestionError, with the sum, when
    none does.
    """
    _quiet()
    import ray

    joins = "RAY_ADDRESS" in os.environ
    if not ray.is_initialized():
        ray.init(
            # Not whatever else runs on this machine, which Ray would join unasked.
            address=None if joins else "local",
            num_cpus=None if joins else _cpus(),
            include_dashboard=False if not joins else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        _protect_token()
    growth = cluster.could()
    nodes = awaited(growth, partial(print, flush=True))
    resources = capacity.settled(resources, nodes, growth)
    return resources, capacity.fit(resources, nodes, growth)


def alone() -> capacity.Node:
    """This machine as ``start`` would find it where no cluster is joined; nothing is started."""
    _quiet()  # Ray reads some of it while it is imported
    from ray._private.resource_and_label_spec import ResourceAndLabelSpec

    holds = ResourceAndLabelSpec(num_cpus=_cpus()).resolve(is_head=True, node_ip_address="127.0.0.1").to_resource_dict()
    return capacity.Node(name="127.0.0.1", holds=holds, head=True)


def stop() -> None:
    """Leave Ray; what this process started of it ends."""
    import ray

    ray.shutdown()


def _cpus() -> int:
    """The cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def _protect_token() -> None:
    """Ray writes its token readable by everybody on the machine; it is for its owner alone."""
    token = Path.home() / ".ray" / "auth_token"
    if token.exists() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)


def _quiet() -> None:
    """Settings that Ray reads from the environment, unless the user has set them."""
    settings = {
        # Our own handler says how to go on; Tune's would only stop the run and save a state that is not used.
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        # Twice the driver's cost, for files that the ledger replaces.
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        # Nothing is restored from Tune's own states, of which it keeps and writes that of every trial there was: it is to do so
        # at its start and its end alone, where it reads them itself.
        "TUNE_GLOBAL_CHECKPOINT_S": "inf",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        # The newer of Tune's two outputs prints a banner even when it is told to be silent.
        "RAY_AIR_NEW_OUTPUT": "0",
        # Tune would run each trial in a folder of its own, where relative paths of the user's lead nowhere.
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        # Ray runs its workers at nice 15, so that anything else on the machine starves them.
        "RAY_worker_niceness": "0",
        # Ray's memory monitor ends a worker with an error that ends the whole Tuner run; the kernel ends only the process.
        "RAY_memory_monitor_refresh_ms": "0",
        # Ray Train looks after its workers, and takes in what they report, every two seconds; an epoch may take a tenth of one.
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
        # A node that is still being started may take minutes.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
        # A trial that takes no GPU must not see one.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    if "RAY_ADDRESS" not in os.environ:
        settings["RAY_AUTH_MODE"] = "token"
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    # What goes wrong is told by the race, once and in its own words.
    for name, level in (("ray", logging.ERROR), ("ray.train", logging.ERROR), ("ray.tune", logging.CRITICAL)):
        logging.getLogger(name).setLevel(level)
