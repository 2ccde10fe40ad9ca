"""Record a fit or a search as a run in the store: its request, its data and its results."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.columns import row_hashes
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import ModelFileError, Notify, StorageError, StoreError
from rosenblatt.models.metadata import TestScore
from rosenblatt.models.metrics import scores
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import load_model, to_bytes
from rosenblatt.runs.capture.snapshot import RunSnapshot, run_identity
from rosenblatt.runs.store.artifacts import fetch
from rosenblatt.runs.store.curves import summarize
from rosenblatt.runs.store.locations import store_folder, store_url
from rosenblatt.runs.store.queries import find_finished_run, list_artifacts, load_metadata
from rosenblatt.runs.store.records import RecordBatch, as_json
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.output import OutputCapture
from rosenblatt.runs.tracking.run import Run, new_id
from rosenblatt.runs.tracking.writer import make_points
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.trial import Trial
from rosenblatt.workflows.request import RESUME, FitRequest

WRITE_INTERVAL = 0.3  # seconds between two writings of trials
MODEL_FILE = "model.rosenblatt"
METRIC_ALIASES = {
    "AUC": "auc", "AUC (one against rest)": "auc", "AUC (mean of labels)": "auc", "log loss": "log_loss", "R2": "r2",
    "root mean squared error": "rmse", "mean absolute error": "mae", "balanced accuracy": "balanced_accuracy",
    "F1 (mean of classes)": "f1", "F1 (mean of labels)": "f1", "labels right": "accuracy",
    "all labels right": "exact_accuracy",
}  # fmt: skip


@dataclass
class Recorder:
    """Records a fit or a search; or nothing, where `url` is None."""

    request: FitRequest
    url: str | None
    experiment: str
    name: str = ""
    reuse: bool = False
    reproduces: str = ""  # the run that it makes again
    reused: str = ""  # the finished run that is the same
    run: Run | None = None
    checkpoint_folder: Path | None = None  # the folder in which the state of a search is kept
    resumed: bool = False
    _messages: list[str] = field(default_factory=list)
    _last_write: float = 0.0
    _started_trials: set[int] = field(default_factory=set)  # trials whose run is written
    _trials_revision: int = 0  # revision of the search's history that was last written
    _output: OutputCapture | None = None  # once the run has begun
    _notify: Notify = print

    @classmethod
    def for_request(
        cls, request: FitRequest, experiment: str, *, name: str = "", reuse: bool = False, store: str | None = None
    ) -> Recorder:
        """What records a command. Raises StoreError for a store that is damaged or of a later version."""
        url = store_url(store)
        recorder = cls(request, url, experiment, name, reuse)
        if url:
            resumed_run = os.environ.pop(RESUME, None)
            if resumed_run and not _is_same_request(url, resumed_run, request):
                resumed_run = None
            recorder.run = Run(url, resumed_run or new_id(), experiment, {})
            recorder.resumed = resumed_run is not None
            recorder.checkpoint_folder = (
                store_folder(url) / "state" / recorder.run.id if request.spec.has_search else None
            )
        return recorder

    def capture_messages(self, notify: Notify) -> Notify:
        """What says something to the user, and records it."""

        def notify_and_record(message: str) -> None:
            self._messages.append(message)
            notify(message)

        self._notify = notify_and_record
        return notify_and_record

    def begin(self, schema: Schema, data: Dataset, validation: Dataset | None, test: pl.DataFrame) -> Model | None:
        """Write what was asked, and on which rows. Returns the model of a finished run that is the same, if one may."""
        if self.run is None or self.url is None:
            return None
        run, request = self.run, self.request
        snapshot = RunSnapshot(Path.cwd(), run.store_source)
        fingerprints = [dataset.fingerprint().hex() for dataset in (data, validation) if dataset is not None]
        comparable_request = request.to_json() | {"table": "", "test": "", "validation": "", "threads": None}
        identity = run_identity("fit", _source_hash(), comparable_request, fingerprints, snapshot.environment)
        if self.reuse:
            finished_id = find_finished_run(self.url, identity)
            model = _load_recorded_model(self.url, finished_id) if finished_id else None
            if model is not None:
                self.reused = finished_id or ""
                return model
        kind = "search" if request.spec.has_search else "fit"
        if self.resumed:
            run.resume(snapshot)
        else:
            run.begin(self.name, kind, snapshot, identity=identity)
        self._output = OutputCapture(run.writer, run.id)
        run.set_params(*_hyperparameters(request.spec))
        run.set_metadata("request", request.to_json())
        run.set_metadata("engine", {"source": _source_hash()})
        run.set_metadata("schema", schema.model_dump(mode="json"))
        test_rows = hashlib.sha256(row_hashes(test).tobytes()).hexdigest()
        split = {"training rows": len(data.y), "test rows": test.height, "training": fingerprints[0], "test": test_rows}
        run.set_metadata("split", split | ({"validation": fingerprints[1]} if validation is not None else {}))
        for role in ("table", "test", "validation"):
            path = getattr(request, role)
            if path and Path(path).exists():
                run.use_data(path, role)
        if self.checkpoint_folder:
            run.set_metadata("state_folder", str(self.checkpoint_folder))
        if self.reproduces:
            run.set_metadata("reproduces", self.reproduces)
        return None

    def write_trials(self, search: SearchCoordinator, at_end: bool = False) -> None:
        """Write the trials of a search that have changed since the last call."""
        if self.run is None:
            return
        now = time.monotonic()
        if not at_end and now - self._last_write < WRITE_INTERVAL:
            return
        self._last_write = now
        batch = RecordBatch()
        for trial in search.history.changed_since(self._trials_revision):
            self._add_trial(batch, search, trial)
        self._trials_revision = search.history.revision
        self.run.writer.put(batch)

    def write_result(
        self, model: Model, test_scores: list[TestScore], y_test: np.ndarray, predictions: np.ndarray
    ) -> None:
        """Write what came of it: scores, curves, per-class scores, predictions on the test rows, the model."""
        if self.run is None or self.reused:
            return
        run, target = self.run, model.target
        run.set_params(*_hyperparameters(model.trials[0].resolved_spec, self.request.spec))
        run.log({metric_name(score.name): score.model for score in test_scores}, step=0)
        run.set_metadata("baseline", {metric_name(score.name): score.baseline for score in test_scores})
        if len(model.trials) == 1:
            networks, scoring = model.trials[0].networks, model.spec.training.scoring
            losses = _mean_curve([np.array(network.losses) for network in networks])
            run.log_curve("loss", losses, range(1, len(losses) + 1))
            scores_by_epoch = _mean_curve([np.array(network.scores) for network in networks])
            run.log_curve(f"validation_{scoring}", scores_by_epoch, range(1, len(scores_by_epoch) + 1))
        if len(y_test) and target.labels and target.task != "language":
            counts = _confusion_matrix(target, y_test, predictions)
            run.set_metadata("confusion", {"classes": [str(label) for label in target.labels], "counts": counts})
            run.set_metadata("classes", _class_scores(target, y_test, predictions))
        try:
            _log_files(run, model, y_test, predictions)
        except (StorageError, OSError) as error:
            self._notify(f"the run's files are not kept: {error}")
        run.set_metadata("weights", hash_weights(model))
        if model.metadata.search:
            run.set_metadata("search", model.metadata.search.to_json())

    def finish(self, state: str, reason: str | None = None) -> None:
        """End the run."""
        if self.run is None or self._output is None:
            return
        self._output.add("stdout", "".join(f"{line}\n" for line in self._messages))
        self._output.write(at_end=True)
        self.run.finish(state, reason)
        if self.checkpoint_folder and state == "finished":  # which is only to go on from
            shutil.rmtree(self.checkpoint_folder, ignore_errors=True)

    def _add_trial(self, batch: RecordBatch, search: SearchCoordinator, trial: Trial) -> None:
        """Put a trial as it is now into a batch."""
        assert self.run is not None  # noqa: S101 - asked before
        run_id, scoring = f"{self.run.id}-{trial.number}", search.plan.spec.training.scoring
        if trial.number not in self._started_trials:
            self._started_trials.add(trial.number)
            fields = {"started": time.time(), "parent": self.run.id, "number": trial.number}
            batch.add_run(run_id, self.experiment, f"trial {trial.number}", "trial", **fields)
            values = _flatten_spec(trial.proposal.resolved_spec)
            batch.add_params(run_id, values, {name: name in trial.proposal.params for name in values})
            search_params = {name: value for name, value in trial.proposal.params.items() if name not in values}
            batch.add_params(run_id, search_params)
        ended = trial.state in ("finished", "stopped", "failed")
        state = trial.state if ended else "running"
        batch.update_run(run_id, state=state, reason=trial.reason or None, ended=time.time() if ended else None)
        wall_time, name = time.time(), f"validation_{scoring}"
        if trial.scores:
            batch.add_metadata(run_id, "trial", trial.record().to_json())
        if trial.state == "running" or trial.pending_folds:
            return
        curves = list(trial.folds.curves.values())
        for metric, means in (
            ("loss", _mean_curve([c[0] for c in curves])),
            (name, _mean_curve([c[1] for c in curves])),
        ):
            if means.size:
                _put_curve(batch, run_id, metric, np.arange(1, len(means) + 1), means, wall_time)
        if trial.state == "finished" and len(trial.folds.out_of_fold_predictions) == len(search.plan.folds):
            for score in _out_of_fold(search, trial):
                _put_curve(batch, run_id, metric_name(score.name), [trial.statistics.epochs], [score.model], wall_time)
            batch.add_metadata(
                run_id, "weights", [_hash_array(member.best) for member in trial.folds.members if member is not None]
            )


def _is_same_request(url: str, run_id: str, request: FitRequest) -> bool:
    """Whether a run is one of the same command."""
    with closing(Store(url)) as store:
        return bool(load_metadata(store, run_id).get("request") == json.loads(as_json(request.to_json())))


def metric_name(name: str) -> str:
    """A test score's name as a metric: `auc`, `rmse`, `f1`."""
    name_without_label, separator, label = name.partition(" of ")
    if name_without_label == "F1":
        return "f1"
    return (
        METRIC_ALIASES.get(name)
        or METRIC_ALIASES.get(name_without_label, name_without_label.lower().replace(" ", "_")) + separator + label
    )


