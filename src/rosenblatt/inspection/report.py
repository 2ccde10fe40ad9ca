"""HTML report of a model: a summary, test scores, plots and tables in a single file that opens offline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import jinja2
import numpy as np
import polars as pl

from rosenblatt.data.readers.frames import as_frame
from rosenblatt.data.sparse import is_sparse
from rosenblatt.data.tasks.forecasting import END, OFFSET
from rosenblatt.data.tasks.task import resolve_column_name
from rosenblatt.errors import TableError, did_you_mean, format_count, format_list, join_names
from rosenblatt.inspection import tables
from rosenblatt.inspection.description import describe_model
from rosenblatt.inspection.drift import describe_drift
from rosenblatt.inspection.groups import GroupScores, row_scores, score_by_group
from rosenblatt.inspection.partial_dependence import partial_dependence
from rosenblatt.inspection.plots import evaluation, importance, network, regression, training
from rosenblatt.inspection.plots.figure import Plot
from rosenblatt.inspection.plots.partial_dependence import partial_dependence_plots
from rosenblatt.inspection.summary import Evidence, Summary, baseline_name, summarize
from rosenblatt.inspection.tables import ReportTable
from rosenblatt.inspection.thresholds import threshold_table
from rosenblatt.inspection.worst_rows import worst_rows_table
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.bootstrap import Resampling
from rosenblatt.models.evaluation import Evaluation, describe_unknown_scores, row_of_each_prediction, score_predictions
from rosenblatt.models.metadata import TestScore
from rosenblatt.models.metrics import compute_baseline, flatten_steps
from rosenblatt.models.model import Model
from rosenblatt.spec import hyperparameters

MAX_SHOWN_COLUMNS = 5  # columns shown beside the rows with the largest errors


@dataclass(frozen=True)
class Section:
    """A part of a report: plots and tables under a heading."""

    title: str
    plots: tuple[Plot, ...]
    tables: tuple[ReportTable, ...] = ()


@dataclass(frozen=True)
class Report:
    """Summary, scores, plots and tables of a model. Notebooks display the whole page; `report["ROC"]` is one plot."""

    model: Model
    scores: Sequence[TestScore]
    rows: int  # number of scored rows
    summary: Summary
    sections: tuple[Section, ...]
    is_weighted: bool = False  # whether the scores are weighted by a column

    @classmethod
    def from_fit(cls, result: Evaluation, by: str | Sequence[str] = ()) -> Self:
        """Create the report of a fit or an evaluation.

        Args:
            result: what `fit` or `evaluate` returned.
            by: columns of the scored table whose groups are scored each on its own, by name or by number from 1.

        Raises:
            TableError: for a column that does not exist or cannot be grouped by.
        """
        model, y = result.model, result.y_test
        importances: dict[str, np.ndarray] = {}
        if len(y) and _is_tabular(model):
            importances = importance.permutation_importance(model, result.test, y)
        groups = [_score_groups(result, name) for name in ([by] if isinstance(by, str) else by)]
        drift = []
        if len(y) and _is_tabular(model):
            lines = describe_drift(model, model.schema.read(result.test))
            drift = [line for line in lines if line not in result.cautions]
        evidence = Evidence(
            model,
            result.scores,
            y,
            result.predictions,
            result.is_held_out,
            importances,
            groups,
            drift,
            result.cautions,
            result.weight,
            is_overlap_known=result.overlap is not None,
        )
        columns = [*importances] or [column.name for column in model.schema.input_columns]
        columns = sorted(columns, key=lambda name: -importances[name].mean() if importances else 0)
        sections = (
            Section("Errors", tuple(_error_plots(result)), tuple(_error_tables(result, columns, groups))),
            Section("Columns", tuple(_column_plots(result, importances, columns))),
            Section("Training", tuple(_training_plots(model))),
        )
        return cls(model, result.scores, len(y), summarize(evidence), sections, result.weight is not None)

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, by: str | Sequence[str] = ()) -> Self:
        """Create the report of a fitted estimator on rows it was not trained on.

        Args:
            estimator: a fitted estimator of this library, except `Forecaster`.
            X: the rows to score.
            y: their true values.
            by: columns of X whose groups are scored each on its own, by name or by number from 1.

        Raises:
            TableError: for rows that do not fit the model, for models of sparse rows, forecasts, and unknown columns.
        """
        model: Model = estimator.model_
        if model.metadata.windows:
            raise TableError(
                "The report of a forecast needs the whole series. Use rosenblatt evaluate MODEL TABLE --report "
                "FILE.html."
            )
        frame = estimator._frame(X, reset=False)
        if model.encoder.n_sparse_columns:
            raise TableError("A report shows columns, but this model takes sparse rows as they are, without columns.")
        if not isinstance(frame, pl.DataFrame):
            matrix = frame.toarray() if is_sparse(frame) else frame
            frame = as_frame(matrix, [column.name for column in model.schema.columns])
        y_true, predictions = estimator._encode_target(y, frame.height, keep_classes=True), model.predict_raw(frame)
        model_scores = score_predictions(
            model.target, y_true, predictions, compute_baseline(model.target, y_true), Resampling()
        )
        row_index = row_of_each_prediction(model.target, y_true, predictions)
        y_true, predictions = flatten_steps(model.target, y_true, predictions)
        cautions = tuple(describe_unknown_scores(model.target, y_true, model_scores))
        evaluation = Evaluation(model, model_scores, frame, y_true, predictions, row_index, frame, cautions=cautions)
        return cls.from_fit(evaluation, by)

    @property
    def plots(self) -> tuple[Plot, ...]:
        """The plots of all sections."""
        return tuple(plot for section in self.sections for plot in section.plots)

    def __getitem__(self, title: str) -> Plot:
        """The plot with this title. Raises KeyError."""
        plots = {plot.title: plot for plot in self.plots}
        if title not in plots:
            raise KeyError(f"The report has no plot {title!r}, but {format_list(plots)}.{did_you_mean(title, plots)}")
        return plots[title]

    def to_html(self) -> str:
        """The page as HTML, the same bytes for the same report."""
        template = files("rosenblatt.inspection").joinpath("report.html.jinja").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        description, windows = describe_model(self.model, ""), self.model.metadata.windows
        return environment.from_string(template).render(
            title=windows.target if windows else ", ".join(self.model.target.names),
            task=self.model.task,
            description=description,
            metadata=description["metadata"],
            summary=self.summary,
            sections=self.sections,
            scores=_score_table(self.model, self.scores, self.is_weighted),
            details=[_column_table(description), _hyperparameter_table(description)],
        )

    def save(self, path: str | Path) -> None:
        """Write the page to a file. Raises StorageError."""
        write_file(path, self.to_html().encode())

    def _repr_html_(self) -> str:
        return self.to_html()


def _is_tabular(model: Model) -> bool:
    """Whether the model's inputs are columns of numbers and categories only."""
    return not model.encoder.media_encodings and not model.encoder.n_sparse_columns


