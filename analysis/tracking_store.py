"""One sweep's experiment in MLflow: the only place that speaks to its client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.tracking_place import Place, quiet
from analysis.tracking_runs import Data, Metric
from analysis.tracking_tables import CONTEXT, Tables, Whole

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE = 1000
_NO_CURVES = ("best/", "cost/", "step/")
"""What is not by epoch."""


@dataclass(kw_only=True, slots=True)
class Found:
    """A run as the store has it. ``epoch`` is the last that is known to be written, None where nobody has looked."""

    run: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Sequence[str]
    ended: int | None
    epoch: int | None

    @property
    def closed(self) -> bool:
        """True when its trial had ended, False for one that is under way or was cut short."""
        return self.status in ("FINISHED", "FAILED")


class Store:
    """An open experiment; it is created, or taken out of the bin, when it is not there.

    Every call may raise what MLflow, its database or the network raise.
    """

    def __init__(self, place: Place, name: str) -> None:
        quiet()
        from mlflow import MlflowClient

        if place.database is not None:
            place.database.parent.mkdir(parents=True, exist_ok=True)
        self._client: MlflowClient = MlflowClient(place.uri)
        experiment = self._client.get_experiment_by_name(name)
        folder = place.artifacts
        if experiment is None:
            location = str(folder / name) if folder is not None else None
            experiment = self._client.get_experiment(self._client.create_experiment(name, artifact_location=location))
        elif experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        self.experiment: str = experiment.experiment_id
        self._tables = Tables.of(self._client, experiment)
        # A database that was copied still names the folder of the original, which is not ours to write into.
        located = str(experiment.artifact_location).removeprefix("file://")
        self.artifacts_elsewhere: str | None = located if folder is not None and located != str(folder / name) else None

    def runs(self) -> list[Found]:
        """All runs that are not in the bin, oldest first."""
        found: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self.experiment], max_results=_PAGE, page_token=token, order_by=["attributes.start_time ASC"]
            )
            found += page
            token = page.token
            if not token:
                return [_found(run) for run in found]

    @property
    def writes_whole(self) -> bool:
        """True where ended runs can be written together, by ``write``."""
        return self._tables is not None

    def write(self, runs: Sequence[Whole], data: Data | None) -> list[Found]:
        """Write ended runs, all of them or, where that raises, none. A run of this experiment must have ``data`` already."""
        assert self._tables is not None
        return [
            Found(
                run=name, status=run.status, tags=run.tags, params=run.params, metrics=(), ended=run.ended, epoch=None
            )
            for run, name in zip(runs, self._tables.write(runs, data), strict=True)
        ]

    def create(self, name: str, tags: Mapping[str, str], *, started: int) -> Found:
        """A new run, under way."""
        run = self._client.create_run(self.experiment, start_time=started or None, tags=dict(tags), run_name=name)
        return Found(run=run.info.run_id, status="RUNNING", tags=tags, params={}, metrics=(), ended=None, epoch=0)

    def log(
        self,
        found: Found,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write a batch; the client cuts it into requests of at most 1000 metrics. Repeating a batch changes nothing."""
        from mlflow.entities import Metric as Entity
        from mlflow.entities import Param, RunTag

        self._client.log_batch(
            found.run,
            metrics=[Entity(key, value, when, step) for key, value, when, step in metrics],
            params=[Param(key, value) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )
        found.params, found.tags = {**found.params, **(params or {})}, {**found.tags, **(tags or {})}

    def name_data(self, found: Found, data: Data) -> None:
        """Name the data set of a run; doing it again changes nothing."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name=data.name, digest=data.digest, source_type="code", source=data.source)
        context = InputTag(*CONTEXT)
        self._client.log_inputs(found.run, datasets=[DatasetInput(dataset, tags=[context])])

    def last_epoch(self, found: Found) -> int:
        """The last epoch of which all is written, 0 for none: a run that was cut short may lack a part of the one after."""
        curves = [name for name in found.metrics if not name.startswith(_NO_CURVES)]
        key = min(curves, key=lambda name: (not name.startswith("train/"), name), default=None)
        if key is None:
            return 0
        return max(metric.step for metric in self._client.get_metric_history(found.run, key)) - 1

    def go_on(self, found: Found) -> None:
        """Set a run under way again."""
        self._client.update_run(found.run, status="RUNNING")
        found.status = "RUNNING"

    def end(self, found: Found, status: str, *, ended: int | None = None) -> None:
        """End a run as FINISHED, FAILED or KILLED; at this moment where no other is given."""
        self._client.set_terminated(found.run, status, end_time=ended or None)
        found.status, found.ended = status, ended

    def delete(self, found: Found) -> None:
        """Move a run to MLflow's bin, from which a person can take it back."""
        self._client.delete_run(found.run)

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment."""
        for name, value in tags.items():
            self._client.set_experiment_tag(self.experiment, name, value)

    def attach(self, found: Found, files: Sequence[Path]) -> None:
        """Copy files into the run's artifacts."""
        for file in files:
            self._client.log_artifact(found.run, str(file))


def _found(run: Run) -> Found:
    return Found(
        run=run.info.run_id,
        status=run.info.status,
        tags=run.data.tags,
        params=run.data.params,
        metrics=tuple(run.data.metrics),
        ended=run.info.end_time,
        epoch=None,
    )
