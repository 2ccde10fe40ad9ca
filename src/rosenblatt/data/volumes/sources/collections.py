"""Folders and archives of texts and of sequences as sources of samples, by the rules of `fit`."""

from __future__ import annotations

import polars as pl

from rosenblatt.data.media.columns import sequences_from_column
from rosenblatt.data.readers.folders import CLASS, FILE, SEQUENCE, read_collection
from rosenblatt.data.table import Table
from rosenblatt.data.volumes.columns import ID
from rosenblatt.data.volumes.sources.identity import RowIdentities, free_names
from rosenblatt.data.volumes.sources.labels import folder_columns
from rosenblatt.data.volumes.sources.listings import Listing
from rosenblatt.data.volumes.sources.source import LABEL, SPLIT, IdOrigin, SampleSource, frame_chunks
from rosenblatt.data.volumes.sources.typed_columns import to_typed_columns


def open_collection(listing: Listing) -> SampleSource:
    """Texts, identified by a hash of their content, or sequences, by their paths. Raises TableError."""
    table = read_collection(listing.collection_files(), listing.location)
    notes = [*listing.notes, *table.notes]
    frame = _all_rows(table)
    is_text = SEQUENCE not in frame.columns
    if is_text:
        ids, origin = RowIdentities().ids(frame), _GENERATED
    else:
        ids, origin = frame[FILE].alias(ID), _PATH
        by_folder = folder_columns(frame[FILE], listing.location, is_labeled=CLASS in frame.columns, notes=notes)
        frame = _with_lists(frame.drop(FILE, CLASS, strict=False), notes, table)
        frame = frame.with_columns(column for column in by_folder if column.name not in frame.columns)
    frame = frame.rename({CLASS: LABEL} if is_text and CLASS in frame.columns else {})
    target = LABEL if LABEL in frame.columns else ""
    frame = frame.rename(free_names(frame.columns, (ID,), notes)).insert_column(0, ids)
    return SampleSource(
        location=listing.location, kind="texts" if is_text else "sequences", columns=frame.schema, id_origin=origin,
        n_samples=frame.height, chunks=frame_chunks(frame), target=target, texts=table.texts, notes=tuple(notes),
        format=table.format,
    )  # fmt: skip


_GENERATED: IdOrigin = "generated"
_PATH: IdOrigin = "path"


def _all_rows(table: Table) -> pl.DataFrame:
    """All rows; if there are test rows, with the column `split`."""
    if table.test is None:
        return table.frame
    parts = ((table.frame, "train"), (table.test.frame, "test"))
    return pl.concat([frame.with_columns(pl.lit(split).alias(SPLIT)) for frame, split in parts])


def _with_lists(frame: pl.DataFrame, notes: list[str], table: Table) -> pl.DataFrame:
    """Sequences as lists of numbers, or of lists with a number for each channel; metadata with types."""
    sequences = sequences_from_column(frame[SEQUENCE])
    if all(sequence.shape[1] == 1 for sequence in sequences):
        column = pl.Series(SEQUENCE, [pl.Series(rows[:, 0]) for rows in sequences], pl.List(pl.Float32))
    else:
        steps = pl.List(pl.Float32)
        column = pl.Series(SEQUENCE, [pl.Series(rows).cast(steps) for rows in sequences], pl.List(steps))
    metadata = to_typed_columns(frame.drop(SEQUENCE), table.format, notes)
    return pl.DataFrame([column, *metadata])
