"""A version of a volume as a table that models are fitted to."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from rosenblatt.data.readers.folders import TEST_FOLDERS
from rosenblatt.data.table import Table, TableFormat
from rosenblatt.data.volumes.cells import make_cells
from rosenblatt.data.volumes.columns import ID
from rosenblatt.data.volumes.sources.source import SPLIT
from rosenblatt.data.volumes.volume import Volume
from rosenblatt.errors import VolumeError, format_list

IMAGE = "image"
TEST = "test"
HELD_OUT = (*TEST_FOLDERS, "dev")  # values of the column `split`, in lower case, that mean test rows, as for folders
UNSUPPORTED_KINDS = ("audio", "files")


def to_table(volume: Volume) -> Table:
    """Return the selected samples of a version as a table.

    Images are read when they are needed, from the cache of this machine; other samples are read now. Columns that were
    computed from the bytes, such as the width of an image, are inputs only on request. Samples whose column `split` is
    "test" or "validation" become the test rows, as those in folders of these names.

    Raises:
        VolumeError: if networks cannot read this kind of samples.
        DamagedDataError: if metadata is missing or damaged.
    """
    if volume.kind in UNSUPPORTED_KINDS:
        raise VolumeError(
            f"{volume.name} holds {volume.kind}, which networks do not read yet; they read tables, images, texts and "
            "sequences. Convert it, or stream its bytes with rosenblatt.volume(...).batches()."
        )
    frame = _with_images(volume) if volume.has_bytes else volume.metadata()
    if volume.commit.id_origin == "generated":
        frame = frame.drop(ID)
    excluded = [name for name in (ID, *volume.commit.inspected, SPLIT) if name in frame.columns]
    table = Table(
        frame,
        volume.name,
        target=volume.commit.target if volume.commit.target in frame.columns else "",
        texts=tuple(name for name in volume.commit.texts if name in frame.columns),
        excluded_columns=tuple(excluded),
        id_column=ID if ID in frame.columns else "",
        format=TableFormat(is_typed=volume.commit.is_typed),
    )
    return _split(table)


def _with_images(volume: Volume) -> pl.DataFrame:
    """The metadata of samples, with a cell for the bytes of each."""
    names, frames = volume.metadata_columns, list[pl.DataFrame]()
    for file in range(len(volume.data_files)):
        if volume.file_sizes[file]:
            frames.append(volume.read_file(file, names).with_columns(make_cells(volume, file).alias(IMAGE)))
    schema = {name: volume.schema[name] for name in names} | {IMAGE: pl.String()}
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def _split(table: Table) -> Table:
    """Take the test rows out of a table whose column `split` names them."""
    if SPLIT not in table.excluded_columns or table.frame.schema[SPLIT] != pl.String:
        return table
    is_test = table.frame[SPLIT].str.to_lowercase().is_in(HELD_OUT).fill_null(value=False)
    if not is_test.any() or is_test.all():
        return table
    values = format_list(table.frame[SPLIT].filter(is_test).unique().sort())
    notes = (*table.notes, f"test rows: the {int(is_test.sum()):,} samples whose {SPLIT} is {values}")
    train = table.frame.filter(~is_test)
    test = replace(table, frame=table.frame.filter(is_test), source=f"{table.source}, {TEST}")
    return replace(table, frame=train, notes=notes, test=test)
