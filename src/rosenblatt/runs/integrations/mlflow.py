"""Export of runs to an MLflow tracking store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from rosenblatt.runs.store.details import RunDetails

MAX_METRICS_PER_BATCH, MAX_PARAMS_PER_BATCH = 1000, 100  # limits of MLflow's `log_batch`
MAX_PARAM_LENGTH = 6000  # characters of a parameter, a limit of MLflow
_STATES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "lost": "KILLED"}


class Exporter:
    """Writes runs to one tracking address."""

    def __init__(self, address: str) -> None:
        self._client = MlflowClient(tracking_uri=address)
        self._mlflow_ids: dict[str, str] = {}  # by the id of a run

    def write(self, run: RunDetails, params: Mapping[str, str], points: Sequence[tuple[str, float, int, int]]) -> None:
        """Write a run, with points as tuples of metric, value, milliseconds since 1970 and step."""
        client = self._client
        mlflow_id = self._create_run(run)
        entries = [Param(name, value[:MAX_PARAM_LENGTH]) for name, value in params.items()]
        for start in range(0, len(entries), MAX_PARAMS_PER_BATCH):
            client.log_batch(mlflow_id, params=entries[start : start + MAX_PARAMS_PER_BATCH])
        for start in range(0, len(points), MAX_METRICS_PER_BATCH):
            metrics = [Metric(k, v, t, step) for k, v, t, step in points[start : start + MAX_METRICS_PER_BATCH]]
            client.log_batch(mlflow_id, metrics=metrics)
        client.log_batch(mlflow_id, tags=[RunTag("rosenblatt.kind", run.kind)])
        end_time = None if run.ended is None else int(run.ended * 1000)
        client.set_terminated(mlflow_id, _STATES.get(run.state, "RUNNING"), end_time=end_time)

    def _create_run(self, run: RunDetails) -> str:
        client, experiment = self._client, self._client.get_experiment_by_name(run.experiment)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(run.experiment)
        tags = {"mlflow.runName": run.name or run.id, "rosenblatt.run": run.id} | run.tags
        if run.source and run.source.commit:
            tags["mlflow.source.git.commit"] = run.source.commit
        if run.parent in self._mlflow_ids:
            tags["mlflow.parentRunId"] = self._mlflow_ids[run.parent]
        created = client.create_run(experiment_id, start_time=int(run.started * 1000), tags=tags)
        self._mlflow_ids[run.id] = created.info.run_id
        return self._mlflow_ids[run.id]
