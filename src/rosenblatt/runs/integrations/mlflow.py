"""In: runs. Out: the same in an MLflow tracking store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

BATCH, PARAMS = 1000, 100  # metrics and parameters that MLflow takes at once
LONGEST = 6000  # characters of a parameter that MLflow keeps
_STATES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "lost": "KILLED"}


class Exporter:
    """Writes runs to one tracking address."""

    def __init__(self, address: str) -> None:
        self._client = MlflowClient(tracking_uri=address)
        self._runs: dict[str, str] = {}  # by our id: MLflow's

    def write(
        self, known: Mapping[str, Any], params: Mapping[str, str], points: Sequence[tuple[str, float, int, int]]
    ) -> None:
        """Write a run: what is known of it, and its points as (metric, value, milliseconds, step)."""
        client, experiment = self._client, self._client.get_experiment_by_name(known["experiment"])
        number = experiment.experiment_id if experiment else client.create_experiment(known["experiment"])
        tags = {"mlflow.runName": known["name"] or known["id"], "rosenblatt.run": known["id"]} | known["tags"]
        source = known.get("source") or {}
        if source.get("commit"):
            tags["mlflow.source.git.commit"] = source["commit"]
        if known["parent"] in self._runs:
            tags["mlflow.parentRunId"] = self._runs[known["parent"]]
        run = client.create_run(number, start_time=int(known["started"] * 1000), tags=tags).info.run_id
        self._runs[known["id"]] = run
        listed = [Param(name, value[:LONGEST]) for name, value in params.items()]
        for start in range(0, len(listed), PARAMS):
            client.log_batch(run, params=listed[start : start + PARAMS])
        for start in range(0, len(points), BATCH):
            client.log_batch(run, metrics=[Metric(k, v, t, step) for k, v, t, step in points[start : start + BATCH]])
        client.log_batch(run, tags=[RunTag("rosenblatt.kind", known["kind"])])
        ended = known["ended"]
        client.set_terminated(run, _STATES.get(known["state"], "RUNNING"), end_time=ended and int(ended * 1000))
