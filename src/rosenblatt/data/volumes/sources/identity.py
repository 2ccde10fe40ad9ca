"""The identity of samples: a column of the source, or a hash of each row's content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl

from rosenblatt.data.row_hashes import hash_cells
from rosenblatt.data.volumes.columns import ID
from rosenblatt.data.volumes.sources.contents import PATH
from rosenblatt.data.volumes.sources.source import IdOrigin
from rosenblatt.data.volumes.storage.delta_types import kept_type
from rosenblatt.data.volumes.storage.hash_index import HashIndex
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
    return check_id_parts(ids.name, lambda: [ids], id_column, notes)


def check_id_parts(
    name: str, parts: Callable[[], Iterable[pl.Series]], id_column: str | None, notes: list[str]
) -> bool:
    """The same of a column that is read part by part, several times if need be, and never held whole."""
    reason = _find_fault(parts)
    if reason and id_column is not None:
        raise VolumeError(f"Column {id_column!r} cannot identify samples: it {reason}. Choose another column for --id.")
    if reason:
        notes.append(f"column {name!r} {reason}: samples are identified by their content (--id COLUMN)")
    return not reason


def _find_fault(parts: Callable[[], Iterable[pl.Series]]) -> str:
    """Why a column does not identify samples; empty if it does."""
    index, n_rows, n_missing, repeated = HashIndex(), 0, 0, pl.Series()
    for ids in parts():
        if not (ids.dtype.is_integer() or ids.dtype == pl.String):
            return f"holds cells of type {ids.dtype}, but whole numbers or texts were expected"
        n_rows, n_missing = n_rows + len(ids), n_missing + ids.null_count()
        if not n_missing and not len(repeated):
            repeated = _repeated(ids)
            index.add(ids.hash().to_numpy(), np.arange(len(ids)))
    if n_missing:
        return f"is empty in {n_missing:,} of {n_rows:,} rows"
    index.optimize()
    for hashes in index.repeated() if not len(repeated) else ():
        candidates = [ids.filter(pl.Series(np.isin(ids.hash().to_numpy(), hashes))) for ids in parts()]
        repeated = _repeated(pl.concat(candidates))
        if len(repeated):
            break
    return f"holds {repeated[0]!r} in more than one row" if len(repeated) else ""


def _repeated(ids: pl.Series) -> pl.Series:
    """The ids that occur more than once."""
    return ids.filter(ids.is_duplicated()) if ids.n_unique() < len(ids) else ids.clear()


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
