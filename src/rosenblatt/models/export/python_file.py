"""A model of dense networks as one readable Python file that needs NumPy only."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from pprint import pformat
from typing import Any

import numpy as np

from rosenblatt.data.schema.columns import Column
from rosenblatt.data.schema.date_patterns import TIME
from rosenblatt.data.schema.missing import ALL_MARKERS
from rosenblatt.data.schema.numbers import NumberFormat
from rosenblatt.data.schema.units import parse_affixes
from rosenblatt.errors import ExportError, format_list
from rosenblatt.models.export.network_tree import make_network_tree
from rosenblatt.models.export.signature import FittedModel, Signature
from rosenblatt.networks.dense import DenseArchitecture

MAX_READABLE_VALUES = 5000  # numbers of a model that are written as such; larger arrays are in base64
MIN_ENCODED_VALUES = 50  # of an array, from which it is written in base64 in a large model
MAX_LISTED_OUTPUTS = 20  # in the docstring of `predict_proba`
MODULES = ("python_cells", "numpy_network", "python_program")  # what the file contains, in this order
_IMPORT = re.compile(r"^(?:from|import) .*\n", re.MULTILINE)
_HEADER = '''"""Predict {target} ({task}). Written by Rosenblatt {version}; needs NumPy only.

    python {name} TABLE.csv > PREDICTIONS.csv

In Python, `predict(rows)` returns the predictions of dictionaries by column, or of an array in this order of columns:

{columns}

