"""Metadata files of a volume: Parquet files with a row for each sample, named by their content."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from rosenblatt.data.volumes.columns import BYTES_SCHEMA, HASH, ID, PACK, PLACES_SCHEMA
from rosenblatt.data.volumes.storage.cache import MachineCache
from rosenblatt.data.volumes.storage.delta_types import from_stored, is_known_to_python, to_stored
from rosenblatt.data.volumes.storage.erasures import METADATA_FILE_HASH, missing_error
from rosenblatt.data.volumes.storage.log import DataFile
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.packs import content_hash, is_pack_name
from rosenblatt.errors import DamagedDataError, ErasedDataError

MAX_READS = 8  # of files at a time
PLACES = tuple(PLACES_SCHEMA)
MAX_FILE_ROWS = 1 << 16
MAX_FILE_BYTES = 1 << 30  # of the samples' bytes that one metadata file names
ROW_GROUP_ROWS = 1 << 13
MAX_STATISTICS = 32  # columns with statistics in the log
MAX_TEXT_CHARACTERS = 32  # of a text in the statistics
LAST_CHARACTER = "\U0010ffff"  # ends the upper bound of a shortened text


class MetadataFiles:
    """The metadata files of a volume.

    Args:
        objects: the root.
        folder: path of the volume within it.
        cache: keeps copies of the files of a bucket on this machine.
    """

    def __init__(self, objects: Objects, folder: str, cache: MachineCache | None = None) -> None:
        self.objects, self.folder, self._cache = objects, folder, cache
        self._verified: set[str] = set()  # paths of local files whose content was compared with their name
        self.bytes_written = 0
        self.packs_written: set[str] = set()  # packs that rows of written files refer to

    def write(self, number: int, frame: pl.DataFrame) -> DataFile:
        """Write rows as a file, and return its entry for the log. Raises StorageError."""
        buffer = io.BytesIO()
        to_stored(frame).write_parquet(buffer, compression="zstd", row_group_size=ROW_GROUP_ROWS)
        content = buffer.getvalue()
        path = f"data/{number:08}-{content_hash(content)}.parquet"
        self.objects.put(f"{self.folder}/{path}", content)
        self.bytes_written += len(content)
        if _has_places(frame.schema):
            self.packs_written |= set(filter(is_pack_name, frame[PACK].drop_nulls().unique()))
        return DataFile(path, len(content), frame.height, compute_statistics(frame))

    def read(self, file: DataFile, schema: pl.Schema, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Read columns of a file, all by default, after its content was compared with its name.

        Raises:
            DamagedDataError: if the file is missing or damaged.
            ErasedDataError: if it was erased.
        """
        names = list(schema) if columns is None else list(columns)
        with self._opened(file) as content:
            stored = _read_schema(content)
            frame = _read_columns(content, [name for name in names if name in stored])
            if frame.width and frame.height != file.rows:
                raise DamagedDataError(
                    f"{self.objects.address}/{self.folder}/{file.path} holds {frame.height:,} rows, but the log says "
                    f"{file.rows:,}. Restore the log from a copy of the volume."
                )
        if not frame.width:
            frame = pl.DataFrame({"": pl.zeros(file.rows, eager=True)})
        return from_stored(frame, pl.Schema({name: schema[name] for name in names}))

    def read_places(self, file: DataFile, columns: Sequence[str] = PLACES) -> pl.DataFrame:
        """Read what names samples, and says where their bytes are (`PLACES_SCHEMA`); the latter is null in a table.

        Raises as `read` does.
        """
        with self._opened(file) as content:
            has_places = _has_places(_read_schema(content))
            names = [name for name in columns if name == ID or has_places]
            frame = _read_columns(content, names or [ID])
        return from_stored(frame, pl.Schema({name: PLACES_SCHEMA[name] for name in columns}))

    def read_all_places(
        self, files: Iterable[DataFile], columns: Sequence[str] = PLACES, *, skip_erased: bool = False
    ) -> Iterator[tuple[DataFile, pl.DataFrame]]:
        """Read the places of samples of files in order, some ahead in threads. Raises as `read`."""
        pending = deque[tuple[DataFile, Future[pl.DataFrame]]]()
        with ThreadPoolExecutor(MAX_READS, thread_name_prefix="metadata") as pool:
            for file in files:
                pending.append((file, pool.submit(self.read_places, file, columns)))
                if len(pending) == MAX_READS:
                    yield from _result(*pending.popleft(), skip_erased=skip_erased)
            while pending:
                yield from _result(*pending.popleft(), skip_erased=skip_erased)

    @contextmanager
    def _opened(self, file: DataFile) -> Iterator[Path | io.BytesIO]:
        """The content of a file after it was verified."""
        path, hash_ = f"{self.folder}/{file.path}", file.path[METADATA_FILE_HASH]
        local = self.objects.local_path(path)
        if local and path in self._verified:
            try:
                yield local
            except FileNotFoundError:  # it was removed meanwhile
                raise missing_error(self.objects, path, hash_) from None
        elif self._cache:

            def fetch(copy: BinaryIO) -> None:
                copy.write(self._read(path))

            with self._cache.fetch(
                hash_, file.size, fetch, partial(_verify, f"{self.objects.address}/{path}", hash_)
            ) as lease:
                yield lease.path
        else:
            content = self._read(path)
            if content_hash(content) != hash_:
                content = self._read(path)  # the transfer may have been at fault
            _verify(f"{self.objects.address}/{path}", hash_, content)
            self._verified.add(path)
            yield io.BytesIO(content)

    def _read(self, path: str) -> bytes:
        try:
            return self.objects.read(path)
        except FileNotFoundError:
            raise missing_error(self.objects, path, path[METADATA_FILE_HASH]) from None


