"""Predict and evaluate with a fitted model: tables, forecasts, texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import polars as pl

from rosenblatt.data.encoding.media_encodings import TextEncoding
from rosenblatt.data.media.images import Policy
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.forecasting import Windows
from rosenblatt.data.tasks.tagging import step_counts, unit_of_tags
from rosenblatt.errors import TableError, listed
from rosenblatt.models.evaluation import Fitted, _scores
from rosenblatt.models.metrics import Score, baseline, of_steps
from rosenblatt.models.model import Model
from rosenblatt.workflows.fit import CHECKED_ROWS
from rosenblatt.workflows.problems.problem import Say, answered, readable
from rosenblatt.workflows.problems.text import text_to_score


def without_damaged(model: Model, table: Table, damaged: Policy | None, say: Say) -> Table:
    """The rows whose images can be read, where others may be left out; None as it was when the model learnt.

    Raises TableError where too many are damaged.
    """
    if (damaged or model.spec.data.damaged) == "raise":
        return table  # the first one is told when it comes to it
    kept = table.frame.filter(readable(model.schema, "skip", table.frame, say))
    name = table.name or next((one.name for one in model.schema.media if kept.schema.get(one.name) == pl.String), "")
    test = table.test and without_damaged(model, table.test, "skip", say)
    return replace(table, frame=kept, test=test, name=name if kept.height < table.frame.height else table.name)


def predict(
    model: Model, table: Table, *, with_inputs: bool = False, say: Say = print, threads: int | None = None
) -> pl.DataFrame:
    """The predictions for a table: for classes and labels also the probability of each; of series what comes next.

    Raises:
        TableError: where the table does not fit the model.
    """
    check_predicts(model)
    if "windows" in model.facts:
        return forecast(model, table, say, threads)
    frame = table.whole
    typed = model.schema.read(frame, say)
    for note in dict.fromkeys(note for trial in model.trials for note in trial.encoder.news(typed)):
        say(note)
    decoded = model.decoded_typed(typed, threads)
    target, label = model.target, model.label(decoded)
    columns: dict[str, np.ndarray | list[Any]] = {}
    if target.each_step:
        lengths = step_counts(typed, model.chosen.data.tokens)
        tags = [" ".join(map(str, row[:many])) for row, many in zip(label, lengths, strict=True)]
        return _beside(table, pl.DataFrame({target.names[0]: tags}), with_inputs, say)
    if target.labels:
        columns[target.names[0]] = label
    else:
        columns |= dict(zip(target.names, label.reshape(len(label), -1).T, strict=True))
    if target.words:
        columns = {
            name: [pair[k] for k in columns[name]] for name, pair in zip(target.names, target.words, strict=True)
        }
    if target.task != "regression":
        what = "probability" if target.answers == "probabilities" else "weighted sum"
        names = target.labels or target.names
        columns |= {f"{what} of {name}": decoded[:, k] for k, name in enumerate(names)}
    return _beside(table, pl.DataFrame(columns), with_inputs, say)


def _beside(table: Table, predicted: pl.DataFrame, with_inputs: bool, say: Say) -> pl.DataFrame:
    """The predictions, beside what names the rows of files; or all columns, where these are asked for."""
    frame = table.whole if with_inputs else table.whole.select([table.name] * bool(table.name))
    untold = [name for name, dtype in frame.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if untold:
        say(f"columns that do not fit into a cell are left out: {listed(untold)}")
    frame = frame.drop(untold)
    for name in predicted.columns:
        new = name
        while new in frame.columns:
            new = f"predicted {new}"
        predicted = predicted.rename({name: new})
    return pl.concat([frame, predicted], how="horizontal")


def check_predicts(model: Model) -> None:
    """Raise TableError for a model that does not predict rows."""
    if model.target.task == "language":
        raise TableError("This model tells what comes next in a text. Use rosenblatt generate.")


def forecast(model: Model, table: Table, say: Say = print, threads: int | None = None) -> pl.DataFrame:
    """What comes after the end of each series of a table: its name, the step, the forecast. Raises TableError."""
    windows = Windows.model_validate(model.facts["windows"])
    rows = windows.last(table.frame, say)
    said = windows.in_units(rows, model.decoded(rows, threads))
    found = {windows.series: rows["name"].to_list()} if windows.series else {}
    steps = np.tile(np.arange(1, windows.horizon + 1), rows.height)
    names = {name: np.repeat(np.array(values, object), windows.horizon).tolist() for name, values in found.items()}
    return pl.DataFrame({**names, "step": steps, windows.target: said.ravel()})


def evaluate(model: Model, table: Table, say: Say = print, threads: int | None = None) -> tuple[list[Score], Fitted]:
    """The scores of a model on a table with answers; of a forecast on all windows of its series, of a language on a
    text. Raises TableError where it does not fit."""
    windows = Windows.model_validate(model.facts["windows"]) if "windows" in model.facts else None
    if windows:
        frame = windows.rows(table.frame, say)
        truth = frame.select(windows.answers).to_numpy()
    elif model.target.task == "language":
        encoding = cast("TextEncoding", model.encoder.perceived[0])
        frame, truth = text_to_score(table, encoding.vocabulary, encoding.longest, say)
    else:
        frame, truth = answered(table.to_score, model.target, say)
    typed = model.schema.read(frame, say)
    if model.target.task == "tagging":
        unit_of_tags(typed, truth, model.chosen.data.tokens)
    decoded = model.decoded_typed(typed, threads)
    base = model.facts.get("baseline") or baseline(model.target, truth)
    found = _scores(model.target, windows, frame, truth, decoded, base)
    if windows:
        truth, decoded = (windows.in_units(frame, one) for one in (truth, decoded))
    truth, decoded = of_steps(model.target, truth, decoded)
    return found, Fitted(model, found, frame, truth, decoded, frame.head(CHECKED_ROWS))
