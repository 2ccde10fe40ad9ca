"""Tables as sources of samples: typed rows with an identity, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from rosenblatt.data.table import Table
from rosenblatt.data.volumes.columns import ID
from rosenblatt.data.volumes.sources.identity import RowIdentities, check_ids, find_id_column, free_names
from rosenblatt.data.volumes.sources.source import IdOrigin, SampleSource, frame_chunks
from rosenblatt.data.volumes.sources.typed_columns import to_typed_columns
from rosenblatt.data.volumes.storage.delta_types import kept_type, to_kept
from rosenblatt.errors import VolumeError


def open_table(table: Table, id_column: str | None) -> SampleSource:
    """The rows of a table as samples. Raises VolumeError."""
    if not table.frame.height:
        raise VolumeError(f"{table.source!r} has no rows, only the names of columns. Add a table with rows.")
    notes = list(table.notes)
    typed = keep_types(to_typed_columns(table.frame, table.format, notes), notes)
    frame, id_origin = identify_rows(typed, table.frame, id_column, notes)
    return SampleSource(
        location=table.source, kind="table", columns=frame.schema, id_origin=id_origin, n_samples=frame.height,
        chunks=frame_chunks(frame), target=table.target, texts=table.texts, notes=tuple(notes), format=table.format,
    )  # fmt: skip


def identify_rows(
    typed: pl.DataFrame,
    source: pl.DataFrame,
    id_column: str | None,
    notes: list[str],
    reserved: Sequence[str] = (ID,),
) -> tuple[pl.DataFrame, IdOrigin]:
    """The rows with their identity as the first column, and where it comes from.

    Args:
        typed: the rows.
        source: the same as read, which generated ids are hashes of.
        id_column: the column given with --id.
        notes: receives what was renamed, and why a column does not identify rows.
        reserved: names that columns of the rows cannot have.
    """
    origin: IdOrigin
    name = find_id_column(typed.columns, id_column)
    if name is None or not check_ids(typed[name], id_column, notes):
        ids, origin = RowIdentities().ids(source), "generated"
    else:
        ids, origin = typed[name].alias(ID), "column"
        if name.lower() == ID:
            typed = typed.drop(name)
            notes += [f"column {name!r} identifies the rows: renamed to {ID!r}"] if name != ID else []
    return typed.rename(free_names(typed.columns, reserved, notes)).insert_column(0, ids), origin


def keep_types(frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """The columns in types that a volume can hold; `notes` receives those that change."""
    notes += type_notes(frame.schema)
    return to_kept(frame)


def type_notes(schema: Mapping[str, pl.DataType]) -> list[str]:
    """A note on the columns whose types change, as a volume does not have them."""
    changes = [f"{name} ({t} to {kept_type(t)})" for name, t in schema.items() if kept_type(t) != t]
    return [f"types that volumes do not have are converted: {', '.join(changes)}"] if changes else []
