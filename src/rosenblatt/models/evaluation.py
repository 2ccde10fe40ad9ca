"""Evaluate a model: predict test rows and score the predictions, next to those of a baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import resolve_column_name
from rosenblatt.errors import TableError, format_list, join_names
from rosenblatt.models.bootstrap import Resampling, SumOverRows, Totals, confidence_intervals
from rosenblatt.models.metadata import TestScore
from rosenblatt.models.metrics import (
    absent_classes,
    classes_of_one_row,
    compute_forecast_metrics,
    compute_metrics,
    flatten_steps,
    names_of_class_scores,
)
from rosenblatt.models.model import Model
from rosenblatt.models.training_rows import TrainingOverlap, TrainingRows

MAX_CHECK_ROWS = 1000  # rows (of sequences: steps) whose predictions a new process compares with the written file
LOWER_IS_BETTER = ("log loss", "perplexity", "root mean squared error", "mean absolute error")


@dataclass(frozen=True)
class Evaluation:
    """A model with its predictions and scores on some rows."""

    model: Model
    scores: list[TestScore]  # empty without test rows
    test: pl.DataFrame  # test rows as read, including the target
    y_test: np.ndarray  # true values, as `SupervisedTask.y`; of sequences without padding, of forecasts in their unit
    predictions: np.ndarray  # as `Model.predict_raw`, in the same form
    row_index: np.ndarray  # (n,) index of the test row of each prediction; several are of one sequence
    check_rows: pl.DataFrame  # rows on which the written model file is checked
    best_trial_scores: Sequence[TestScore] = ()  # of the best trial of a search, if the model is an ensemble
    row_numbers: np.ndarray | None = None  # (n,) of the test rows in their table, counted from 1; None if not known
    weight: np.ndarray | None = None  # (n,) weights of the predictions in the scores
    is_held_out: bool = False  # whether it is certain that the model was not trained on these rows
    overlap: TrainingOverlap | None = None  # with the training rows; None if it is not known or needs no check
    cautions: tuple[str, ...] = ()  # what the scores do not show, or why they may be too optimistic


def evaluate_model(
    model: Model,
    frame: pl.DataFrame,
    typed: pl.DataFrame,
    y: np.ndarray,
    baseline_prediction: Sequence[float],
    threads: int | None = None,
    weight: np.ndarray | None = None,
) -> Evaluation:
    """Predict test rows and score the predictions, with confidence intervals.

    Forecasts are scored in the unit of the series, next to repeating the last value of each window.

    Args:
        model: the model; its metadata says whether the rows are windows of time series.
        frame, typed: the test rows as read, and as `Schema.read` returns them.
        y: true values of the rows, as `SupervisedTask.y`.
        baseline_prediction: (K,) what the baseline predicts for every row, as `compute_baseline` returns it.
        threads: number of threads; by default one per core.
        weight: (n,) weights of the rows in the scores.
    """
    target, windows = model.target, model.metadata.windows
    predictions = model.predict_typed(typed, threads) if len(y) else np.empty((0, len(baseline_prediction)))
    if windows:
        y, predictions, last_value = (
            windows.inverse_transform(frame, array) for array in (y, predictions, np.zeros_like(y))
        )
    scores: list[TestScore] = []
    if len(y) and windows:
        scores = score_forecasts(y, predictions, last_value)
    elif len(y):
        resampling = Resampling(_group_of_each_row(model.spec.data.groups, frame))
        scores = score_predictions(target, y, predictions, baseline_prediction, resampling, weight)
    steps = max(y.shape[1], 1) if target.is_per_step else 1
    check_rows = frame.head(max(MAX_CHECK_ROWS // steps, 1))
    row_index = row_of_each_prediction(target, y, predictions)
    weight = None if weight is None else weight[row_index]
    y, predictions = flatten_steps(target, y, predictions)
    cautions = () if windows else tuple(describe_unknown_scores(target, y, scores, weight))
    return Evaluation(model, scores, frame, y, predictions, row_index, check_rows, weight=weight, cautions=cautions)


def check_overlap(evaluation: Evaluation, training_rows: TrainingRows, hashes: np.ndarray) -> Evaluation:
    """Add how many of the scored rows are training rows, by the hashes (n,) of the scored rows and their targets."""
    model, overlap = evaluation.model, training_rows.overlap(hashes)
    if not len(hashes):
        return evaluation
    is_suspect = overlap.seen or not overlap.checked
    caution = (overlap.describe("window" if model.metadata.windows else "row"),) if is_suspect else ()
    return replace(evaluation, overlap=overlap, is_held_out=overlap.is_none, cautions=(*caution, *evaluation.cautions))


def _group_of_each_row(column: str, frame: pl.DataFrame) -> np.ndarray | None:
    """Group of each row (n,), or None if the rows were not split by group or the column is missing."""
    with suppress(TableError):
        if column:
            return frame[resolve_column_name(frame, column)].cast(pl.String).fill_null("").to_numpy()
    return None


def score_predictions(
    target: Target,
    y: np.ndarray,
    raw_predictions: np.ndarray,
    baseline_prediction: Sequence[float],
    resampling: Resampling | None = None,
    weight: np.ndarray | None = None,
) -> list[TestScore]:
    """Score predictions (n, K), or (n, T, K) of sequences, against true values y, padded with -1 for sequences.

    Args:
        target: the target, which decides on the scores.
        y, raw_predictions: as `SupervisedTask.y` and `Model.predict_raw`.
        baseline_prediction: (K,) what the baseline predicts for every row.
        resampling: rows that the bootstrap draws together; all steps of a sequence always are. None computes no
            intervals.
        weight: (n,) weights of the rows.
    """
    row_index = row_of_each_prediction(target, y, raw_predictions)
    weight = None if weight is None else weight[row_index]
    if resampling and target.is_per_step and y.ndim == 2:
        resampling = Resampling(row_index)
    y, raw_predictions = flatten_steps(target, y, raw_predictions)
    constant_predictions = np.tile(np.asarray(baseline_prediction), (len(y), 1))
    baseline_metrics = compute_metrics(target, y, constant_predictions, Totals(weight))

    def compute(rows: np.ndarray | slice, sum_resamples: SumOverRows | None) -> dict[str, np.ndarray]:
        totals = Totals(None if weight is None else weight[rows], sum_resamples)
        return compute_metrics(target, y[rows], raw_predictions[rows], totals)

    scores = _make_scores(compute, baseline_metrics, len(y), resampling, target.n_outputs, weight)
    without_interval = names_of_class_scores(target) if classes_of_one_row(target, y) else ()
    return [score.with_fields(interval=None) if score.name in without_interval else score for score in scores]


def row_of_each_prediction(target: Target, y: np.ndarray, raw_predictions: np.ndarray) -> np.ndarray:
    """Index of the row of each prediction, as `flatten_steps` returns them."""
    rows = np.arange(len(y))
    if not target.is_per_step or y.ndim == 1:
        return rows
    rows_of_steps = np.broadcast_to(rows[:, None, None], (*raw_predictions.shape[:2], 1))
    return flatten_steps(target, y, rows_of_steps)[1][:, 0]


def describe_unknown_scores(
    target: Target, y: np.ndarray, scores: Sequence[TestScore], weight: np.ndarray | None = None
) -> Iterator[str]:
    """Say which scores cannot be known from test rows with these true values y, without padding, and why."""
    scored = {score.name for score in scores}
    y = y if weight is None else y[weight > 0]
    if not len(y) or target.task == "language":
        return
    if target.task == "regression":
        for k, name in enumerate(target.names):
            r2 = f"R2 of {name}" if len(target.names) > 1 else "R2"
            if r2 not in scored:
                reason = "holds a single row" if len(y) == 1 else f"holds one value of {name!r} only, {y[0, k]:g}"
                yield f"the test {reason}, so {r2} cannot be known"
        return
    absent, single = absent_classes(target, y), classes_of_one_row(target, y)
    class_scores = [name for name in names_of_class_scores(target) if name in scored]
    if single and class_scores and any(score.interval for score in scores):
        yield f"the test holds a single row of {format_list(single)}, too few to rely on {join_names(class_scores)}"
    if not absent:
        return
    if target.task == "multilabel":
        is_all = len(absent) == len(target.names)
        effect = "so F1 and AUC cannot be known" if is_all else "so F1 and AUC are means over the other labels"
        yield f"the test holds no row with {format_list(absent)}, {effect}"
        return
    unknown = [name for name in names_of_class_scores(target) if name not in scored]
    yield f"the test holds no {format_list(absent)}, so {join_names(unknown)} cannot be known"


def score_forecasts(y: np.ndarray, predictions: np.ndarray, baseline_predictions: np.ndarray) -> list[TestScore]:
    """Score forecasts (n, horizon) of the windows of one or several series, which are in the order of time.

    Errors of overlapping windows depend on each other, so the bootstrap draws blocks of consecutive windows: as many as
    the horizon has steps, and at least n^(1/3), the order that minimizes the error of the estimated variance (Künsch
    1989). Several series are treated as independent.
    """
    block_length = max(y.shape[1], int(np.ceil(len(y) ** (1 / 3))))

    def compute(rows: np.ndarray | slice, sum_resamples: SumOverRows | None) -> dict[str, np.ndarray]:
        return compute_forecast_metrics(y[rows], predictions[rows], Totals(None, sum_resamples))

    baseline_metrics = compute_forecast_metrics(y, baseline_predictions)
    return _make_scores(compute, baseline_metrics, len(y), Resampling(block_length=block_length), y.shape[1])


def _make_scores(
    compute: Callable[[np.ndarray | slice, SumOverRows | None], dict[str, np.ndarray]],
    baseline_metrics: Mapping[str, np.ndarray],
    n_rows: int,
    resampling: Resampling | None,
    n_outputs: int,
    weight: np.ndarray | None = None,
) -> list[TestScore]:
    """Make the scores of all rows, without those that are undefined (such as the AUC of a single class)."""
    metrics = {name: float(value) for name, value in compute(slice(None), None).items() if np.isfinite(value)}
    intervals = confidence_intervals(compute, metrics, n_rows, resampling, n_outputs, weight) if resampling else {}
    return [
        TestScore(
            name=name,
            model=value,
            baseline=float(baseline_metrics[name]),
            higher_is_better=not name.startswith(LOWER_IS_BETTER),
            interval=intervals.get(name),
        )
        for name, value in metrics.items()
    ]


def scores_to_dict(scores: Sequence[TestScore]) -> dict[str, Any]:
    """Return `{name: {"model": value, "baseline": value, "interval": [low, high] or None}}`."""
    return {score.name: score.model_dump(mode="json", include={"model", "baseline", "interval"}) for score in scores}


def evaluation_to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Return what is known about the scored rows, besides their scores, as JSON-serializable data."""
    overlap = evaluation.overlap
    return {
        "held_out": evaluation.is_held_out,
        "in_training": overlap and {"rows": overlap.rows, "checked": overlap.checked, "seen": overlap.seen},
        "cautions": list(evaluation.cautions),
    }
