"""In: a model, and rows with answers. Out: a page of scores and pictures in one file that opens offline."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import jinja2
import polars as pl

from rosenblatt.data.readers.frames import as_frame
from rosenblatt.errors import TableError, listed, nearest
from rosenblatt.inspection.description import of_model
from rosenblatt.inspection.plots import evaluation, importance, network, training
from rosenblatt.inspection.plots.figure import Picture
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.evaluation import Fitted
from rosenblatt.models.metrics import Score, baseline, of_steps, scores
from rosenblatt.models.model import Model
from rosenblatt.spec.hyperparameters import in_words


@dataclass(frozen=True)
class Report:
    """Scores and pictures of a model; a notebook shows it whole, `report["ROC"]` is one picture."""

    model: Model
    scores: list[Score]
    rows: int  # scored
    pictures: tuple[Picture, ...]

    @classmethod
    def of(cls, fitted: Fitted) -> Self:
        """The report of a fit or an evaluation."""
        model, y, decoded = fitted.model, fitted.truth, fitted.decoded
        target = model.target
        pictures = [training.learning_curves(model)]
        search = model.facts.get("search", {})
        if len(search.get("history", [])) > 1:
            pictures.append(training.search_history(search))
        if search.get("importance"):
            pictures.append(training.hyperparameter_importance(search))
        if len(y) and target.task == "regression":
            pictures.append(evaluation.residuals(target, y, decoded))
        elif len(y):
            if target.labels:
                pictures.append(evaluation.confusion_matrix(target, y, decoded))
            pictures.append(evaluation.roc(target, y, decoded))
            if target.answers == "probabilities":
                pictures.append(evaluation.calibration(target, y, decoded))
        if not model.encoder.perceived:
            if len(y):
                pictures.append(importance.importance(model, fitted.test, y))
            pictures.append(network.network(model))
        return cls(model, fitted.scores, len(y), tuple(pictures))

    @classmethod
    def of_estimator(cls, estimator: Any, X: Any, y: Any) -> Self:
        """The report of a fitted estimator on rows X with answers y, which it should not have learnt from.

        Raises TableError for rows it cannot be asked of, and for forecasts.
        """
        model: Model = estimator.model_
        if "windows" in model.facts:
            raise TableError("The page of a forecast is written by rosenblatt evaluate MODEL TABLE --report FILE.html.")
        frame = estimator._frame(X, reset=False)
        if not isinstance(frame, pl.DataFrame):
            frame = as_frame(frame, [column.name for column in model.schema.columns])
        truth, decoded = estimator._numbers(y, frame.height, known=True), model.decoded(frame)
        found = scores(model.target, truth, decoded, baseline(model.target, truth))
        return cls.of(Fitted(model, found, frame, *of_steps(model.target, truth, decoded), frame))

    def __getitem__(self, title: str) -> Picture:
        """The picture of that title."""
        by_title = {picture.title: picture for picture in self.pictures}
        if title not in by_title:
            raise KeyError(f"there is no picture {title!r}, but {listed(by_title)}.{nearest(title, by_title)}")
        return by_title[title]

    def to_html(self) -> str:
        """The page."""
        template = files("rosenblatt.inspection").joinpath("report.html.jinja").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        description = of_model(self.model, "")
        return environment.from_string(template).render(
            in_words=in_words,
            description=description,
            facts=description["facts"],
            scores=self.scores,
            rows=self.rows,
            pictures=self.pictures,
        )

    def save(self, path: str | Path) -> None:
        """Write the page to a file. Raises StorageError."""
        write_file(path, self.to_html().encode())

    def _repr_html_(self) -> str:
        return self.to_html()
