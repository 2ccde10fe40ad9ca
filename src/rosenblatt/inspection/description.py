"""Descriptions of tables, tasks and models as text and as JSON-serializable data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.media.contents import cell_name
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.schema.decimal_marks import detect_marks
from rosenblatt.data.schema.inference import infer_column
from rosenblatt.data.schema.notes import Note, summarize_notes
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.task import SupervisedTask, detect_task, has_targets
from rosenblatt.errors import TableError, format_list
from rosenblatt.models.evaluation import scores_to_dict
from rosenblatt.models.model import Model
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import to_builtin

_PLURALS = {"category": "categories", "empty": "empty", "nested": "nested"}


def summarize_columns(schema: Schema, targets: Sequence[Column] = ()) -> list[str]:
    """Number of used and of other columns of each kind, and the notes on these and on target columns."""
    parts = []
    for is_input, verb in ((True, "used"), (False, "left out")):
        kinds = Counter(column.kind for column in schema.columns if column.is_input is is_input)
        phrases = [f"{n} {kind if n == 1 else _PLURALS.get(kind, kind + 's')}" for kind, n in kinds.items()]
        parts += [f"{', '.join(phrases)} {verb}"] if phrases else []
    notes = summarize_notes((column.name, note) for column in (*schema.columns, *targets) for note in column.notes)
    return [f"columns: {'; '.join(parts)}", *(f"  {line}" for line in notes)]


def summarize_task(task: SupervisedTask) -> str:
    """The task, with the frequencies of the classes or the range of the values."""
    y = task.y[has_targets(task.y)]
    name, hint = format_list(task.names, 5), f"; {task.hint}" if task.hint else ""
    if task.task == "tagging":
        y = y[y >= 0]
    if task.labels:
        fractions = np.bincount(y.astype(int), minlength=len(task.labels)) / len(y)
        order = np.argsort(-fractions, kind="stable")[:6]
        details = ", ".join(f"{task.labels[k]} {fractions[k]:.1%}" for k in order)
        suffix = f" and {len(task.labels) - 6} more" if len(task.labels) > 6 else ""
        kind = "two classes" if task.task == "binary" else f"{len(task.labels)} classes"
        kind += " for each step" * (task.task == "tagging")
        return f"{kind} of {name} ({details}{suffix}){hint}"
    if task.task == "multilabel":
        details = ", ".join(
            f"{label} {fraction:.1%}" for label, fraction in zip(task.names[:6], y.mean(axis=0), strict=False)
        )
        return f"{len(task.names)} labels at once ({details})"
    lows, highs, means = y.min(axis=0), y.max(axis=0), y.mean(axis=0)
    ranges = zip(lows, highs, means, strict=True)
    details = "; ".join(f"from {low:g} to {high:g}, mean {mean:.4g}" for low, high, mean in ranges)
    return f"regression of {name} ({task.reason}; {details}){hint}"


def describe_table(table: Table) -> dict[str, Any]:
    """Describe the columns of a table, and the task if the column that its source names, or the last, is the target."""
    target, columns = table.target or table.frame.columns[-1], _infer_columns(table)
    shown = {note for column in columns for note in column.notes if column.name == target}
    try:
        detected = detect_task(table.frame, [target], format=table.format)
        notes = [f"; {note}" for column in detected.columns for note in column.notes if note not in shown]
        task = f"{summarize_task(detected)}, if {target!r} is the target{''.join(notes)}"
    except TableError as error:
        task = f"unknown. {error}"
    return {
        "source": table.source,
        "rows": table.frame.height,
        "notes": list(table.notes),
        "columns": [_describe_column(column, table.frame[column.name]) for column in columns],
        "likely_task": task,
    }


def _infer_columns(table: Table) -> list[Column]:
    max_categories = int(HYPERPARAMETERS["max_categories"].default)
    marks, columns = detect_marks(table.frame, table.format), list[Column]()
    for series in table.frame:
        try:
            columns.append(infer_column(series, max_categories, table.format, marks))
        except TableError as error:
            note = Note(text=str(error))
            columns.append(Column(name=series.name, kind="text", missing=series.null_count(), notes=(note,)))
    return columns


def _describe_column(column: Column, series: pl.Series) -> dict[str, Any]:
    examples: list[str] = []
    if series.dtype == pl.Binary:
        examples = [f"{len(value):,} bytes" for value in series.drop_nulls().head(3)]
    elif not series.dtype.is_nested() and series.dtype != pl.Object:
        values = series.head(1000).drop_nulls().unique(maintain_order=True).head(3)
        examples = [cell_name(value) if column.kind == "image" else str(value).strip() for value in values]
    return {**_column_fields(column), "examples": examples}


def _column_fields(column: Column) -> dict[str, Any]:
    return column.model_dump(include={"name", "kind", "missing", "distinct"}) | {"note": column.note}


def describe_model(model: Model, source: str) -> dict[str, Any]:
    """Describe the networks of a model, its hyperparameters, its data and its scores."""
    first_network, metadata = model.networks[0], model.metadata.to_json()
    return {
        "model": source,
        "task": model.target.task,
        "target": list(model.target.names),
        "classes": list(model.target.labels),
        "kind": first_network.architecture.kind,
        "networks": len(model.networks),
        "sizes": list(first_network.architecture.sizes),
        "outline": first_network.architecture.summary,
        "activation": sorted({network.architecture.activation for network in model.networks}),
        "parameters": sum(network.architecture.n_parameters for network in model.networks),
        "ensemble": [[trial.number, trial.weight] for trial in model.trials],
        "best_epochs": [network.best_epoch for network in model.networks],
        "epochs": [network.n_epochs for network in model.networks],
        "hyperparameters": {
            name: {
                "value": to_builtin(model.resolved_spec[name]),
                "requested": to_builtin(model.spec[name]),
                "section": hyperparameter.section,
            }
            for name, hyperparameter in HYPERPARAMETERS.items()
            if hyperparameter.applies_to(model.spec.network.kind)
        },
        "columns": [_column_fields(column) for column in model.schema.columns],
        "inputs": model.encoder.width,
        "spec_hash": model.spec.hash,
        "scores": scores_to_dict(model.metadata.scores),
        "metadata": {name: value for name, value in metadata.items() if name != "scores"},
    }
