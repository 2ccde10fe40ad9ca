"""Folders and archives of images, sounds or other files as sources of samples with bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from rosenblatt.data.media.headers import (
    AUDIO_SUFFIXES,
    AudioHeader,
    ImageHeader,
    has_soundfile,
    read_audio_header,
    read_image_header,
)
from rosenblatt.data.media.images import SUFFIXES, DamagedError
from rosenblatt.data.readers.folders import TEXT
from rosenblatt.data.table import TableFormat
from rosenblatt.data.volumes.columns import RESERVED_COLUMNS
from rosenblatt.data.volumes.sources.captions import find_captions, read_captions
from rosenblatt.data.volumes.sources.coco import ANNOTATIONS
from rosenblatt.data.volumes.sources.identity import free_names, identify_files
from rosenblatt.data.volumes.sources.labels import folder_columns
from rosenblatt.data.volumes.sources.listings import MAX_NAMED, NAME, Listing, count_endings, count_names
from rosenblatt.data.volumes.sources.sidecar import TABLE_PATTERN, find_sidecars, read_sidecar
from rosenblatt.data.volumes.sources.source import LABEL, SampleKind, SampleSource, frame_chunks, inspect_nothing
from rosenblatt.errors import VolumeError

MAX_ENDINGS = 5  # of names of files, whose counts a note gives
INSPECTED: dict[SampleKind, dict[str, pl.DataType]] = {  # columns that inspection adds
    "images": {"width": pl.Int32(), "height": pl.Int32(), "channels": pl.Int32(), "format": pl.String()},
    "audio": {"sample_rate": pl.Int32(), "n_channels": pl.Int32(), "seconds": pl.Float64(), "format": pl.String()},
    "files": {},
    "table": {},
}
KIND_SUFFIXES: dict[SampleKind, tuple[str, ...]] = {"images": SUFFIXES, "audio": AUDIO_SUFFIXES}


def has_suffix(kind: SampleKind) -> pl.Expr:
    """Whether the names of files end like those of a kind of media; all do for other files."""
    lowered = pl.col(NAME).str.to_lowercase()
    return pl.any_horizontal(lowered.str.ends_with(suffix) for suffix in KIND_SUFFIXES[kind])


def inspect_image(content: bytes) -> dict[str, Any]:
    """Size, channels and format of an image; None if it is damaged."""
    try:
        return read_image_header(content)._asdict()
    except DamagedError:
        return dict.fromkeys(ImageHeader._fields)


def inspect_audio(content: bytes) -> dict[str, Any]:
    """Sampling, length and format of a sound; None if it is damaged."""
    try:
        return read_audio_header(content)._asdict()
    except DamagedError:
        return dict.fromkeys(AudioHeader._fields)


INSPECTIONS: dict[SampleKind, Callable[[bytes], dict[str, Any]]] = {
    "images": inspect_image, "audio": inspect_audio, "files": inspect_nothing, "table": inspect_nothing
}  # fmt: skip


def open_media(
    listing: Listing, kind: SampleKind, sidecar: Path | None, id_column: str | None, format: TableFormat
) -> SampleSource:
    """The files of a kind as samples with bytes, identified by their paths unless a column is given.

    Args:
        listing: all files.
        kind: which of them are samples: "images", "audio", or "files" for all.
        sidecar: a table with further columns; by default, tables among the files are searched for some.
        id_column: the column given with --id.
        format: how tables are written.

    Raises:
        VolumeError: if there are no such files, or only some of them are in a folder of a class.
    """
    notes = list(listing.notes)
    files = listing if kind == "files" else listing.filter(has_suffix(kind))
    if files.frame.is_empty():
        raise VolumeError(f"{listing.location!r} holds no {kind}. Check the path, or choose another kind with --kind.")
    names, metadata, texts = files.frame[NAME], None, None
    if sidecar is not None:
        metadata = read_sidecar(sidecar, names, format, notes)
    elif kind != "files":
        metadata = find_sidecars(listing, names, format, notes)
    if kind != "files":
        captions = find_captions(listing, names)
        texts = read_captions(captions, names, notes)
        is_used = pl.col(NAME).is_in(captions.frame[NAME].implode())
        if sidecar is None:
            is_used |= pl.col(NAME).str.to_lowercase().str.contains(TABLE_PATTERN)
        notes += _stray_notes(listing.frame.filter(~has_suffix(kind)).filter(~is_used)[NAME], kind)
    if kind == "audio" and count_endings(names)[".ogg"] and not has_soundfile():
        notes.append("the sampling of OGG files is unknown without soundfile (pip install soundfile)")
    inspected = INSPECTED[kind]
    columns = _columns(names, listing.location, metadata, is_labeled=kind != "files", notes=notes)
    if texts is not None and TEXT not in columns.columns:
        columns = pl.DataFrame([*columns, texts])
    ids, columns, origin = identify_files(names, columns, id_column, notes)
    columns = columns.rename(free_names(columns.columns, (*RESERVED_COLUMNS, *inspected), notes))
    frame = pl.DataFrame([ids, *columns])
    return SampleSource(
        location=listing.location, kind=kind, columns=pl.Schema(dict(frame.schema) | inspected), id_origin=origin,
        n_samples=frame.height, chunks=frame_chunks(frame, files.make_contents(files.frame)),
        inspect=INSPECTIONS[kind],
        target=LABEL if LABEL in frame.columns else "", texts=() if texts is None else (TEXT,),
        notes=tuple(notes), format=format,
    )  # fmt: skip


def _columns(
    names: pl.Series, location: str, metadata: pl.DataFrame | None, *, is_labeled: bool, notes: list[str]
) -> pl.DataFrame:
    """The columns that folders and tables give; those of tables come first if both give one."""
    table_columns = [] if metadata is None else metadata.columns
    is_labeled &= not {LABEL, ANNOTATIONS} & {*table_columns}
    by_folder = folder_columns(names, location, is_labeled=is_labeled, notes=notes)
    by_folder = by_folder.drop(name for name in table_columns if name in by_folder.columns)
    return by_folder if metadata is None else pl.DataFrame([*by_folder, *metadata])


def _stray_notes(strays: pl.Series, kind: SampleKind) -> list[str]:
    """A note on files of other kinds, by the endings of their names."""
    if not len(strays):
        return []
    most_common = count_endings(strays).most_common(MAX_ENDINGS)
    counts = ", ".join(f"{ending or 'without ending'}: {n:,}" for ending, n in most_common)
    return [count_names(strays[:MAX_NAMED].to_list(), f"files that are no {kind}", len(strays)) + f" ({counts})"]
