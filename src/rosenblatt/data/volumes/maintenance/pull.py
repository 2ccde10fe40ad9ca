"""Copy the selected samples of a version to a folder, as files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

from rosenblatt.data.cores import cores
from rosenblatt.data.volumes.columns import BYTES_COLUMNS, HASH, ID
from rosenblatt.data.volumes.sources.labels import folder_columns
from rosenblatt.data.volumes.storage.packs import content_hash
from rosenblatt.data.volumes.streaming.reader import PackReader
from rosenblatt.data.volumes.volume import Volume
from rosenblatt.errors import StorageError, VolumeError

METADATA_FILE = "metadata.parquet"  # what `data add` reads as a sidecar
FILE_NAME = "file_name"
PART_SUFFIX = ".part"
BATCH_SAMPLES = 256

ProgressCallback = Callable[[int, int], None]  # samples so far, and bytes of the last ones


@dataclass(frozen=True)
class PullResult:
    """What was copied."""

    folder: Path
    n_samples: int
    n_written: int  # files that were not there yet
    n_bytes: int  # of them


def pull(
    volume: Volume, folder: Path, *, force: bool = False, on_progress: ProgressCallback | None = None
) -> PullResult:
    """Write samples as files, each byte verified; a pull that was interrupted continues where it stopped.

    Samples with bytes become files named by their identity, with other metadata in `metadata.parquet`, so that
    `rosenblatt data add` of the folder gives the same samples. Tables, texts and sequences become one Parquet file.

    Args:
        volume: the version, or the samples of it that a query selects.
        folder: where to write; created if missing.
        force: whether other files of the same name are replaced.
        on_progress: called with the number of finished samples, and bytes of the last ones.

    Raises:
        VolumeError: if a sample's identity is no path within the folder, or a file with other content is in the way.
        DamagedDataError: if a sample is damaged.
        StorageError: if a file cannot be written.
    """
    report = on_progress or (lambda _samples, _bytes: None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _pull_files(volume, folder, force, report) if volume.has_bytes else _pull_table(volume, folder, force)
    except OSError as error:
        raise StorageError(f"{str(folder)!r} cannot be written: {error.strerror or error}.") from error


def _pull_table(volume: Volume, folder: Path, force: bool) -> PullResult:
    path, frame = folder / f"{volume.volume_name}.parquet", volume.metadata()
    if volume.commit.id_origin == "generated":
        frame = frame.drop(ID)
    n_written = _write_table(frame, path, force)
    return PullResult(folder, frame.height, n_written, path.stat().st_size * n_written)


def _pull_files(volume: Volume, folder: Path, force: bool, report: ProgressCallback) -> PullResult:
    _check_names(volume)
    reader = PackReader(volume.objects, volume.cache, volume.name)
    sizes, metadata, n_done = list[int | None](), list[pl.DataFrame](), 0
    with ThreadPoolExecutor(2 * cores(), thread_name_prefix="writing") as pool:
        for position in range(len(volume.data_files)):
            rows = volume.selected_rows(position)
            frame = volume.read_whole_file(position, list(volume.schema))
            column, selected = reader.column(frame, rows), frame[rows]
            names = _file_names(selected)
            metadata.append(selected.select(names.alias(FILE_NAME), *_sidecar_columns(volume)))
            for start in range(0, selected.height, BATCH_SAMPLES):
                batch = slice(start, min(start + BATCH_SAMPLES, selected.height))
                paths = [folder / check_relative(name) for name in names[batch]]
                contents = column.take(range(batch.start, batch.stop))
                hashes = selected[HASH][batch].to_list()
                sizes += pool.map(_write, paths, contents, hashes, [force] * len(paths))
                n_done += len(paths)
                report(n_done, sum(map(len, contents)))
    table, n_written = _without_folder_columns(pl.concat(metadata)) if metadata else pl.DataFrame(), 0
    if table.width > 1:
        n_written = _write_table(table, folder / METADATA_FILE, force)
    return PullResult(folder, n_done, n_written + sum(size is not None for size in sizes), sum(filter(None, sizes)))


def _sidecar_columns(volume: Volume) -> list[str]:
    """Columns that neither the identity nor the bytes of files give."""
    return [name for name in volume.schema if name not in (ID, *volume.commit.inspected, *BYTES_COLUMNS)]


def _without_folder_columns(table: pl.DataFrame) -> pl.DataFrame:
    """The metadata of files without the columns that `data add` reads from the names of their folders."""
    try:
        by_folder = folder_columns(table[FILE_NAME], "", is_labeled=True, notes=[])
    except VolumeError:  # some files are in folders, and some are not
        return table
    equal = [name for name in by_folder.columns if name in table.columns and table[name].equals(by_folder[name])]
    return table.drop(equal)


def _file_names(samples: pl.DataFrame) -> pl.Series:
    """Names of files: the identity, with the ending of the format if it has none."""
    names = samples[ID].cast(pl.String)
    if "format" not in samples.columns:
        return names
    ending = pl.concat_str(pl.lit("."), "format")
    has_ending = pl.col(ID).cast(pl.String).str.contains(r"[^/.][^/]*\.[^/.]+$")
    expression = pl.when(has_ending | pl.col("format").is_null()).then(names).otherwise(pl.concat_str(names, ending))
    return samples.select(expression.alias(FILE_NAME)).to_series()


def _check_names(volume: Volume) -> None:
    """Check that no two files would have one name. Raises VolumeError."""
    names = _file_names(volume.metadata([name for name in (ID, "format") if name in volume.schema]))
    if METADATA_FILE in names and _sidecar_columns(volume):
        names = names.append(pl.Series([METADATA_FILE]))
    if names.is_duplicated().any():
        raise VolumeError(
            f"Several files would be named {names.filter(names.is_duplicated())[0]!r}. Select one of the samples by a "
            "query, or stream their bytes with rosenblatt.volume(...)."
        )


def check_relative(name: str) -> PurePosixPath:
    """The path of a file within the folder. Raises VolumeError if the name leads out of it."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part or (os.sep != "/" and os.sep in part) for part in parts):
        raise VolumeError(
            f"The sample {name!r} has no name that a file in the folder could have. Select others by a query, or "
            "stream its bytes with rosenblatt.volume(...)."
        )
    return PurePosixPath(name)


def _write(path: Path, content: memoryview, hash_: str, force: bool) -> int | None:
    """Write a file unless it is there; returns the number of bytes written, None if it was there."""
    if path.exists():
        if path.is_file() and path.stat().st_size == len(content) and content_hash(path.read_bytes()) == hash_:
            return None
        if not force:
            raise _occupied_error(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replaced(path) as part:
        part.write_bytes(content)
    return len(content)


def _write_table(frame: pl.DataFrame, path: Path, force: bool) -> int:
    """Write a table unless it is there; returns the number of files written."""
    if path.exists() and not force:
        with suppress(pl.exceptions.PolarsError):
            if pl.read_parquet(path, glob=False).equals(frame):
                return 0
        raise _occupied_error(path)
    with _replaced(path) as part:
        frame.write_parquet(part)
    return 1


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of a file once it is written whole."""
    part = path.with_name(f".{secrets.token_hex(8)}{PART_SUFFIX}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _occupied_error(path: Path) -> VolumeError:
    return VolumeError(f"{str(path)!r} holds something else. Name another folder, or replace it with --force.")
