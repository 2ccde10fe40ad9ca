"""Export of runs to an MLflow tracking store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

MAX_METRICS_PER_BATCH, MAX_PARAMS_PER_BATCH = 1000, 100  # metrics and parameters that MLflow takes at once
MAX_PARAM_LENGTH = 6000  # characters of a parameter that MLflow keeps
_STATES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "lost": "KILLED"}


class Exporter:
    """Writes runs to one tracking address."""

    def __init__(self, address: str) -> None:
        self._client = MlflowClient(tracking_uri=address)
        self._runs: dict[str, str] = {}  # by our id: MLflow's

    def write(
        self, details: Mapping[str, Any], params: Mapping[str, str], points: Sequence[tuple[str, float, int, int]]
    ) -> None:
        """Write a run: what is known of it, and its points as (metric, value, milliseconds, step)."""
        client, experiment = self._client, self._client.get_experiment_by_name(details["experiment"])
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(details["experiment"])
        tags = {"mlflow.runName": details["name"] or details["id"], "rosenblatt.run": details["id"]} | details["tags"]
        source = details.get("source") or {}
        if source.get("commit"):
            tags["mlflow.source.git.commit"] = source["commit"]
        if details["parent"] in self._runs:
            tags["mlflow.parentRunId"] = self._runs[details["parent"]]
        run = client.create_run(experiment_id, start_time=int(details["started"] * 1000), tags=tags).info.run_id
        self._runs[details["id"]] = run
        entries = [Param(name, value[:MAX_PARAM_LENGTH]) for name, value in params.items()]
        for start in range(0, len(entries), MAX_PARAMS_PER_BATCH):
            client.log_batch(run, params=entries[start : start + MAX_PARAMS_PER_BATCH])
        for start in range(0, len(points), MAX_METRICS_PER_BATCH):
            client.log_batch(
                run, metrics=[Metric(k, v, t, step) for k, v, t, step in points[start : start + MAX_METRICS_PER_BATCH]]
            )
        client.log_batch(run, tags=[RunTag("rosenblatt.kind", details["kind"])])
        ended = details["ended"]
        client.set_terminated(run, _STATES.get(details["state"], "RUNNING"), end_time=ended and int(ended * 1000))