{notes}"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import numpy as np
'''
_FOOTER = '''
def decode_array(text: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array whose bytes are written in base64, in little-endian order."""
    return np.frombuffer(base64.b64decode(text), np.dtype(kind).newbyteorder("<")).reshape(shape)


MODEL: dict[str, Any] = {model}


def predict(rows: Any) -> list[Any]:
    """The class of each row; or its values or labels: one, or a list of several.

    Raises ValueError if a row lacks a column, or a cell has another form than in training.
    """
    return to_predictions(MODEL, predict_outputs(MODEL, rows))


def predict_proba(rows: Any) -> np.ndarray:
    """The outputs (n, K) behind the predictions, for {outputs}."""
    return predict_outputs(MODEL, rows)


if __name__ == "__main__":
    run_command(MODEL)
'''


def write(model: FittedModel, signature: Signature, path: Path) -> Signature:
    """Write the file. Raises ExportError for networks that are not dense."""
    _check(model)
    tree, columns = make_network_tree(model, signature), model.schema.input_columns
    n_values = sum(network.theta.size for trial in model.trials for network in trial.networks)
    notes = _notes(columns, n_values)
    fields = {
        "task": model.target.task,
        "targets": list(model.target.names),
        "outputs": list(signature.outputs),
        "output_type": model.target.output_type,
        "labels": list(model.target.labels),
        "label_pairs": [list(pair) for pair in model.target.label_pairs],
        "columns": _describe_columns(columns, signature),
        "trials": tree["trials"],
    }
    header = _HEADER.format(
        target=_escape(", ".join(model.target.names)), task=model.target.task,
        version=_escape(model.metadata.version or "unreleased"), name=_escape(path.name),
        columns="\n".join(f"- {_escape(column.name)}: {column.kind}" for column in columns),
        notes="".join(f"{_escape(note)}\n" for note in notes),
    )  # fmt: skip
    footer = _FOOTER.format(
        model=write_literal(fields, is_large=n_values > MAX_READABLE_VALUES),
        outputs=_escape(", ".join(signature.outputs[:MAX_LISTED_OUTPUTS])),
    )
    path.write_text("\n".join([header, *map(_module_body, MODULES), footer]), "utf-8")
    return replace(signature, boundaries=tuple(notes))


def _escape(text: str) -> str:
    """Text, such as names of the user, for a docstring, which it cannot end."""
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _check(model: FittedModel) -> None:
    for trial in model.trials:
        for network in trial.networks:
            if not isinstance(network.architecture, DenseArchitecture):
                raise ExportError(
                    f"A Python file holds dense networks only, but this model is of the kind "
                    f"{network.architecture.kind}. Use --to safetensors, or a framework."
                )


def _notes(columns: Sequence[Column], n_values: int) -> list[str]:
    """Sentences on cells that are read otherwise than by `rosenblatt predict`, and on how numbers are written."""
    notes = []
    notes += _date_notes([column for column in columns if column.kind == "date"])
    if any(column.kind == "number" for column in columns):
        notes.append("Numbers must be written as in training; other cells raise ValueError.")
    if n_values > MAX_READABLE_VALUES:
        notes.append(f"The arrays of {n_values:,} weights are written in base64, as float32.")
    return notes


def _date_notes(columns: Sequence[Column]) -> list[str]:
    """Notes on how dates and times must be written, and on their time zones."""
    names: dict[str, list[str]] = {}
    for column in columns:
        zone = column.date_format.zone.upper()
        if TIME in column.date_format.layouts:
            names.setdefault("Times must be written as 12:30:00", []).append(column.name)
            continue
        names.setdefault("Dates must be written as 2024-01-31 or 2024-01-31 12:30:00", []).append(column.name)
        if column.date_format.offset is not None:
            text = (
                f"Times with a time zone are converted to that of training, {zone or 'UTC'}, in which others are read"
            )
        elif zone:
            text = f"Times must be in the time zone of training, {zone}, and without another one"
        else:
            text = "Time zones are ignored, as training had none"
        names.setdefault(text, []).append(column.name)
    return [f"{text}: {format_list(columns_of_text)}." for text, columns_of_text in names.items()]


def _describe_columns(columns: Sequence[Column], signature: Signature) -> list[dict[str, Any]]:
    categories = {column.column: list(column.categories) for column in signature.categories}
    return [_describe_column(column, categories.get(column.name, [])) for column in columns]


def _describe_column(column: Column, categories: list[str]) -> dict[str, Any]:
    """How the cells of a column are read; see `python_cells`."""
    rule = column.missing_rule
    description: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "missing": sorted(ALL_MARKERS - {*rule.categories}) if rule.with_markers else [],
        "missing_words": [*rule.words, *column.markers],
        "missing_numbers": [number for number in map(_to_number, rule.words) if number is not None],
    }
    if column.kind == "number":
        return description | _describe_numbers(column.number_format)
    if column.kind == "date":
        dates = column.date_format
        parts = {"date_parts": list(column.date_parts), "is_time": TIME in dates.layouts}
        return description | parts | {"zone": dates.zone, "offset": dates.offset}
    words = {"words": list(column.boolean_pair)} if column.kind == "boolean" else {}
    return description | {"categories": categories} | words


def _describe_numbers(written: NumberFormat) -> dict[str, Any]:
    """How numbers are written, and what may stand before and after them instead of their unit."""
    unit = written.unit
    before = [prefix for prefix in (f"{unit} ", unit) if _has_unit(prefix, "", unit)]
    after = [suffix for suffix in (f" {unit}", unit) if _has_unit("", suffix, unit)]
    names = ("decimal", "thousands", "unit", "plain_is_percent")
    return {name: getattr(written, name) for name in names} | {"unit_before": before, "unit_after": after}


def _has_unit(before: str, after: str, unit: str) -> bool:
    affixes = parse_affixes(before, after, letters=False) if unit else None
    return affixes is not None and affixes.unit == unit


def _to_number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _module_body(name: str) -> str:
    """The functions of a module, without its docstring and imports."""
    source = Path(__file__).with_name(f"{name}.py").read_text("utf-8")
    return _IMPORT.sub("", source.split('"""', 2)[2]).strip() + "\n\n"


def write_literal(node: Any, *, is_large: bool, indent: str = "") -> str:
    """Data as Python code; the arrays of a large model in base64."""
    inner = f"{indent}    "
    if isinstance(node, np.ndarray):
        return _write_array(node, is_large=is_large)
    if isinstance(node, dict) and node:
        items = [
            f"{inner}{key!r}: {write_literal(value, is_large=is_large, indent=inner)}," for key, value in node.items()
        ]
        return "\n".join(["{", *items, f"{indent}}}"])
    if isinstance(node, list) and any(isinstance(item, dict | list | np.ndarray) for item in node):
        items = [f"{inner}{write_literal(item, is_large=is_large, indent=inner)}," for item in node]
        return "\n".join(["[", *items, f"{indent}]"])
    return pformat(node, width=100, compact=True).replace("\n", f"\n{indent}")


def _write_array(array: np.ndarray, *, is_large: bool) -> str:
    kind = "np.float32" if array.dtype == np.float32 else "bool" if array.dtype == bool else f"np.{array.dtype}"
    if not array.size:
        return f"np.empty({array.shape}, {kind})"
    if is_large and array.size >= MIN_ENCODED_VALUES:
        content = base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
        return f"decode_array({content!r}, {str(array.dtype)!r}, {array.shape})"
    values = array.tolist() if array.dtype != np.float32 else _shorten(array).tolist()
    return f"np.array({values}, {kind})"


def _shorten(array: np.ndarray) -> np.ndarray:
    """Numbers of float32 as float64 with the fewest digits that are read as the same float32."""
    return np.array([float(str(value)) for value in array.ravel()]).reshape(array.shape)
