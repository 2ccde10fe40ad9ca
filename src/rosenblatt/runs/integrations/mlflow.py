"""Export of runs to an MLflow tracking store."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from rosenblatt.errors import StorageError, format_count
from rosenblatt.runs.redaction import redact
from rosenblatt.runs.store.curves import CurvePoints
from rosenblatt.runs.store.details import RunDetails

MAX_METRICS_PER_BATCH, MAX_ENTRIES_PER_BATCH = 1000, 100  # limits of MLflow's `log_batch`; entries: params, tags
MAX_BATCH_CHARACTERS = 100_000  # of params and tags in a batch; MLflow takes requests up to a megabyte
MAX_PARAM_LENGTH, MAX_TAG_LENGTH = 6000, 8000  # characters of a value, limits of MLflow
MAX_NAME_LENGTH, MAX_EXPERIMENT_LENGTH = 250, 500  # characters of a name, limits of MLflow
RUN_TAG, INCOMPLETE_TAG = "rosenblatt.run", "rosenblatt.incomplete"
NAME_TAG = "rosenblatt.name."  # begins tags with the names that MLflow does not accept, by the suffix they have there
_STATES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "lost": "KILLED"}
_Entry = TypeVar("_Entry", Param, RunTag)


def mlflow_name(name: str, max_length: int = MAX_NAME_LENGTH) -> str:
    """The name itself if MLflow accepts it; else a similar one with a hash of the name, so that no two become the same.

    >>> mlflow_name("val/loss"), mlflow_name("F1 [cat]"), mlflow_name("a//b")
    ('val/loss', 'F1 _cat_-cc81ae5a', 'a/b-7a9acf33')
    """
    allowed = re.sub(r"[^\w\-. /:]", "_", name)
    parts = [part for part in allowed.strip().split("/") if part not in ("", ".", "..")]
    similar = re.sub(r"^\.\.+", "_", "/".join(parts))
    if similar == name and 0 < len(name) <= max_length:
        return name
    suffix = f"-{_short_hash(name)}"
    return f"{similar[: max_length - len(suffix)] or 'unnamed'}{suffix}"


class Exporter:
    """Writes runs to one tracking address. Raises StorageError if it cannot be reached.

    Attributes:
        counts: How many runs were skipped as they are there already, and how many names and values were changed.
        failures: Why runs could not be written, by their ids.
    """

    def __init__(self, address: str) -> None:
        self._mlflow_ids: dict[str, str] = {}  # by the id of a run
        self.counts = Counter[str]()
        self.failures: dict[str, str] = {}
        try:
            self._client = MlflowClient(tracking_uri=address)
            self._client.search_experiments(max_results=1)
        except Exception as error:  # of MLflow, its database or its server
            raise StorageError(f"The MLflow store {redact(address)!r} cannot be used: {_first_line(error)}.") from error

    def write(self, run: RunDetails, curves: Mapping[str, CurvePoints]) -> None:
        """Write a run with all points of its curves, unless it is there; a failure is recorded in `failures`."""
        try:
            experiment_id = self._find_experiment(run.experiment)
            earlier = self._find_run(experiment_id, run.id)
            if earlier and earlier.info.status != "RUNNING" and INCOMPLETE_TAG not in earlier.data.tags:
                self.counts["skipped"] += 1
                self._mlflow_ids[run.id] = earlier.info.run_id
                return
            if earlier:  # it has gone on since, or was not written in full
                self._client.delete_run(earlier.info.run_id)
            created = self._client.create_run(experiment_id, start_time=int(run.started * 1000))
            self._mlflow_ids[run.id] = created.info.run_id
        except MlflowException as error:
            self.failures[run.id] = _first_line(error)
            return
        try:
            self._write_content(run, curves)
        except MlflowException as error:
            self.failures[run.id] = _first_line(error)
            self._client.set_tag(created.info.run_id, INCOMPLETE_TAG, self.failures[run.id][:MAX_TAG_LENGTH])
        finally:
            end_time = None if run.ended is None else int(run.ended * 1000)
            self._client.set_terminated(created.info.run_id, _STATES.get(run.state, "RUNNING"), end_time=end_time)

    def messages(self) -> list[str]:
        """What was left out or changed in all runs."""
        counts = self.counts
        texts = {
            "skipped": f"{format_count(counts['skipped'], 'run')} skipped: in MLflow already. Delete them there to "
            "export them again.",
            "names": f"{format_count(counts['names'], 'name')} changed, since MLflow does not accept them: the tags "
            f"{NAME_TAG}... hold the names as they were logged.",
            "values": f"{format_count(counts['values'], 'long value')} shortened to the length that MLflow accepts.",
            "infinities": f"{format_count(counts['infinities'], 'infinite value')}: MLflow may store them as 1.8e308.",
        }
        return [text for name, text in texts.items() if counts[name]]

    def _find_experiment(self, name: str) -> str:
        mlflow_experiment = name if 0 < len(name) <= MAX_EXPERIMENT_LENGTH else mlflow_name(name, MAX_EXPERIMENT_LENGTH)
        experiment = self._client.get_experiment_by_name(mlflow_experiment)
        return experiment.experiment_id if experiment else self._client.create_experiment(mlflow_experiment)

    def _find_run(self, experiment_id: str, run: str) -> MlflowRun | None:
        runs = self._client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{run}'", max_results=1)
        return runs[0] if runs else None

    def _write_content(self, run: RunDetails, curves: Mapping[str, CurvePoints]) -> None:
        client, mlflow_id = self._client, self._mlflow_ids[run.id]
        tags = self._make_tags(run)
        tag_entries = [RunTag(name, self._shorten(text, MAX_TAG_LENGTH)) for name, text in tags.items()]
        for tag_batch in _batches(tag_entries):
            client.log_batch(mlflow_id, tags=tag_batch)
        params = [Param(mlflow_name(k), self._shorten(v.value, MAX_PARAM_LENGTH)) for k, v in run.params.items()]
        for param_batch in _batches(params):
            client.log_batch(mlflow_id, params=param_batch)
        for name, points in curves.items():
            steps, times, values = (column.tolist() for column in points)
            self.counts["infinities"] += sum(map(math.isinf, values))
            key = mlflow_name(name)
            metrics = [Metric(key, v, t // 1000, step) for step, t, v in zip(steps, times, values, strict=True)]
            for start in range(0, len(metrics), MAX_METRICS_PER_BATCH):
                client.log_batch(mlflow_id, metrics=metrics[start : start + MAX_METRICS_PER_BATCH])

    def _make_tags(self, run: RunDetails) -> dict[str, str]:
        """The tags of a run, those that MLflow shows, and the original names of all that had to be changed."""
        names = [*run.tags, *run.params, *run.metrics]
        changed = {f"{NAME_TAG}{_short_hash(name)}": name for name in names if mlflow_name(name) != name}
        self.counts["names"] += len(changed)
        tags = {mlflow_name(name): text for name, text in run.tags.items()} | changed
        tags |= {"mlflow.runName": run.name or run.id, RUN_TAG: run.id, "rosenblatt.kind": run.kind}
        if run.source and run.source.commit:
            tags["mlflow.source.git.commit"] = run.source.commit
        if run.parent in self._mlflow_ids:
            tags["mlflow.parentRunId"] = self._mlflow_ids[run.parent]
        return tags

    def _shorten(self, text: str, max_length: int) -> str:
        self.counts["values"] += len(text) > max_length
        return text[:max_length]


def _batches(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """Divide params or tags into batches that MLflow accepts."""
    batch: list[_Entry] = []
    n_characters = 0
    for entry in entries:
        if batch and (len(batch) == MAX_ENTRIES_PER_BATCH or n_characters + len(entry.value) > MAX_BATCH_CHARACTERS):
            yield batch
            batch, n_characters = [], 0
        batch.append(entry)
        n_characters += len(entry.value)
    if batch:
        yield batch


def _short_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _first_line(error: Exception) -> str:
    return redact(next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". "))