def _result(
    file: DataFile, rows: Future[pl.DataFrame], *, skip_erased: bool
) -> Iterator[tuple[DataFile, pl.DataFrame]]:
    try:
        frame = rows.result()
    except ErasedDataError:
        if not skip_erased:
            raise
    else:
        yield file, frame


def _read_schema(content: Path | io.BytesIO) -> pl.Schema:
    return pl.scan_parquet(content, glob=False).collect_schema()


def _read_columns(content: Path | io.BytesIO, names: list[str]) -> pl.DataFrame:
    return pl.read_parquet(content, columns=names, memory_map=False, glob=False)


def _verify(name: str, hash_: str, content: bytes | memoryview) -> None:
    if content_hash(content) != hash_:
        raise DamagedDataError(
            f"{name} is damaged: its content does not match its name. Restore it from a copy of the volume."
        )


def _has_places(schema: Mapping[str, pl.DataType]) -> bool:
    """Whether samples have bytes: a table may have columns of these names, but of other types."""
    return all(schema.get(name) == dtype for name, dtype in BYTES_SCHEMA.items())


def compute_statistics(frame: pl.DataFrame) -> dict[str, Any]:
    """Bounds and number of nulls of columns, as in a log of Delta Lake; bounds of texts may be shortened.

    A column of numbers with NaN has no bounds: NaN has no place in their order.
    """
    names = [name for name, dtype in frame.schema.items() if name not in (PACK, HASH) and _is_ordered(dtype)]
    low, high, nulls = dict[str, Any](), dict[str, Any](), dict[str, int]()
    for name in names[:MAX_STATISTICS]:
        column = frame[name]
        nulls[name] = column.null_count()
        if nulls[name] == len(column) or (column.dtype.is_float() and column.is_nan().any()):
            continue
        if not is_known_to_python(column):
            continue
        minimum, maximum = column.min(), column.max()
        if isinstance(minimum, str) and isinstance(maximum, str):
            is_cut = len(maximum) > MAX_TEXT_CHARACTERS
            minimum, maximum = minimum[:MAX_TEXT_CHARACTERS], maximum[:MAX_TEXT_CHARACTERS]
            maximum += LAST_CHARACTER * is_cut
        elif column.dtype == pl.Date:
            minimum, maximum = str(minimum), str(maximum)
        if column.dtype.is_float() and not column.is_finite().all():
            continue  # JSON has no infinity
        low[name], high[name] = minimum, maximum
    return {"minValues": low, "maxValues": high, "nullCount": nulls}


def _is_ordered(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype.is_float() or dtype in (pl.String, pl.Date)