def _has_row_predictions(result: Evaluation) -> bool:
    """Whether there is one prediction for each scored row, instead of one for each of its steps."""
    return len(result.y_test) > 0 and not result.model.target.is_per_step


def _score_groups(result: Evaluation, name: str) -> GroupScores:
    if not _has_row_predictions(result):
        reason = "this model predicts each step" if len(result.y_test) else "no rows were held out for a test"
        raise TableError(f"Errors cannot be grouped by {name!r}: {reason}. Remove --by.")
    model, frame = result.model, result.test
    if model.metadata.windows and name == model.metadata.windows.series:
        frame = frame.select(pl.col("name").alias(name))
    name = resolve_column_name(frame, name)
    errors = row_scores(model.target, result.y_test, result.predictions)
    return score_by_group(model.schema, model.target, frame, name, errors, result.weight)


def _error_plots(result: Evaluation) -> Iterator[Plot]:
    target, y, predictions = result.model.target, result.y_test, result.predictions
    if not len(y):
        return
    windows = result.model.metadata.windows
    if windows:
        name = windows.target
        yield regression.errors_by_horizon(name, y, predictions, result.test[OFFSET].to_numpy())
        yield regression.true_against_predicted(name, y.ravel(), predictions.ravel(), with_intervals=False)
    elif target.task == "regression":
        yield from regression.regression_plots(target, y, predictions)
    else:
        if target.labels:
            yield evaluation.confusion_matrix(target, y, predictions)
        if evaluation.has_curves(target, y, predictions):
            yield evaluation.roc(target, y, predictions)
            yield evaluation.precision_recall(target, y, predictions)
        if target.output_type == "probabilities":
            yield evaluation.calibration(target, y, predictions)


