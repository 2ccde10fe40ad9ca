"""Record the result of a fit or a search: scores, curves, predictions on the test rows, and the model."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.schema.types import CellType, make_values
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import ModelFileError, StorageError, StoreError
from rosenblatt.models.evaluation import Evaluation
from rosenblatt.models.metadata import TestScore
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import load_model, to_bytes
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.details import ClassScores
from rosenblatt.runs.store.queries import list_artifacts
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import Run

MODEL_FILE = "model.rosenblatt"
PREDICTIONS_FILE = "predictions.parquet"
METRIC_ALIASES = {
    "AUC": "auc", "AUC (one against rest)": "auc", "AUC (mean of labels)": "auc", "log loss": "log_loss", "R2": "r2",
    "root mean squared error": "rmse", "mean absolute error": "mae", "balanced accuracy": "balanced_accuracy",
    "F1 (mean of classes)": "f1", "F1 (mean of labels)": "f1", "labels right": "accuracy",
    "all labels right": "exact_accuracy",
}  # fmt: skip


def metric_name(name: str) -> str:
    """The name of a test score as a metric: `auc`, `rmse`, `f1`."""
    name_without_label, separator, label = name.partition(" of ")
    if name_without_label == "F1":
        return "f1"
    return (
        METRIC_ALIASES.get(name)
        or METRIC_ALIASES.get(name_without_label, name_without_label.lower().replace(" ", "_")) + separator + label
    )


def hash_array(array: np.ndarray) -> str:
    """Hash the values of an array, such as the parameters of a network."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def mean_curve(curves: Iterable[Sequence[float] | np.ndarray]) -> np.ndarray:
    """Average curves epoch by epoch, each epoch over the curves that reach it."""
    arrays = [np.asarray(curve) for curve in curves]
    longest = max((len(curve) for curve in arrays), default=0)
    total, count = np.zeros(longest), np.zeros(longest)
    for curve in arrays:
        total[: len(curve)] += curve
        count[: len(curve)] += 1
    return total / np.maximum(count, 1)


def record_scores(run: Run, model: Model, test_scores: list[TestScore]) -> None:
    """Record test scores with their baselines and, for a single trial, the mean curves of its networks."""
    run.log({metric_name(score.name): score.model for score in test_scores}, step=0)
    run.set_metadata("baseline", {metric_name(score.name): score.baseline for score in test_scores})
    if len(model.trials) == 1:
        networks = model.trials[0].networks
        losses = mean_curve(network.losses for network in networks)
        run.log_curve("loss", losses, range(1, len(losses) + 1))
        scores = mean_curve(network.scores for network in networks)
        run.log_curve(f"validation_{model.spec.training.scoring}", scores, range(1, len(scores) + 1))


def record_classes(run: Run, target: Target, y_test: np.ndarray, predictions: np.ndarray) -> None:
    """Record the confusion matrix, and the scores of each class."""
    if not len(y_test) or not target.labels or target.task == "language":
        return
    counts = _confusion_matrix(target, y_test, predictions)
    labels = [str(label) for label in target.labels]
    run.set_metadata("confusion", {"classes": labels, "counts": counts.tolist()})
    run.set_metadata("classes", {label: _class_scores(counts, k).to_json() for k, label in enumerate(labels)})


def record_files(run: Run, model: Model, evaluation: Evaluation) -> None:
    """Store the predictions on the test rows, and the model. Raises StorageError or OSError."""
    with tempfile.TemporaryDirectory() as folder:
        if len(evaluation.y_test):
            path = Path(folder) / PREDICTIONS_FILE
            prediction_table(evaluation, model.metadata.target_types).write_parquet(path)
            run.log_artifact(path, kind="predictions")
        path = Path(folder) / MODEL_FILE
        path.write_bytes(to_bytes(model))
        run.log_artifact(path, kind="model")


def load_recorded_model(url: str, run_id: str) -> Model | None:
    """Load the stored model of a run; None if it is gone or cannot be read."""
    try:
        with closing(Store(url)) as store, tempfile.TemporaryDirectory() as folder:
            artifact = list_artifacts(store, run_id)[MODEL_FILE]
            Artifacts(url, store).fetch(artifact.hash, artifact.root, Path(folder) / MODEL_FILE)
            return load_model(Path(folder) / MODEL_FILE)
    except (KeyError, StorageError, StoreError, ModelFileError):
        return None


def _confusion_matrix(target: Target, y_test: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Count test rows by true class (rows) and predicted class (columns)."""
    k = len(target.labels)
    pair_indices = y_test.astype(int) * k + np.asarray(target.to_predictions(predictions)).astype(int)
    return np.bincount(pair_indices, minlength=k * k).reshape(k, k)


def _class_scores(counts: np.ndarray, k: int) -> ClassScores:
    """The scores of class k from a confusion matrix; a ratio without rows is 0."""
    n_correct, n_true, n_predicted = int(counts[k, k]), int(counts[k].sum()), int(counts[:, k].sum())
    return ClassScores(
        precision=n_correct / n_predicted if n_predicted else 0.0,
        recall=n_correct / n_true if n_true else 0.0,
        f1=2 * n_correct / (n_true + n_predicted) if n_true + n_predicted else 0.0,
        rows=n_true,
    )


def prediction_table(evaluation: Evaluation, types: Mapping[str, CellType]) -> pl.DataFrame:
    """The targets of the test rows beside their predictions; for language models only the probability of the target.

    The first column, `row`, has the number of each row in its table, from 1, if that is known. Targets have the `types`
    of their columns.
    """
    target, y_test, predictions = evaluation.model.target, evaluation.y_test, evaluation.predictions
    columns: dict[str, Any] = {}
    if evaluation.row_numbers is not None:
        columns["row"] = evaluation.row_numbers[evaluation.row_index]
    if evaluation.weight is not None:
        columns["weight"] = evaluation.weight
    if target.task == "language":
        labels, tokens = np.array(target.labels), y_test.astype(int)
        columns |= {
            "target": labels[tokens],
            "predicted": labels[predictions.argmax(axis=1)],
            "probability of the target": predictions[np.arange(len(tokens)), tokens],
        }
    elif target.labels:
        columns["target"] = make_values("target", target.labels, types.get(target.names[0])).gather(y_test.astype(int))
        columns |= {f"probability of {label}": predictions[:, k] for k, label in enumerate(target.labels)}
    else:
        for k, name in enumerate(target.names):
            true_values = _typed_targets(target, k, y_test.reshape(len(y_test), -1)[:, k], types.get(name))
            columns |= {f"target {name}": true_values, f"predicted {name}": predictions[:, k]}
    return pl.DataFrame(columns)


def _typed_targets(target: Target, k: int, y: np.ndarray, cell_type: CellType | None) -> pl.Series:
    """The true values (n,) of a target in the type of its column; values that are no integers stay Float64."""
    if target.label_pairs:
        return make_values("", target.label_pairs[k], cell_type).gather(y.astype(int))
    values = pl.Series(y)
    if cell_type and cell_type.to_dtype().is_numeric() and not cell_type.to_dtype().is_decimal():
        typed = values.cast(cell_type.to_dtype(), strict=False)
        return typed if (typed.cast(pl.Float64) == values).fill_null(False).all() else values
    return values