def hash_weights(model: Model) -> list[str]:
    """A hash of each network's weights."""
    return [_hash_array(network.theta) for network in model.networks]


def _put_curve(
    batch: RecordBatch,
    run: str,
    name: str,
    steps: list[int] | np.ndarray,
    values: list[float] | np.ndarray,
    wall_time: float,
) -> None:
    points = make_points(steps, np.full(len(steps), wall_time), values)
    batch.add_curve(run, name, "engine", 0, points, summarize(points), replace=True)


def _mean_curve(curves: list[np.ndarray]) -> np.ndarray:
    """The mean of curves at each epoch, over those that came so far."""
    longest = max((len(curve) for curve in curves), default=0)
    total, count = np.zeros(longest), np.zeros(longest)
    for curve in curves:
        total[: len(curve)] += curve
        count[: len(curve)] += 1
    return total / np.maximum(count, 1)


def _hyperparameters(resolved: Spec, requested: Spec | None = None) -> tuple[dict[str, Any], dict[str, bool]]:
    """All of a spec, and which of them were chosen: by the user, or by a search."""
    values = _flatten_spec(resolved)
    spec = resolved if requested is None else requested
    return values, {
        n: spec[n] != HYPERPARAMETERS[n].default or (spec.has_search and resolved[n] != spec[n]) for n in values
    }