def _error_tables(result: Evaluation, columns: Sequence[str], groups: Sequence[GroupScores]) -> Iterator[ReportTable]:
    """Groups, thresholds, and the worst rows with the first of the columns."""
    target, y, predictions = result.model.target, result.y_test, result.predictions
    yield from (scores.to_table() for scores in groups)
    if target.task == "binary" and target.output_type == "probabilities" and 0 < y.sum() < len(y):
        yield threshold_table(y == 1, predictions[:, 1], str(target.labels[1]))
    if _has_row_predictions(result):
        inputs = result.test.select(columns[:MAX_SHOWN_COLUMNS])
        windows = result.model.metadata.windows
        if windows:
            names = {"name": windows.series or "series", END: "steps before the forecast"}
            inputs = result.test.select(pl.col(END).cast(pl.Int64), "name").rename(names)
        table = worst_rows_table(target, y, predictions, inputs, result.row_numbers, result.model.schema)
        yield from [table] if table else []


def _column_plots(result: Evaluation, importances: Mapping[str, np.ndarray], columns: Sequence[str]) -> Iterator[Plot]:
    if importances:
        yield importance.plot_importance(importances, importance.importance_metric(result.model.target, result.y_test))
        yield from partial_dependence_plots(partial_dependence(result.model, result.test, columns))


def _training_plots(model: Model) -> Iterator[Plot]:
    yield training.learning_curves(model)
    search = model.metadata.search
    if search and len(search.history) > 1:
        yield training.search_history(search)
    if search and search.importance:
        yield training.hyperparameter_importance(search)
    if not model.encoder.media_encodings:
        yield network.plot_network(model)


def _score_table(model: Model, model_scores: Sequence[TestScore], is_weighted: bool) -> ReportTable | None:
    """The test scores, or None without any."""
    if not model_scores:
        return None
    caption = f"The baseline is {baseline_name(model)}."
    lower_is_better = [score.name for score in model_scores if not score.higher_is_better]
    if len(lower_is_better) == len(model_scores):
        caption += " Lower is better."
    elif lower_is_better:
        caption += f" Lower is better for {join_names(lower_is_better)}, higher for all others."
    if is_weighted:
        caption += f" Scores are weighted by {model.spec.data.weight}; plots and thresholds count rows."
    columns = {
        "score": [score.name for score in model_scores],
        "model": [tables.format_value(score.model, 4) for score in model_scores],
        "95% interval": [tables.format_interval(score.interval) for score in model_scores],
        "baseline": [tables.format_value(score.baseline, 4) for score in model_scores],
    }
    if any(columns["95% interval"]):
        caption += " Intervals are percentile bootstraps over the scored rows; for accuracies of 0 or 1 they are exact."
    else:
        del columns["95% interval"]
    is_numeric = tuple(header != "score" for header in columns)
    return ReportTable("Scores", caption, tuple(columns), is_numeric, tuple(zip(*columns.values(), strict=True)))


def _column_table(description: Mapping[str, Any]) -> ReportTable:
    rows = [
        (
            column["name"],
            column["kind"],
            *(f"{column[key]:,}" if column[key] else "" for key in ("missing", "distinct")),
            column["note"],
        )
        for column in description["columns"]
    ]
    headers = ("column", "kind", "missing", "distinct", "note")
    return ReportTable(format_count(len(rows), "column"), "", headers, (False, False, True, True, False), tuple(rows))


def _hyperparameter_table(description: Mapping[str, Any]) -> ReportTable:
    rows = [
        (
            name,
            hyperparameters.format_value(entry["value"]),
            "" if entry["requested"] == entry["value"] else hyperparameters.format_value(entry["requested"]),
        )
        for name, entry in description["hyperparameters"].items()
    ]
    title = format_count(len(rows), "hyperparameter")
    return ReportTable(title, "", ("name", "value", "requested, if different"), (False,) * 3, tuple(rows))
