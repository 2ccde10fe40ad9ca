"""The identity of samples: a column of the source, or a hash of each row's content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from rosenblatt.data.row_hashes import hash_cells
from rosenblatt.data.volumes.columns import ID
from rosenblatt.data.volumes.sources.contents import PATH
from rosenblatt.data.volumes.sources.source import IdOrigin
from rosenblatt.data.volumes.storage.delta_types import kept_type
from rosenblatt.errors import VolumeError, did_you_mean, format_list

RENAMED_SUFFIX = "_source"
HASH_DIGITS = 16  # hexadecimal, of an id that is a hash of the row's content


class RowIdentities:
    """Ids of rows by their content: a hash of 16 hex digits, and for repeated rows their number from 2.

    A row keeps its id when other rows, or none, stand before it, whatever the types of the columns are. Memory is 8
    bytes a row.
    """

    def __init__(self) -> None:
        self._seen: list[np.ndarray] = []  # sorted hashes; each array is larger than all later ones together

    def ids(self, frame: pl.DataFrame) -> pl.Series:
        """The ids of the next rows."""
        return self.number(hash_cells(frame))

    def number(self, hashes: np.ndarray) -> pl.Series:
        """The ids of the next rows, by their hashes (n,) uint64."""
        order = np.argsort(hashes, kind="stable")
        distinct, starts, counts = np.unique(hashes[order], return_index=True, return_counts=True)
        earlier = np.zeros(len(distinct), np.int64)
        for seen in self._seen:
            earlier += np.searchsorted(seen, distinct, "right") - np.searchsorted(seen, distinct, "left")
        numbers = np.empty(len(hashes), np.int64)
        numbers[order] = np.arange(len(hashes)) + np.repeat(earlier - starts, counts) + 1
        self._remember(hashes[order])
        names = [f"{hash_:016x}" for hash_ in hashes.tolist()]
        for row in np.flatnonzero(numbers > 1):
            names[row] += f"-{numbers[row]}"
        return pl.Series(ID, names, pl.String)

    def _remember(self, hashes: np.ndarray) -> None:
        self._seen.append(hashes)
        while len(self._seen) > 1 and len(self._seen[-2]) <= len(self._seen[-1]):
            self._seen[-2:] = [np.sort(np.concatenate(self._seen[-2:]), kind="stable")]


def find_id_column(columns: Sequence[str], id_column: str | None) -> str | None:
    """The column that may identify samples: the given one, or else the one named id, in any case.

    Raises VolumeError if the given column does not exist.
    """
    if id_column is not None and id_column not in columns:
        raise VolumeError(
            f"There is no column {id_column!r} for --id; the source has {format_list(columns)}."
            f"{did_you_mean(id_column, columns)}"
        )
    named = [name for name in columns if name.lower() == ID]
    return id_column or (ID if ID in named else named[0] if named else None)


def as_ids(cells: pl.Series) -> pl.Series:
    """A column as identities: whole numbers in a type that a volume keeps, or else strings; others stay as they are."""
    if cells.dtype.is_integer():
        dtype = kept_type(cells.dtype)
        return cells.cast(dtype if dtype.is_integer() else pl.String())
    return cells.cast(pl.String) if isinstance(cells.dtype, pl.Categorical | pl.Enum) else cells


def check_ids(ids: pl.Series, id_column: str | None, notes: list[str]) -> bool:
    """Whether a column identifies samples: it holds whole numbers or texts, each once.

    A column that does not is noted. Raises VolumeError if it was given with --id.
    """
    reason = ""
    if not (ids.dtype.is_integer() or ids.dtype == pl.String):
        reason = f"holds cells of type {ids.dtype}, but whole numbers or texts were expected"
    elif ids.has_nulls():
        reason = f"is empty in {ids.null_count():,} of {len(ids):,} rows"
    elif ids.n_unique() < len(ids):
        reason = f"holds {ids.filter(ids.is_duplicated())[0]!r} in more than one row"
    if reason and id_column is not None:
        raise VolumeError(f"Column {id_column!r} cannot identify samples: it {reason}. Choose another column for --id.")
    if reason:
        notes.append(f"column {ids.name!r} {reason}: samples are identified by their content (--id COLUMN)")
    return not reason


def identify_files(
    names: pl.Series, columns: pl.DataFrame, id_column: str | None, notes: list[str]
) -> tuple[pl.Series, pl.DataFrame, IdOrigin]:
    """The ids of files, their other columns, and where the ids come from: the column given with --id, or their names.

    If a column identifies the files, their names become the column `path`. Raises VolumeError if it cannot.
    """
    if id_column is None:
        return names.alias(ID), columns, "path"
    name = find_id_column(columns.columns, id_column) or id_column
    check_ids(columns[name], id_column, notes)
    ids = columns[name].alias(ID)
    if id_column.lower() == ID:
        columns = columns.drop(id_column)
    paths = [] if PATH in columns.columns else [names.alias(PATH)]
    return ids, pl.DataFrame([*columns, *paths]), "column"


def free_names(columns: Sequence[str], reserved: Sequence[str], notes: list[str]) -> dict[str, str]:
    """New names, by the old ones, of the columns of a source that are named like columns of the volume, in any case."""
    taken, names = {name.lower() for name in (*columns, *reserved)}, dict[str, str]()
    for name in columns:
        if name.lower() not in reserved:
            continue
        names[name] = name + RENAMED_SUFFIX
        while names[name].lower() in taken:
            names[name] += RENAMED_SUFFIX
        taken.add(names[name].lower())
    if names:
        renamed = ", ".join(f"{old!r} to {new!r}" for old, new in names.items())
        notes.append(f"renamed, as the volume has columns of these names: {renamed}")
    return names
