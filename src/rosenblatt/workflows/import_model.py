"""Import a dense network from a file of another framework as an ordinary model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from rosenblatt.data.table import Table
from rosenblatt.errors import Notify, collect_messages, format_count
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.export.comparison import Comparison
from rosenblatt.models.export.sample_rows import sample_rows
from rosenblatt.models.imports.assembly import ImportedModel, Names, assemble_model
from rosenblatt.models.imports.comparison import compare_import, read_file
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import to_bytes
from rosenblatt.models.model_file_checker import ModelFileChecker

MAX_ROWS = 1000  # of a table, on which the model is compared with the file


def import_model(
    path: str | Path,
    out: str | Path,
    names: Names | None = None,
    table: Table | None = None,
    *,
    activation: str | None = None,
    notify: Notify = print,
) -> tuple[Model, Comparison]:
    """Import a dense network, compare it with the file in a new process of its framework, and write it as a model.

    Args:
        path: file of ONNX, torch.export, Keras, skops or safetensors.
        out: model file to write; an existing one is replaced.
        names: of columns, classes and target that the file may lack.
        table: rows on which both are compared, and which name the columns; by default generated rows.
        activation: of the hidden layers, for files that hold weights only.
        notify: called with each message for the user.

    Returns:
        The model, and how close its predictions are to those of the file.

    Raises:
        ExportError: if the file is damaged, holds no dense network, or predictions differ.
        TableError: if the table does not fit the model.
        StorageError: if a file cannot be read or written.
    """
    path, names = Path(path), names or Names()
    content = read_file(path, activation)
    if table is not None and not names.columns:
        names = replace(names, columns=tuple(name for name in table.frame.columns if name != names.target))
    imported = assemble_model(content, names, path.name)
    for note in imported.notes:
        notify(note)
    rows = _read_rows(imported, table, notify)
    comparison = compare_import(path, content, imported, rows, activation or "")
    source = "generated rows; --rows TABLE compares on yours" if table is None else "of the table"
    notify(
        f"compared on {format_count(comparison.rows, 'row')} ({source}), in a new process: largest difference "
        f"{comparison.largest_difference:.1e} of the largest prediction"
    )
    _write(imported.model, Path(out), rows)
    return imported.model, comparison


def _read_rows(imported: ImportedModel, table: Table | None, notify: Notify) -> pl.DataFrame:
    model = imported.model
    if table is None:
        rows = sample_rows(model)
        assert isinstance(rows, pl.DataFrame)  # noqa: S101 - for the type checker
        return rows
    with collect_messages(notify) as messages:
        return model.schema.read(table.all_rows.head(MAX_ROWS), messages, table.format)


def _write(model: Model, path: Path, rows: pl.DataFrame) -> None:
    """Write a model after a new process has read the file and predicted the same."""
    checker = ModelFileChecker()
    try:
        write_file(path, to_bytes(model), lambda file: checker.check(file, model, rows))
    finally:
        checker.close()
