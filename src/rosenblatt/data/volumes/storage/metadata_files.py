"""Metadata files of a volume: Parquet files with a row for each sample, named by their content."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import polars as pl
from blake3 import blake3

from rosenblatt.data.volumes.columns import BYTES_COLUMNS
from rosenblatt.data.volumes.storage.delta_types import from_stored, to_stored
from rosenblatt.data.volumes.storage.log import DataFile
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.errors import DamagedDataError

MAX_FILE_ROWS = 1 << 16
MAX_FILE_BYTES = 1 << 30  # of the samples' bytes that one metadata file names
ROW_GROUP_ROWS = 1 << 13
MAX_STATISTICS = 32  # columns with statistics in the log
MAX_TEXT_CHARACTERS = 32  # of a text in the statistics
LAST_CHARACTER = "\U0010ffff"  # ends the upper bound of a shortened text
_FILE_HASH = slice(-len(".parquet") - 64, -len(".parquet"))


def write_metadata_file(objects: Objects, folder: str, number: int, frame: pl.DataFrame) -> DataFile:
    """Write rows as a metadata file of a volume, unless it exists, and return its entry for the log."""
    buffer = io.BytesIO()
    to_stored(frame).write_parquet(buffer, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    content = buffer.getvalue()
    path = f"data/{number:08}-{blake3(content).hexdigest()}.parquet"
    objects.put(f"{folder}/{path}", content)
    return DataFile(path, len(content), frame.height, compute_statistics(frame))


def compute_statistics(frame: pl.DataFrame) -> dict[str, Any]:
    """Bounds and number of nulls of columns, as in a log of Delta Lake; bounds of texts may be shortened.

    A column of numbers with NaN has no bounds: NaN has no place in their order.
    """
    names = [name for name, dtype in frame.schema.items() if name not in BYTES_COLUMNS and _is_ordered(dtype)]
    low, high, nulls = dict[str, Any](), dict[str, Any](), dict[str, int]()
    for name in names[:MAX_STATISTICS]:
        column = frame[name]
        nulls[name] = column.null_count()
        if nulls[name] == len(column) or (column.dtype.is_float() and column.is_nan().any()):
            continue
        minimum, maximum = column.min(), column.max()
        if isinstance(minimum, str) and isinstance(maximum, str):
            is_cut = len(maximum) > MAX_TEXT_CHARACTERS
            minimum, maximum = minimum[:MAX_TEXT_CHARACTERS], maximum[:MAX_TEXT_CHARACTERS]
            maximum += LAST_CHARACTER * is_cut
        elif column.dtype.is_temporal():
            minimum, maximum = str(minimum), str(maximum)
        if column.dtype.is_float() and not column.is_finite().all():
            continue  # JSON has no infinity
        low[name], high[name] = minimum, maximum
    return {"minValues": low, "maxValues": high, "nullCount": nulls}


def _is_ordered(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype.is_float() or dtype in (pl.String, pl.Date)


def read_metadata_file(
    objects: Objects, folder: str, file: DataFile, schema: pl.Schema, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Read the rows of a metadata file, after its content was compared with its name.

    Raises:
        DamagedDataError: if the file is missing or damaged.
    """
    path = f"{folder}/{file.path}"
    try:
        content = objects.read(path)
    except FileNotFoundError:
        raise DamagedDataError(f"{objects.address}/{path} is missing. Restore it from a copy of the volume.") from None
    if blake3(content).hexdigest() != file.path[_FILE_HASH]:
        content = objects.read(path)  # the transfer may have been at fault
        if blake3(content).hexdigest() != file.path[_FILE_HASH]:
            raise DamagedDataError(
                f"{objects.address}/{path} is damaged: its content does not match its name. Restore it from a copy of "
                "the volume."
            )
    names = list(schema) if columns is None else list(columns)
    stored = pl.read_parquet_schema(io.BytesIO(content))
    frame = pl.read_parquet(io.BytesIO(content), columns=[name for name in names if name in stored])
    if not frame.width:
        frame = pl.DataFrame({"": pl.zeros(file.rows, eager=True)})
    return from_stored(frame, pl.Schema({name: schema[name] for name in names}))
