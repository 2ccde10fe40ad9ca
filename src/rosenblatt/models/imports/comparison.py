"""Read a dense network from a file, and compare its predictions with those of the model made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import expit, softmax

from rosenblatt.errors import ExportError
from rosenblatt.models.export.comparison import (
    MAX_DIFFERENCE,
    Comparison,
    largest_difference,
    predict_in_new_process,
)
from rosenblatt.models.export.inputs import TypedRows
from rosenblatt.models.export.sample_rows import sample_rows
from rosenblatt.models.imports.assembly import ImportedModel
from rosenblatt.models.imports.formats import ImportFormat, find_format
from rosenblatt.models.imports.layers import FileContent
from rosenblatt.models.model import Model


def read_file(path: Path, activation: str | None = None) -> FileContent:
    """Read a file of another framework.

    Args:
        path: of the file; its suffix says which format it has.
        activation: of the hidden layers, for files that hold weights only.

    Raises:
        ExportError: if the format is unknown, the file is damaged, or it holds no dense network.
        StorageError: if the file cannot be read.
    """
    format_ = find_format(path)
    read = format_.load_reader()
    if format_.suffix == ".safetensors":
        return read(path, activation)
    if activation is not None:
        raise ExportError(f"Files of {format_.summary} hold their activations. Remove --activation.")
    return read(path)


def compare_import(
    path: Path, content: FileContent, imported: ImportedModel, rows: TypedRows | None = None, activation: str = ""
) -> Comparison:
    """Compare a model with the file that it was read from, which its framework loads in a new process.

    Args:
        path: of the file.
        content: of the file.
        imported: the model.
        rows: typed rows, as `Schema.read` returns them; by default generated ones.
        activation: of the hidden layers, if it is not in the file.

    Raises:
        ExportError: if the framework cannot load the file, or predictions differ.
    """
    model, format_ = imported.model, find_format(path)
    x = _matrix(model, sample_rows(model) if rows is None else rows)
    got = _framework_predictions(path, format_, content, x, activation)
    expected = model.predict_typed(x)
    predictions = _as_predictions(got, imported)
    if predictions.shape != expected.shape:
        raise ExportError(
            f"The file predicts an array of shape {predictions.shape}, but the model one of {expected.shape}. Please "
            "report this fault."
        )
    difference = largest_difference(predictions, expected)
    if not difference <= MAX_DIFFERENCE:
        raise ExportError(
            f"The predictions of the model differ by {difference:.1e} from those of the file, relative to the largest, "
            f"but at most {MAX_DIFFERENCE:.0e} is accepted. Nothing was written. Please report this fault."
        )
    return Comparison(len(x), difference)


def _matrix(model: Model, rows: TypedRows) -> np.ndarray:
    """Rows as a matrix of float32 numbers (n, F) float64; missing ones, which frameworks lack, have a value."""
    columns = [column.name for column in model.schema.input_columns]
    x = rows.select(columns).to_numpy() if isinstance(rows, pl.DataFrame) else np.asarray(rows)
    fill = np.array([encoding.fill_value for encoding in model.encoder.encodings if encoding.kind == "number"])
    return np.where(np.isnan(x.astype(np.float64)), fill, x).astype(np.float32).astype(np.float64)


def _framework_predictions(
    path: Path, format_: ImportFormat, content: FileContent, x: np.ndarray, activation: str
) -> np.ndarray:
    options = content.checker_options | ({"activation": activation} if activation else {})
    arrays = {"x": x.astype(np.float32)} | {name: np.array(value) for name, value in options.items()}
    got = predict_in_new_process(format_.checker_path, path, arrays)
    return np.asarray(got, np.float64).reshape(len(x), -1)


def _as_predictions(got: np.ndarray, imported: ImportedModel) -> np.ndarray:
    """Outputs of the file (n, K) as predictions of the model."""
    target = imported.model.target
    is_logits = imported.output == "identity" and target.task != "regression" and target.output_type != "sums"
    if imported.output == "log_softmax":
        got = np.exp(got)
    elif is_logits:
        got = softmax(got, axis=1) if got.shape[1] > 1 else expit(got)
    if target.task == "binary" and got.shape[1] == 1:
        return np.hstack([-got if target.output_type == "sums" else 1 - got, got])
    return got
