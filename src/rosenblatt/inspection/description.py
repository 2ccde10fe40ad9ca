"""In: a table, or a model. Out: what it holds, as plain data, in words, and as tables on the terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.schema.inference import infer
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.task import Question, ask, has_answers
from rosenblatt.errors import TableError, listed
from rosenblatt.models.model import Model
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS

_PLURALS = {"category": "categories", "empty": "empty", "nested": "nested"}


def columns_in_words(schema: Schema) -> list[str]:
    """How many columns of each kind there are, and what is worth saying of one."""
    kinds: dict[str, int] = {}
    for column in schema.columns:
        kinds[column.kind] = kinds.get(column.kind, 0) + 1
    counted = [f"{n} {kind if n == 1 else _PLURALS.get(kind, kind + 's')}" for kind, n in kinds.items()]
    notes = [f"  {column.name}: {column.note}" for column in schema.columns if column.note]
    return [f"columns to learn from: {', '.join(counted)}", *notes]


def task_in_words(question: Question) -> str:
    """The task, with the classes' shares or the values' range."""
    y = question.y[has_answers(question.y)]
    name = listed(question.names, 5)
    if question.task == "tagging":
        y = y[y >= 0]
    if question.labels:
        shares = np.bincount(y.astype(int), minlength=len(question.labels)) / len(y)
        order = np.argsort(-shares, kind="stable")[:6]
        told = ", ".join(f"{question.labels[k]} {shares[k]:.1%}" for k in order)
        more = f" and {len(question.labels) - 6} more" if len(question.labels) > 6 else ""
        kind = "two classes" if question.task == "binary" else f"{len(question.labels)} classes"
        kind += " for each step" * (question.task == "tagging")
        return f"{kind} of {name} ({told}{more})"
    if question.task == "multilabel":
        told = ", ".join(
            f"{label} {share:.1%}" for label, share in zip(question.names[:6], y.mean(axis=0), strict=False)
        )
        return f"{len(question.names)} labels at once ({told})"
    lows, highs, means = y.min(axis=0), y.max(axis=0), y.mean(axis=0)
    spans = zip(lows, highs, means, strict=True)
    told = "; ".join(f"from {low:g} to {high:g}, mean {mean:.4g}" for low, high, mean in spans)
    return f"regression of {name} ({question.reason}; {told})"


def of_table(table: Table) -> dict[str, Any]:
    """What a table holds: its columns, and the likely task if the last one were the target."""
    last = table.frame.columns[-1]
    try:
        task = f"{task_in_words(ask(table.frame, [last]))}, if {last!r} is the target"
    except TableError as error:
        task = f"{last!r} cannot be the target: {error}"
    return {
        "source": table.source,
        "rows": table.frame.height,
        "notes": list(table.notes),
        "columns": [_of_column(series) for series in table.frame],
        "likely_task": task,
    }


def _of_column(series: pl.Series) -> dict[str, Any]:
    max_categories = int(HYPERPARAMETERS["max_categories"].default)
    try:
        column = infer(series.to_frame(), max_categories).columns[0]
    except TableError as error:
        column = Column(name=series.name, kind="text", missing=series.null_count(), note=str(error))
    shown: list[str] = []
    if series.dtype == pl.Binary:
        shown = [f"{len(value):,} bytes" for value in series.drop_nulls().head(3)]
    elif not series.dtype.is_nested():
        known = series.head(1000).drop_nulls().unique(maintain_order=True).head(3)
        shown = [str(value).strip() for value in known]
    return {**column.model_dump(include={"name", "kind", "missing", "distinct", "note"}), "examples": shown}


def of_model(model: Model, source: str) -> dict[str, Any]:
    """The network, its hyperparameters, its data and its scores."""
    first, facts = model.networks[0], dict(model.facts)
    return {
        "model": source,
        "task": model.target.task,
        "target": list(model.target.names),
        "classes": list(model.target.labels),
        "kind": first.architecture.kind,
        "networks": len(model.networks),
        "sizes": list(first.architecture.sizes),
        "outline": first.architecture.outline,
        "activation": sorted({network.architecture.activation for network in model.networks}),
        "parameters": sum(network.architecture.n_parameters for network in model.networks),
        "ensemble": [[trial.number, trial.weight] for trial in model.trials],
        "best_epochs": [network.best_epoch for network in model.networks],
        "epochs": [len(network.losses) for network in model.networks],
        "hyperparameters": {
            name: {"value": _plain(model.chosen[name]), "asked": _plain(model.spec[name]), "section": known.section}
            for name, known in HYPERPARAMETERS.items()
            if known.concerns(model.spec.network.kind)
        },
        "columns": [
            column.model_dump(include={"name", "kind", "missing", "distinct", "note"})
            for column in model.schema.columns
        ],
        "inputs": model.encoder.width,
        "spec_hash": model.spec.hash,
        "scores": {name: {"model": ours, "baseline": base} for name, ours, base, _ in facts.pop("scores", [])},
        "facts": facts,
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
