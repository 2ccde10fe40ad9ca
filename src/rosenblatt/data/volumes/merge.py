"""Compare the samples of a source with those of a volume's latest version, and make the files of the next version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from rosenblatt.data.volumes.columns import ID, LENGTH, PLACE_COLUMNS, is_link
from rosenblatt.data.volumes.storage.delta_types import check_names
from rosenblatt.data.volumes.storage.log import DataFile, LogVersion
from rosenblatt.data.volumes.storage.metadata_files import MAX_FILE_BYTES, MAX_FILE_ROWS, MetadataFiles
from rosenblatt.errors import VolumeError

Side = Literal["volume", "source"]
SMALL_FILE_ROWS = MAX_FILE_ROWS // 4  # up to which the last file is filled up with new samples
_ROW = "\0row"  # of a base sample, in the order of the volume


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
        self._base_files = base.data_files if base else []
        self._must_rewrite = base is not None and not _can_keep_files(base.schema, schema)
        self._base = self._read_base(base)
        self._seen = np.zeros(self._base.height, bool)
        self._replaced: list[pl.DataFrame] = []
        self._new: list[pl.DataFrame] = []
        self._written: list[DataFile] = []
        self._next_number = max((file.number for file in self._base_files), default=-1) + 1
        self._n_added = self._n_bytes = 0

    def _read_base(self, base: LogVersion | None) -> pl.DataFrame:
        if base is None:
            return pl.DataFrame(schema={**self._schema, _ROW: pl.UInt32})
        names = [name for name in self._schema if name in base.schema]
        frames = [self._files.read(file, base.schema, names) for file in self._base_files]
        rows = pl.concat(frames) if frames else pl.DataFrame(schema={name: base.schema[name] for name in names})
        aligned = _align(rows, self._schema, is_exact=self._append)
        ids = rows[ID].cast(self._schema[ID], strict=False)
        is_same = ids.cast(base.schema[ID]).eq_missing(rows[ID])  # unlike the text 01 and the number 1
        return aligned.with_columns(ids.set(~is_same, None)).with_row_index(_ROW)

    def base_rows(self, ids: pl.Series) -> pl.DataFrame:
        """The rows of the base version with these identities, in their order; nulls for new samples."""
        if ids.dtype != self._schema[ID]:
            ids = ids.cast(self._schema[ID])
        return ids.to_frame(ID).join(self._base, on=ID, how="left", maintain_order="left")

    def add(self, rows: pl.DataFrame, base_rows: pl.DataFrame) -> None:
        """Add samples of the source.

        Args:
            rows: columns of the source. With `append`, samples keep their values of other columns.
            base_rows: of the same samples, from `base_rows`.
        """
        rows = self._align_source(rows, base_rows)
        is_known = base_rows[_ROW].is_not_null()
        self._seen[base_rows[_ROW].drop_nulls().to_numpy()] = True
        compared = [name for name in self._schema if not (self._has_bytes and name in PLACE_COLUMNS)]
        differs = [rows[name].ne_missing(base_rows[name]) for name in compared]
        if self._has_bytes:  # links follow their files; what is stored in packs stays there
            differs += [is_link(base_rows) & rows[name].ne_missing(base_rows[name]) for name in PLACE_COLUMNS]
        is_changed = is_known & pl.select(pl.any_horizontal(differs)).to_series()
        self._replaced.append(rows.with_columns(base_rows[_ROW]).filter(is_changed))
        new = rows.filter(~is_known)
        self._new.append(new)
        self._n_added += new.height
        if sum(frame.height for frame in self._new) >= MAX_FILE_ROWS + SMALL_FILE_ROWS:
            self._write_full_files()

    def _align_source(self, rows: pl.DataFrame, base_rows: pl.DataFrame) -> pl.DataFrame:
        if self._append:
            missing = [name for name in self._schema if name not in rows.columns]
            rows = rows.with_columns(base_rows.select(missing))
        return _align(rows, self._schema, is_exact=True)

    def _write_full_files(self) -> None:
        """Write the new samples so far, except those that may still share a file with later ones."""
        pieces = list(self._split(pl.concat(self._new)))
        for piece in pieces[:-1]:
            self._write_new(piece)
        self._new = pieces[-1:]

    def _write_new(self, frame: pl.DataFrame) -> None:
        self._written.append(self._files.write(self._next_number, frame))
        self._n_bytes += self._sum_bytes(frame)
        self._next_number += 1

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
        replaced = pl.concat([self._base.clear(), *(frame.select(self._base.columns) for frame in self._replaced)])
        n_removed = 0 if self._append else int((~self._seen).sum())
        is_kept = np.ones(self._base.height, bool) if self._append else self._seen
        next_base = self._base.update(replaced, on=_ROW, include_nulls=True) if replaced.height else self._base
        unchanged, removed = self._finish_base_files(next_base, replaced, is_kept)
        for piece in self._split(pl.concat(self._new)) if self._new else ():
            self._write_new(piece)
        files = [*unchanged, *self._written]
        return VersionChanges(
            pl.DataFrame(
                [(file.path, file.size, file.rows) for file in files],
                schema={"path": pl.String, "size": pl.Int64, "rows": pl.Int64},
                orient="row",
            ),
            self._written,
            removed,
            sum(file.rows for file in files),
            self._n_bytes + self._sum_bytes(next_base.filter(pl.Series(is_kept))),
            self._n_added,
            replaced.height,
            n_removed,
        )

    def _finish_base_files(
        self, next_base: pl.DataFrame, replaced: pl.DataFrame, is_kept: np.ndarray
    ) -> tuple[list[DataFile], list[DataFile]]:
        """Rewrite the files of the base version that change; returns those that stay, and those that do not."""
        unchanged, removed = list[DataFile](), list[DataFile]()
        is_replaced = np.zeros(len(is_kept), bool)
        is_replaced[replaced[_ROW].to_numpy()] = True
        can_fill_up = bool(self._n_added) and not self._written  # else new files follow already
        start = 0
        for file in self._base_files:
            part = slice(start, start + file.rows)
            start += file.rows
            is_filled_up = can_fill_up and file is self._base_files[-1] and file.rows < SMALL_FILE_ROWS
            if is_kept[part].all() and not is_replaced[part].any() and not self._must_rewrite and not is_filled_up:
                unchanged.append(file)
                continue
            rows = next_base[part].filter(pl.Series(is_kept[part])).drop(_ROW)
            if is_filled_up:
                self._new.insert(0, rows)
                self._next_number, self._n_bytes = file.number, self._n_bytes - self._sum_bytes(rows)
            elif rows.height:
                rewritten = self._files.write(file.number, rows)
                if rewritten.path == file.path:  # it lacked the columns that the next version lacks
                    unchanged.append(file)
                    continue
                self._written.append(rewritten)
            removed.append(file)
        return unchanged, removed


def _can_keep_files(base: pl.Schema, schema: pl.Schema) -> bool:
    """Whether files of a schema can be read with the next one: it has all their columns, with the same types."""
    return all(schema.get(name) == dtype for name, dtype in base.items())


def _align(frame: pl.DataFrame, schema: pl.Schema, *, is_exact: bool) -> pl.DataFrame:
    """Give a frame the columns of a schema, with null where it has none.

    Raises VolumeError, if `is_exact`, if values change with their type.
    """
    filled = {name for name in frame.columns if frame[name].count()}
    aligned = frame.select(
        pl.col(name).cast(dtype, strict=False)
        if name in filled or frame.schema.get(name) == dtype
        else pl.repeat(None, pl.len(), dtype=dtype).alias(name)
        for name, dtype in schema.items()
    )
    for name, dtype in frame.schema.items() if is_exact else ():
        if (
            name in filled
            and dtype != schema[name]
            and not aligned[name].cast(dtype, strict=False).eq_missing(frame[name]).all()
        ):
            raise VolumeError(
                f"Column {name!r} holds values of type {dtype} that {schema[name]}, which all samples need together, "
                "cannot hold exactly. Convert it, or leave out --append to replace all samples."
            )
    return aligned
