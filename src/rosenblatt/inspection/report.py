"""HTML report of a model: test scores and plots in a single file that opens offline."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import jinja2
import polars as pl

from rosenblatt.data.readers.frames import as_frame
from rosenblatt.errors import TableError, did_you_mean, format_list
from rosenblatt.inspection.description import describe_model
from rosenblatt.inspection.plots import evaluation, importance, network, training
from rosenblatt.inspection.plots.figure import Plot
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.evaluation import FitResult
from rosenblatt.models.metadata import TestScore
from rosenblatt.models.metrics import baseline, flatten_steps, scores
from rosenblatt.models.model import Model
from rosenblatt.spec.hyperparameters import format_value


@dataclass(frozen=True)
class Report:
    """Scores and pictures of a model; a notebook shows it whole, `report["ROC"]` is one picture."""

    model: Model
    scores: list[TestScore]
    rows: int  # scored
    plots: tuple[Plot, ...]

    @classmethod
    def from_fit(cls, result: FitResult) -> Self:
        """The report of a fit or an evaluation."""
        model, y, predictions = result.model, result.y_test, result.predictions
        target = model.target
        plots = [training.learning_curves(model)]
        search = model.metadata.search.to_json() if model.metadata.search else {}
        if len(search.get("history", [])) > 1:
            plots.append(training.search_history(search))
        if search.get("importance"):
            plots.append(training.hyperparameter_importance(search))
        if len(y) and target.task == "regression":
            plots.append(evaluation.residuals(target, y, predictions))
        elif len(y):
            if target.labels:
                plots.append(evaluation.confusion_matrix(target, y, predictions))
            plots.append(evaluation.roc(target, y, predictions))
            if target.output_type == "probabilities":
                plots.append(evaluation.calibration(target, y, predictions))
        if not model.encoder.media_encodings:
            if len(y):
                plots.append(importance.plot_importance(model, result.test, y))
            plots.append(network.plot_network(model))
        return cls(model, result.scores, len(y), tuple(plots))

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any) -> Self:
        """The report of a fitted estimator on rows X with answers y, which it should not have learnt from.

        Raises TableError for rows it cannot be asked of, and for forecasts.
        """
        model: Model = estimator.model_
        if model.task == "forecasting":
            raise TableError("The page of a forecast is written by rosenblatt evaluate MODEL TABLE --report FILE.html.")
        frame = estimator._frame(X, reset=False)
        if not isinstance(frame, pl.DataFrame):
            frame = as_frame(frame, [column.name for column in model.schema.columns])
        y_true, predictions = estimator._encode_target(y, frame.height, keep_classes=True), model.predict_raw(frame)
        model_scores = scores(model.target, y_true, predictions, baseline(model.target, y_true))
        return cls.from_fit(
            FitResult(model, model_scores, frame, *flatten_steps(model.target, y_true, predictions), frame)
        )

    def __getitem__(self, title: str) -> Plot:
        """The picture of that title."""
        plots = {plot.title: plot for plot in self.plots}
        if title not in plots:
            raise KeyError(f"there is no picture {title!r}, but {format_list(plots)}.{did_you_mean(title, plots)}")
        return plots[title]

    def to_html(self) -> str:
        """The page."""
        template = files("rosenblatt.inspection").joinpath("report.html.jinja").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        description = describe_model(self.model, "")
        return environment.from_string(template).render(
            format_value=format_value,
            description=description,
            metadata=description["metadata"],
            scores=self.scores,
            rows=self.rows,
            plots=self.plots,
        )

    def save(self, path: str | Path) -> None:
        """Write the page to a file. Raises StorageError."""
        write_file(path, self.to_html().encode())

    def _repr_html_(self) -> str:
        return self.to_html()
