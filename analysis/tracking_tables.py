"""Ended runs written into MLflow's own tables, many in one transaction: the rows that its client would write one by one.

The client reads a run back before every change, which costs more than a short trial's training.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.tracking_runs import Data, Metric

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import Select

CONTEXT = ("mlflow.data.context", "training")
"""What a run's data set is to it, as MLflow says it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """An ended run with all that there is of it; ``started`` and ``ended`` in milliseconds since 1970, 0 where not known."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Sequence[Metric]
    status: str
    started: int
    ended: int


class Tables:
    """The tables of an experiment in a database that this process writes itself."""

    def __init__(self, store: SqlAlchemyStore, experiment: Experiment) -> None:
        self._store = store
        self._experiment = int(experiment.experiment_id)
        self._artifacts = str(experiment.artifact_location)

    @classmethod
    def of(cls, client: MlflowClient, experiment: Experiment) -> Tables | None:
        """None where the client speaks to a server, or to a kind of store that is not known here."""
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        store = getattr(getattr(client, "_tracking_client", None), "store", None)
        return cls(store, experiment) if type(store) is SqlAlchemyStore else None

    def write(self, runs: Sequence[Whole], data: Data | None) -> list[str]:
        """Write all of the runs or, where that raises, none; their new ids come back in the same order.

        ``data`` must be an input of a run of this experiment already; it becomes one of each of these. Raises what MLflow or its
        database raise, and ValueError for an experiment in MLflow's bin.
        """
        from mlflow.store.tracking.dbmodels import models
        from sqlalchemy import insert, select

        ids = [uuid.uuid4().hex for _ in runs]
        pairs = [*zip(runs, ids, strict=True)]
        rows: list[tuple[Any, list[dict[str, Any]]]] = [
            (models.SqlRun, [self._run(run, name) for run, name in pairs]),
            (models.SqlTag, _named(ids, [{**run.tags, "mlflow.runName": run.name} for run in runs])),
            (models.SqlParam, _named(ids, [run.params for run in runs])),
            (models.SqlMetric, [row for run, name in pairs for row in _metrics(run, name)]),
            (models.SqlLatestMetric, [row for run, name in pairs for row in _latest(run, name)]),
        ]
        with self._store.ManagedSessionMaker(read_only=False) as session:
            stage: Select[tuple[str]] = select(models.SqlExperiment.lifecycle_stage).filter_by(
                experiment_id=self._experiment
            )
            if session.execute(stage).scalar_one() != "active":
                raise ValueError(f"experiment {self._experiment} is in MLflow's bin; restore it")
            if data is not None:
                one: Select[tuple[str]] = select(models.SqlDataset.dataset_uuid).filter_by(
                    experiment_id=self._experiment, name=data.name, digest=data.digest
                )
                dataset = session.execute(one).scalar_one()
                inputs = [_input(dataset, name) for name in ids]
                tags = [{"input_uuid": row["input_uuid"], "name": CONTEXT[0], "value": CONTEXT[1]} for row in inputs]
                rows += [(models.SqlInput, inputs), (models.SqlInputTag, tags)]
            for model, several in rows:
                if several:
                    session.execute(insert(model.__table__), several)
        return ids

    def _run(self, run: Whole, name: str) -> dict[str, Any]:
        from mlflow.utils.uri import append_to_uri_path

        now = round(1000 * time.time())
        return {
            "run_uuid": name,
            "name": run.name,
            "experiment_id": self._experiment,
            "artifact_uri": append_to_uri_path(  # type: ignore[no-untyped-call]
                self._artifacts, name, self._store.ARTIFACTS_FOLDER_NAME
            ),
            "source_type": "UNKNOWN",
            "source_name": "",
            "source_version": "",
            "entry_point_name": "",
            "user_id": "unknown",
            "status": run.status,
            "lifecycle_stage": "active",
            "start_time": run.started or now,
            "end_time": run.ended or now,
        }


def _named(ids: Sequence[str], of_each: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    return [
        {"run_uuid": name, "key": key, "value": value}
        for name, pairs in zip(ids, of_each, strict=True)
        for key, value in pairs.items()
    ]


def _metrics(run: Whole, name: str) -> list[dict[str, Any]]:
    """Each point once: the same one twice would break the table's key."""
    return [_point(metric, name) for metric in dict.fromkeys(run.metrics)]


def _latest(run: Whole, name: str) -> list[dict[str, Any]]:
    """The last point of each metric: by step, then time, then value, as MLflow orders them."""
    latest: dict[str, Metric] = {}
    for metric in run.metrics:
        key, value, when, step = metric
        before = latest.get(key)
        if before is None or (step, when, value) > (before[3], before[2], before[1]):
            latest[key] = metric
    return [_point(metric, name) for metric in latest.values()]


def _point(metric: Metric, name: str) -> dict[str, Any]:
    key, value, when, step = metric
    return {"run_uuid": name, "key": key, "value": value, "timestamp": when, "step": step, "is_nan": False}


def _input(dataset: str, name: str) -> dict[str, Any]:
    return {
        "input_uuid": uuid.uuid4().hex,
        "source_type": "DATASET",
        "source_id": dataset,
        "destination_type": "RUN",
        "destination_id": name,
    }
