"""Export a model to the format of a framework."""

from __future__ import annotations

from pathlib import Path

from rosenblatt.data.table import Table
from rosenblatt.data.tasks.task import adapt_to_table
from rosenblatt.errors import Notify, TableError, collect_messages, format_count
from rosenblatt.models.export.export import ExportResult, export_model
from rosenblatt.models.export.formats import Format
from rosenblatt.models.export.inputs import TypedRows
from rosenblatt.models.export.sample_rows import sample_rows
from rosenblatt.models.model import Model

MAX_ROWS = 1000  # of a table, on which the exported model is compared with the original


def export(
    model: Model, format_: Format, path: str | Path, table: Table | None, notify: Notify = print
) -> ExportResult:
    """Export a model, and compare the result with the original on rows of a table, or on generated ones.

    Args:
        model: the model.
        format_: the format; see `find_format`.
        path: of the file or folder to write.
        table: rows with the columns that the model was trained on; None for generated rows.
        notify: called with each message for the user.

    Raises:
        ExportError: if the format lacks a part of the model, or predictions differ.
        TableError: if the table does not fit the model.
        StorageError: if the file cannot be written.
    """
    rows = sample_rows(model) if table is None else _read_rows(model, table, notify)
    result = export_model(model, format_, Path(path), rows)
    source = "generated rows; --rows TABLE compares on yours" if table is None else "of the table"
    notify(
        f"compared on {format_count(result.comparison.rows, 'row')} ({source}), in a new process: largest difference "
        f"{result.comparison.largest_difference:.1e} of the largest prediction"
    )
    for sentence in result.signature.boundaries:
        notify(f"note: {sentence}")
    return result


def _read_rows(model: Model, table: Table, notify: Notify) -> TypedRows:
    if model.target.task == "language":
        raise TableError("A language model has no rows. Leave --rows out: it is compared on generated texts.")
    with collect_messages(notify) as messages:
        if windows := model.metadata.windows:
            frame = windows.forecast_rows(table.frame, messages, table.format).head(MAX_ROWS)
            return model.schema.read(frame, messages)
        frame = table.all_rows.head(MAX_ROWS)
        schema, _ = adapt_to_table(model.schema, model.target, frame, table.format, messages)
        return schema.read(frame, messages, table.format)
