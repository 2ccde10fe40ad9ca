"""Predictions of rows with a model as plain data, and the command of an exported Python file; copied into these files.

A model is a dictionary of `columns`, `trials`, and what its outputs stand for; see `python_file`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from rosenblatt.models.export.numpy_network import predict_arrays
from rosenblatt.models.export.python_cells import to_arrays

BATCH_ROWS = 1000  # rows of a CSV file that are predicted at a time


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


def read_batches(path: str) -> Iterator[list[dict[str, str]]]:
    """Rows of a CSV file, some at a time."""
    with open(path, newline="", encoding="utf-8-sig") as file:  # noqa: PTH123 - as in any script
        batch: list[dict[str, str]] = []
        for row in csv.DictReader(file):
            batch.append(row)
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
        for batch in read_batches(sys.argv[1]):
            outputs = predict_outputs(model, batch)
            for prediction, row in zip(to_predictions(model, outputs), outputs.tolist(), strict=True):
                values = prediction if isinstance(prediction, list) else [prediction]
                writer.writerow(values + ([] if is_regression else row))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
