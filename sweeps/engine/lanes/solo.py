"""Lane ``solo``: one worker a trial, on actors that Ray Tune keeps and uses again."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from sweeps.engine.job import Job
from sweeps.engine.race import Race
from sweeps.engine.spec import Resources
from sweeps.engine.trial import Message, Runner

RESTARTS = 2
"""How often a trial whose process died is started again, from its checkpoint."""


def run(race: Race, runner: Runner, *, resources: Resources, concurrency: int) -> None:
    """Run the whole sweep as one Tuner run; Ray must be up."""
    _quiet()
    import ray
    from ray import tune

    from sweeps.engine.lanes.tuning import Dealer, Marshal

    def trial(config: Mapping[str, Any]) -> None:
        def tell(message: Message) -> bool:
            # JSON, since Tune would flatten, copy and inspect every value of a nested result.
            tune.report({"message": json.dumps(message)})
            return False

        runner(Job.from_json(config["job"]), tell)

    wanted = {"cpu": float(resources.cpus), "gpu": resources.gpus}
    with tempfile.TemporaryDirectory(prefix="regatta-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trial, {name: amount for name, amount in wanted.items() if amount}),
            tune_config=tune.TuneConfig(
                search_alg=Dealer(race),
                scheduler=Marshal(race),
                num_samples=-1,
                max_concurrent_trials=concurrency,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                checkpoint_config=tune.CheckpointConfig(),
            ),
        )
        tuner.fit()
    if not race.done:
        raise RuntimeError(
            f"Ray Tune ended before the sweep did (Ray {ray.__version__}); run the same command to go on"
        )


def start(cpus: int | None = None) -> int:
    """Start Ray on this machine, or join the cluster that ``RAY_ADDRESS`` names; the number of its CPUs comes back."""
    _quiet()
    import ray

    if not ray.is_initialized():
        ray.init(
            num_cpus=cpus if "RAY_ADDRESS" not in os.environ else None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    return int(ray.cluster_resources().get("CPU", 1))


def _quiet() -> None:
    """Settings that Ray reads from the environment, unless the user has set them."""
    settings = {
        "RAY_TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        # Our own handler says how to go on; Tune's would only stop the run and save a state that is not used.
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        # Twice the driver's cost, for files that the ledger replaces.
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_MAX_LEN_IDENTIFIER": "40",
        # Ray runs its workers at nice 15, so that anything else on the machine starves them.
        "RAY_worker_niceness": "0",
        # Ray's memory monitor ends a worker with an error that ends the whole Tuner run; the kernel ends only the process.
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
