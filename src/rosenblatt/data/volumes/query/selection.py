"""The samples that a query selects, in the order of the volume: the same ones on every machine.

Splits, folds and random samples depend on the hash of a sample's identity alone, so a sample never changes sides when
others are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.cores import cores
from rosenblatt.data.volumes.columns import ID
from rosenblatt.data.volumes.query.columns import TypedColumn, find_column
from rosenblatt.data.volumes.query.compile import compile_condition
from rosenblatt.data.volumes.query.conditions import Combination, Condition, condition_columns
from rosenblatt.data.volumes.query.draws import Draw, plan_draws
from rosenblatt.data.volumes.query.hashing import hash_identities
from rosenblatt.data.volumes.query.language import Query
from rosenblatt.data.volumes.query.parts import count_parts, part_condition
from rosenblatt.data.volumes.query.pruning import ROWS, prune
from rosenblatt.data.volumes.sources.identity import HASH_DIGITS
from rosenblatt.data.volumes.sources.source import SPLIT
from rosenblatt.errors import DamagedDataError, format_count

READERS_PER_CORE = 4  # threads, which mostly wait for a store
_ROW = "\0row"
ReadFile = Callable[[int, list[str]], pl.DataFrame]  # columns of the metadata file at a position


@dataclass(frozen=True)
class SampleSelection:
    """The samples of a version that a query selects."""

    rows: tuple[np.ndarray, ...]  # for each metadata file (k,) uint32: row numbers within the file, ascending
    n_files_read: int
    notes: tuple[str, ...]  # what was decided by the data, and options without effect

    @property
    def n_samples(self) -> int:
        """The number of selected samples."""
        return sum(map(len, self.rows))


def select(
    query: Query, schema: pl.Schema, files: pl.DataFrame, read: ReadFile, *, has_row_hashes: bool = False
) -> SampleSelection:
    """Select samples. Reads only columns that the query needs, of files that may hold samples of it.

    Args:
        query: from `parse_query`; its version has no effect here.
        schema: columns of the version.
        files: a row for each metadata file, in order: `rows`, and statistics as for `prune`.
        read: called in threads.
        has_row_hashes: whether identities are hashes of the rows, so that equal rows can be kept on one side.

    Raises:
        QueryError: if a column does not exist or has an unsuitable type.
        DamagedDataError: if a metadata file is damaged.
    """
    _check_columns(query, schema)
    n_rows = files[ROWS].to_list()
    rows, n_left, n_ungrouped = dict[int, np.ndarray](), query.limit or sum(n_rows), 0
    n_threads = READERS_PER_CORE * cores()
    with ThreadPoolExecutor(n_threads, thread_name_prefix="query") as pool:
        part, notes = _find_part(query, schema, files, read, pool)
        chooser = _make_chooser(query, schema, part, has_row_hashes=has_row_hashes)
        positions = prune(chooser.condition, schema, files).nonzero()[0].tolist()
        n_ahead = n_threads if query.limit else len(positions)  # files that are read before @limit may end it
        while positions and n_left:
            batch, positions = positions[:n_ahead], positions[n_ahead:]
            chosen = pool.map(lambda position: chooser.choose(position, n_rows[position], read), batch)
            for position, (file_rows, n) in zip(batch, chosen, strict=True):
                rows[position] = file_rows[:n_left]
                n_left -= len(rows[position])
                n_ungrouped += n
    notes += _unused_options(query, chooser)
    if n_ungrouped and query.group:
        noun = format_count(n_ungrouped, "sample has", "samples have")
        notes.append(f"{noun} no value of {query.group.name!r}: drawn one by one.")
    nothing = np.zeros(0, np.uint32)
    return SampleSelection(tuple(rows.get(i, nothing) for i in range(len(n_rows))), len(rows), tuple(notes))


@dataclass(frozen=True)
class _Chooser:
    """Chooses rows of metadata files."""

    condition: Condition | None
    filter: pl.Expr
    draws: tuple[Draw, ...]
    seed: int
    group: TypedColumn | None  # column whose values are drawn in place of identities
    has_row_hashes: bool
    columns: tuple[str, ...]  # that are needed

    def choose(self, position: int, n_rows: int, read: ReadFile) -> tuple[np.ndarray, int]:
        """The rows of a file that are selected (k,), and how many rows that could be have no group."""
        if not self.columns:
            return np.arange(n_rows, dtype=np.uint32), 0
        frame = read(position, list(self.columns))
        if frame.height != n_rows:
            raise DamagedDataError(
                f"Metadata file {position} holds {frame.height:,} samples, but the log names {n_rows:,}. Restore it."
            )
        frame = frame.with_row_index(_ROW).filter(self.filter)
        rows, n_ungrouped = frame[_ROW].to_numpy().astype(np.uint32), 0
        if self.draws:
            hashes, n_ungrouped = self._hash(frame)
            rows = rows[np.logical_and.reduce([draw.choose(hashes, self.seed) for draw in self.draws])]
        return rows, n_ungrouped

    def _hash(self, frame: pl.DataFrame) -> tuple[np.ndarray, int]:
        """Hashes of groups, or of the identities of samples that have none; and the number of the latter."""
        ids = frame[ID].str.head(HASH_DIGITS) if self.has_row_hashes else frame[ID]
        if self.group is None:
            return hash_identities(ids), 0
        groups = frame.select(self.group.values).to_series()
        is_missing = (groups.fill_nan(None) if groups.dtype.is_float() else groups).is_null().to_numpy()
        hashes = hash_identities(groups)
        hashes[is_missing] = hash_identities(ids.filter(pl.Series(is_missing)))
        return hashes, int(is_missing.sum())


def _make_chooser(query: Query, schema: pl.Schema, part: Condition | None, *, has_row_hashes: bool) -> _Chooser:
    conditions = tuple(condition for condition in (part, query.condition) if condition is not None)
    condition = Combination("and", conditions) if conditions else None
    names = [find_column(column, schema).source for column in condition_columns(condition)] if condition else []
    group = find_column(query.group, schema) if query.group else None
    draws = tuple(plan_draws(query, has_parts=part is not None))
    if draws:
        names += [ID] if group is None else [ID, group.source]
    filter_ = compile_condition(condition, schema) if condition else pl.lit(True)
    return _Chooser(condition, filter_, draws, query.seed or 0, group, has_row_hashes, tuple(dict.fromkeys(names)))


def _check_columns(query: Query, schema: pl.Schema) -> None:
    """Check that all columns of a query exist and have suitable types, before any file is read. Raises QueryError."""
    if query.condition:
        compile_condition(query.condition, schema)
    if query.group and (group := find_column(query.group, schema)).dtype.is_nested():
        raise query.group.place.error(f"Expected a column of numbers or texts, but got {group}")


def _find_part(
    query: Query, schema: pl.Schema, files: pl.DataFrame, read: ReadFile, pool: Executor
) -> tuple[Condition | None, list[str]]:
    """The condition on the column `split` that takes the place of @split, if the column decides; and notes."""
    if not query.split or schema.get(SPLIT) != pl.String:
        return None, []
    counts = count_parts(files, lambda position: read(position, [SPLIT])[SPLIT], pool)
    part, note = part_condition(query.split, query.places["split"], counts)
    return part, [note]


def _unused_options(query: Query, chooser: _Chooser) -> Iterator[str]:
    """Say which options have no effect."""
    if query.seed is not None and not chooser.draws:
        yield "@seed has no effect: nothing is drawn at random."
    if query.group and not chooser.draws:
        yield "@group has no effect: nothing is drawn at random."
    elif query.group and query.split and not any(draw.purpose == "split" for draw in chooser.draws):
        yield f"@group has no effect on @split, which the column {SPLIT!r} decides."