def _log_files(run: Run, model: Model, y_test: np.ndarray, predictions: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if len(y_test):
            path = Path(folder) / "predictions.parquet"
            _prediction_table(model.target, y_test, predictions).write_parquet(path)
            run.log_artifact(path, kind="predictions")
        path = Path(folder) / MODEL_FILE
        path.write_bytes(to_bytes(model))
        run.log_artifact(path, kind="model")


def _flatten_spec(spec: Spec) -> dict[str, Any]:
    """The hyperparameters that mean something for this kind of network."""
    names = [name for name, hyperparameter in HYPERPARAMETERS.items() if hyperparameter.applies_to(spec.network.kind)]
    return {name: spec[name] for name in names if spec[name] is not None}


def _out_of_fold(search: SearchCoordinator, trial: Trial) -> list[TestScore]:
    """The scores of a finished trial on the rows that each of its networks spared."""
    rows = np.concatenate([fold.validation for fold in search.plan.folds])
    predictions = np.concatenate([trial.folds.out_of_fold_predictions[fold] for fold in range(len(search.plan.folds))])
    y = search.prepared.y[rows]
    base = [0.5] * predictions.shape[-1]
    return scores(trial.proposal.target, y, predictions.astype(np.float64), base)


def _confusion_matrix(target: Target, y_test: np.ndarray, predictions: np.ndarray) -> list[list[int]]:
    """Counts by true class, then by predicted class."""
    k = len(target.labels)
    pair_indices = y_test.astype(int) * k + np.asarray(target.to_predictions(predictions)).astype(int)
    return np.bincount(pair_indices, minlength=k * k).reshape(k, k).tolist()


def _class_scores(target: Target, y_test: np.ndarray, predictions: np.ndarray) -> dict[str, dict[str, float]]:
    counts = np.array(_confusion_matrix(target, y_test, predictions))
    class_scores = {}
    for k, label in enumerate(target.labels):
        n_correct, n_true, n_predicted = int(counts[k, k]), int(counts[k].sum()), int(counts[:, k].sum())
        precision, recall = n_correct / n_predicted if n_predicted else 0.0, n_correct / n_true if n_true else 0.0
        f1 = 2 * n_correct / (n_true + n_predicted) if n_true + n_predicted else 0.0
        class_scores[str(label)] = {"precision": precision, "recall": recall, "f1": f1, "rows": n_true}
    return class_scores


def _prediction_table(target: Target, y_test: np.ndarray, predictions: np.ndarray) -> pl.DataFrame:
    """The test rows' answers, and what was said of them."""
    columns: dict[str, Any] = {}
    if target.task == "language":  # not of each token of the vocabulary
        labels, predicted_classes = np.array(target.labels), predictions.argmax(axis=1)
        target_probability = predictions[np.arange(len(y_test)), y_test.astype(int)]
        columns = {
            "target": labels[y_test.astype(int)],
            "predicted": labels[predicted_classes],
            "probability of the target": target_probability,
        }
    elif target.labels:
        columns["target"] = [str(target.labels[int(k)]) for k in y_test]
        columns |= {f"probability of {label}": predictions[:, k] for k, label in enumerate(target.labels)}
    else:
        for k, name in enumerate(target.names):
            columns |= {f"target {name}": y_test.reshape(len(y_test), -1)[:, k], f"predicted {name}": predictions[:, k]}
    return pl.DataFrame(columns)


def _load_recorded_model(url: str, run_id: str) -> Model | None:
    """The model of a finished run, if it is still there."""
    try:
        with closing(Store(url)) as store, tempfile.TemporaryDirectory() as folder:
            stored_file = list_artifacts(store, run_id)[MODEL_FILE]
            fetch(stored_file["hash"], stored_file["root"], Path(folder) / MODEL_FILE)
            return load_model(Path(folder) / MODEL_FILE)
    except (KeyError, StorageError, StoreError, ModelFileError):
        return None


def _hash_array(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@cache
def _source_hash() -> str:
    """A hash of this library's own source."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
