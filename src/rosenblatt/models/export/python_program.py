"""Predictions of rows with a model as plain data, and the command of an exported Python file; copied into these files.

A model is a dictionary of `columns`, `trials`, and what its outputs stand for; see `python_file`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np

from rosenblatt.models.export.numpy_network import predict_arrays
from rosenblatt.models.export.python_cells import to_arrays

BATCH_ROWS = 1000  # rows of a CSV file that are predicted at a time
DELIMITERS = (",", ";", "\t", "|")  # the first one with which the header has all columns


def predict_outputs(model: dict[str, Any], rows: Any) -> np.ndarray:
    """The probabilities of classes or labels, weighted sums, or values of rows, (n, K)."""
    return predict_arrays(model["trials"], *to_arrays(model["columns"], rows))


def to_predictions(model: dict[str, Any], outputs: np.ndarray) -> list[Any]:
    """The class of each row; or its values or labels: one, or a list of several."""
    if model["task"] in ("binary", "multiclass"):
        return [model["labels"][k] for k in outputs.argmax(axis=1)]
    if model["task"] == "multilabel":
        threshold = 0.5 if model["output_type"] == "probabilities" else 0.0
        pairs = model["label_pairs"] or [[0, 1]] * outputs.shape[1]
        rows = [[pair[int(out > threshold)] for pair, out in zip(pairs, row, strict=True)] for row in outputs]
    else:
        rows = outputs.tolist()
    return [row[0] if len(row) == 1 else row for row in rows]


def name_columns(header: list[str]) -> list[str]:
    """Names of columns without surrounding spaces; one that is empty or repeated gets the number of the column."""
    stripped = [cell.strip(" \t\r\n\xa0\ufeff\u200b") for cell in header]
    names: list[str] = []
    for k, name in enumerate(stripped):
        unique = name
        if not name or name in stripped[:k]:
            unique = f"{name or 'column'}_{k + 1}"
            while unique in stripped or unique in names:
                unique += "_"
        names.append(unique)
    return names


def find_delimiter(file: TextIO, columns: list[dict[str, Any]]) -> str:
    """The delimiter with which the header of a file has all columns. Raises ValueError if there is none."""
    missing: list[str] = []
    for delimiter in DELIMITERS:
        file.seek(0)
        names = name_columns(next(csv.reader(file, delimiter=delimiter), []))
        absent = [column["name"] for column in columns if column["name"] not in names]
        if not absent:
            return delimiter
        missing = absent if not missing or len(absent) < len(missing) else missing
    raise ValueError(f"The first line of the table must name the columns, but lacks {missing[0]!r}.")


def read_batches(path: str, columns: list[dict[str, Any]]) -> Iterator[list[dict[str, str]]]:
    """Rows of a delimited text file with a header, some at a time. Raises ValueError for incomplete rows."""
    with open(path, newline="", encoding="utf-8-sig") as file:  # noqa: PTH123 - as in any script
        delimiter = find_delimiter(file, columns)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter)
        names, batch = name_columns(next(reader)), []
        for cells in reader:
            if not cells:  # a blank line
                continue
            if len(cells) != len(names):
                raise ValueError(f"Line {reader.line_num} has {len(cells)} cells, but the header has {len(names)}.")
            batch.append(dict(zip(names, cells, strict=True)))
            if len(batch) == BATCH_ROWS:
                yield batch
                batch = []
        if batch:
            yield batch


def run_command(model: dict[str, Any]) -> None:
    """Read a CSV file, and print a CSV table of predictions."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} TABLE.csv > PREDICTIONS.csv")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    is_regression = model["task"] == "regression"
    kind = "probability" if model["output_type"] == "probabilities" else "weighted sum"
    writer.writerow(model["targets"] + ([] if is_regression else [f"{kind} of {name}" for name in model["outputs"]]))
    try:
        for batch in read_batches(sys.argv[1], model["columns"]):
            outputs = predict_outputs(model, batch)
            for prediction, row in zip(to_predictions(model, outputs), outputs.tolist(), strict=True):
                values = prediction if isinstance(prediction, list) else [prediction]
                writer.writerow(values + ([] if is_regression else row))
    except (OSError, ValueError, csv.Error) as error:
        sys.exit(f"error: {error}")
