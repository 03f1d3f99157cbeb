"""Which columns and charts MLflow shows first: its own stored view, as its Share button writes one (MLflow 3.17)."""

from __future__ import annotations

import json
from typing import Any

from analysis.tracking_runs import Naming

KEY = "regatta"
TAG = f"mlflow.sharedViewState.{KEY}"
_SECTION = "regatta"


def view(naming: Naming) -> str:
    """JSON: score, holes, stage and status as columns, the goal's curves before all other charts, 20 runs drawn.

    A server of another version that does not know it opens its usual page.
    """
    question = naming.question
    goal = question.goal.metric
    searched = [path for path in naming.short if path not in question.factors]
    params = [f"{naming.key(path)}_log10" if path in naming.logarithmic else naming.key(path) for path in searched]
    columns = [
        f"metrics.`best/test_{goal}`",
        f"metrics.`best/val_{goal}`",
        *(f"params.`{naming.key(path)}`" for path in naming.short),
        "params.`stage`",
        "tags.`regatta.status`",
        "metrics.`best/epoch`",
        "metrics.`cost/seconds`",
    ]
    charts = [
        _line(f"val/{goal}"),
        _line("val/loss"),
        _line("train/loss"),
        {"type": "BAR", "metricKey": f"best/test_{goal}", "displayName": f"test {goal} at the chosen epoch"},
    ]
    axes = [*(naming.key(path) for path in question.factors), *params]
    if axes:
        metrics = [f"best/val_{goal}", f"best/test_{goal}"]
        charts.append({"type": "PARALLEL", "selectedParams": axes, "selectedMetrics": metrics, "showAllRuns": True})
    state = {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        "isAccordionReordered": True,
        "columnOrder": columns,
        "compareRunSections": [_section("the goal")],
        "compareRunCharts": [_chart(number, chart) for number, chart in enumerate(charts)],
    }
    return json.dumps(state)


def _section(name: str) -> dict[str, Any]:
    return {
        "uuid": _SECTION,
        "name": name,
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }


def _line(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": metric,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _chart(number: int, chart: dict[str, Any]) -> dict[str, Any]:
    own = {"uuid": f"{_SECTION}-{number}", "runsCountToCompare": 20, "metricSectionId": _SECTION}
    return own | {"deleted": False, "isGenerated": False} | chart
