"""Compare the samples of a source with those of a volume's latest version, and make the files of the next version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from rosenblatt.data.volumes.base_rows import ROW, BaseRows, align
from rosenblatt.data.volumes.changed_rows import ChangedRows
from rosenblatt.data.volumes.columns import LENGTH, PLACE_COLUMNS, is_link
from rosenblatt.data.volumes.storage.delta_types import check_names
from rosenblatt.data.volumes.storage.log import DataFile, LogVersion
from rosenblatt.data.volumes.storage.metadata_files import MAX_FILE_BYTES, MAX_FILE_ROWS, MetadataFiles
from rosenblatt.errors import VolumeError

Side = Literal["volume", "source"]
SMALL_FILE_ROWS = MAX_FILE_ROWS // 4  # up to which the last file is filled up with new samples


@dataclass(frozen=True)
class VersionChanges:
    """The files of the next version, and how it differs from the version before."""

    files: pl.DataFrame  # path, size, rows: all metadata files of the next version
    added: list[DataFile]  # files that were written
    removed: list[DataFile]  # files of the version before that are not part of the next one
    n_samples: int
    n_bytes: int
    n_added: int
    n_changed: int
    n_removed: int

    @property
    def is_change(self) -> bool:
        """Whether the next version has other samples than the version before."""
        return bool(self.n_added or self.n_changed or self.n_removed)


def merge_schemas(
    base: pl.Schema | None,
    source: pl.Schema,
    *,
    append: bool,
    is_empty: Callable[[Side, str], bool] = lambda _side, _name: False,
) -> pl.Schema:
    """The schema of the next version: that of the source; with `append`, together with columns of the base version.

    A column without any value on one side, as `is_empty` says, has the type of the other one.

    Raises VolumeError if a column of both holds values that cannot be in one column, or names differ in case only.
    """
    merged = dict(base) if base is not None and append else {}
    for name, dtype in source.items():
        if name in merged and merged[name] != dtype:
            merged[name] = _common_type(name, merged[name], dtype, is_empty)
        merged.setdefault(name, dtype)
    check_names(merged)
    return pl.Schema(merged)


def _common_type(
    name: str, base: pl.DataType, source: pl.DataType, is_empty: Callable[[Side, str], bool]
) -> pl.DataType:
    if base.is_numeric() and source.is_numeric():
        both = pl.concat(
            [pl.Series(dtype=base).to_frame("x"), pl.Series(dtype=source).to_frame("x")], how="vertical_relaxed"
        )
        return both.schema["x"]
    if is_empty("source", name):
        return base
    if is_empty("volume", name):
        return source
    raise VolumeError(
        f"Column {name!r} holds {base} in the volume, but {source} in the source. Convert one of them, or leave out "
        "--append to replace all samples."
    )


class Merge:
    """The rows of the next version, collected from a source and compared with the base version."""

    def __init__(
        self, files: MetadataFiles, base: LogVersion | None, schema: pl.Schema, *, has_bytes: bool, append: bool
    ) -> None:
        self._files, self._schema, self._has_bytes, self._append = files, schema, has_bytes, append
        self._must_rewrite = base is not None and not _can_keep_files(base.schema, schema)
        self._base = BaseRows(files, base, schema, is_exact=append)
        self._seen = np.zeros(-(-len(self._base) // 8), np.uint8)  # a bit for each base sample
        self._changed = ChangedRows(ROW, pl.Schema({**schema, ROW: pl.Int64()}))
        self._new: list[pl.DataFrame] = []
        self._written: list[DataFile] = []
        self._next_number = max((file.number for file in self._base.data_files), default=-1) + 1
        self._n_added = self._n_removed = 0
        self._n_bytes = base.commit.n_bytes if base and has_bytes else 0

    def base_rows(self, ids: pl.Series) -> pl.DataFrame:
        """The rows of the base version with these identities, in their order; nulls for new samples."""
        return self._base.find(ids)

    def add(self, rows: pl.DataFrame, base_rows: pl.DataFrame) -> None:
        """Add samples of the source.

        Args:
            rows: columns of the source. With `append`, samples keep their values of other columns.
            base_rows: of the same samples, from `base_rows`.
        """
        rows = self._align_source(rows, base_rows)
        is_known = base_rows[ROW].is_not_null()
        positions = base_rows[ROW].drop_nulls().to_numpy()
        np.bitwise_or.at(self._seen, positions >> 3, (1 << (positions & 7)).astype(np.uint8))
        compared = [name for name in self._schema if not (self._has_bytes and name in PLACE_COLUMNS)]
        differs = [rows[name].ne_missing(base_rows[name]) for name in compared]
        if self._has_bytes:  # links follow their files; what is stored in packs stays there
            differs += [is_link(base_rows) & rows[name].ne_missing(base_rows[name]) for name in PLACE_COLUMNS]
        is_changed = is_known & pl.select(pl.any_horizontal(differs)).to_series()
        self._changed.add(rows.with_columns(base_rows[ROW]).filter(is_changed))
        new = rows.filter(~is_known)
        self._n_added += new.height
        self._new += [new] if new.height else []
        if sum(frame.height for frame in self._new) >= MAX_FILE_ROWS + SMALL_FILE_ROWS:
            self._write_full_files()

    def _align_source(self, rows: pl.DataFrame, base_rows: pl.DataFrame) -> pl.DataFrame:
        if self._append:
            missing = [name for name in self._schema if name not in rows.columns]
            rows = rows.with_columns(base_rows.select(missing))
        return align(rows, self._schema, is_exact=True)

    def _write_full_files(self) -> None:
        """Write the new samples so far, except those that may still share a file with later ones."""
        pieces = list(self._split(pl.concat(self._new)))
        for piece in pieces[:-1]:
            self._write_new(piece)
        self._new = pieces[-1:]

    def _write_new(self, frame: pl.DataFrame) -> None:
        self._written.append(self._write(self._next_number, frame))
        self._next_number += 1

    def _write(self, number: int, frame: pl.DataFrame) -> DataFile:
        self._n_bytes += self._sum_bytes(frame)
        return self._files.write(number, frame)

    def _sum_bytes(self, frame: pl.DataFrame) -> int:
        return int(frame[LENGTH].sum()) if self._has_bytes else 0

    def _split(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Split rows into files of at most MAX_FILE_ROWS rows, which name at most about MAX_FILE_BYTES of bytes."""
        if not self._has_bytes:
            yield from frame.iter_slices(MAX_FILE_ROWS)
            return
        ends = np.cumsum(frame[LENGTH].to_numpy())
        start = 0
        while start < frame.height:
            before = ends[start - 1] if start else 0
            stop = int(np.searchsorted(ends, before + MAX_FILE_BYTES, side="right"))
            stop = min(max(stop, start + 1), start + MAX_FILE_ROWS)
            yield frame[start:stop]
            start = stop

    def finish(self) -> VersionChanges:
        """Write the files of the next version that are not written yet. Raises StorageError."""
        unchanged, removed = self._finish_base_files()
        for piece in self._split(pl.concat(self._new)) if self._new else ():
            self._write_new(piece)
        files = [*unchanged, *self._written]
        same = {file.path for file in removed} & {file.path for file in self._written}  # written again as they were
        return VersionChanges(
            pl.DataFrame(
                [(file.path, file.size, file.rows) for file in files],
                schema={"path": pl.String, "size": pl.Int64, "rows": pl.Int64},
                orient="row",
            ),
            [file for file in self._written if file.path not in same],
            [file for file in removed if file.path not in same],
            sum(file.rows for file in files),
            self._n_bytes,
            self._n_added,
            self._changed.n_rows,
            self._n_removed,
        )

    def _finish_base_files(self) -> tuple[list[DataFile], list[DataFile]]:
        """Rewrite the files of the base version that change; returns those that stay, and those that do not."""
        unchanged, removed = list[DataFile](), list[DataFile]()
        can_fill_up = bool(self._n_added) and not self._written  # else new files follow already
        for k, file in enumerate(self._base.data_files):
            is_kept, changed = self._is_kept(k), self._changed.take(self._base.starts[k + 1])
            self._n_removed += int((~is_kept).sum())
            is_filled_up = can_fill_up and k == len(self._base.data_files) - 1 and file.rows < SMALL_FILE_ROWS
            if is_kept.all() and not changed.height and not self._must_rewrite and not is_filled_up:
                unchanged.append(file)
                continue
            rows = self._next_rows(k, is_kept, changed)
            if is_filled_up:
                self._new.insert(0, rows)
                self._next_number = file.number
            elif rows.height:
                self._written.append(self._write(file.number, rows))
            removed.append(file)
        return unchanged, removed

    def _is_kept(self, k: int) -> np.ndarray:
        """Which samples of a file of the base version the next version has."""
        start, stop = self._base.starts[k : k + 2]
        if self._append:
            return np.ones(stop - start, bool)
        bits = np.unpackbits(self._seen[start // 8 : -(-stop // 8)], bitorder="little")
        return bits[start % 8 :][: stop - start].astype(bool)

    def _next_rows(self, k: int, is_kept: np.ndarray, changed: pl.DataFrame) -> pl.DataFrame:
        """What the next version has of the rows of a file of the base version."""
        rows = self._base.read(k)
        self._n_bytes -= self._sum_bytes(rows)
        positions = pl.int_range(self._base.starts[k], self._base.starts[k + 1], eager=True).alias(ROW)
        rows = rows.with_columns(positions)
        if changed.height:
            rows = rows.update(changed, on=ROW, include_nulls=True)
        return rows.filter(pl.Series(is_kept)).drop(ROW)


def _can_keep_files(base: pl.Schema, schema: pl.Schema) -> bool:
    """Whether files of a schema can be read with the next one: it has all their columns, with the same types."""
    return all(schema.get(name) == dtype for name, dtype in base.items())
