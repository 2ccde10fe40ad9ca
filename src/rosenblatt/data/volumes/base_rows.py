"""The samples of the version that an addition starts from: found by identity, and read where they are needed."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import polars as pl

from rosenblatt.data.volumes.columns import ID
from rosenblatt.data.volumes.storage.hash_index import HashIndex
from rosenblatt.data.volumes.storage.log import DataFile, LogVersion
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.errors import VolumeError

ROW = "\0row"  # position of a sample, in the order of the volume
MAX_CACHE_BYTES = 1 << 28  # of the rows of files that were read last
_QUERY = "\0query"


class BaseRows:
    """Rows of a version with the columns of the next one. Memory is 16 bytes a sample at most, see `HashIndex`.

    Args:
        files: the metadata files of the volume.
        base: the version; None if the volume is new.
        schema: of the next version.
        is_exact: whether all values must stay as they are in the types of the next version.

    Raises:
        VolumeError: if they cannot; DamagedDataError if a metadata file is missing or damaged.
    """

    def __init__(self, files: MetadataFiles, base: LogVersion | None, schema: pl.Schema, *, is_exact: bool) -> None:
        self._files, self._schema, self._is_exact = files, schema, is_exact
        self._base_schema = base.schema if base else pl.Schema()
        self.data_files: list[DataFile] = base.data_files if base else []
        self.starts = np.cumsum([0, *(file.rows for file in self.data_files)])  # positions of their first rows
        self._cached = OrderedDict[int, pl.DataFrame]()
        self._cached_bytes = 0
        if is_exact:
            self._check_types()
        self._index = HashIndex()
        for _, rows in files.read_all_places(self.data_files, [ID]):
            self._index.add(hash_texts(rows[ID]), np.arange(rows.height))
        self._index.optimize()

    def __len__(self) -> int:
        """The number of samples."""
        return int(self.starts[-1])

    def _check_types(self) -> None:
        """Check columns whose type changes. Raises VolumeError if a value does."""
        names = [name for name, dtype in self._base_schema.items() if self._schema.get(name, dtype) != dtype]
        for file in self.data_files if names else ():
            rows = self._files.read(file, self._base_schema, names)
            align(rows, pl.Schema({name: self._schema[name] for name in names}), is_exact=True)

    def find(self, ids: pl.Series) -> pl.DataFrame:
        """The rows with these identities, in their order, with their positions; nulls for samples that are new.

        An identity of another type is the same if it is written in the same way, unlike the text 01 and the number 1.
        """
        texts = ids.cast(pl.String)
        parts = [pl.DataFrame(schema={_QUERY: pl.Int64, **self._schema, ROW: pl.Int64})]
        matches = list(self._index.find(hash_texts(texts)))
        for match in sorted(matches, key=lambda match: match.file not in self._cached):
            rows = self.read(match.file)[match.rows]
            is_same = rows[ID].cast(pl.String) == texts[match.queries]
            matched = rows.with_columns(pl.Series(ROW, match.rows + self.starts[match.file]))
            parts.append(matched.insert_column(0, pl.Series(_QUERY, match.queries)).filter(is_same))
        queries = pl.DataFrame({_QUERY: pl.int_range(len(ids), eager=True)})
        return queries.join(pl.concat(parts), on=_QUERY, how="left", maintain_order="left").drop(_QUERY)

    def read(self, number: int) -> pl.DataFrame:
        """The rows of a metadata file, by its place among `data_files`."""
        rows = self._cached.pop(number, None)
        if rows is None:
            rows = self._read(self.data_files[number])
            self._cached_bytes += int(rows.estimated_size())
        self._cached[number] = rows
        while self._cached_bytes > MAX_CACHE_BYTES and len(self._cached) > 1:
            self._cached_bytes -= int(self._cached.popitem(last=False)[1].estimated_size())
        return rows

    def _read(self, file: DataFile) -> pl.DataFrame:
        names = [name for name in self._schema if name in self._base_schema]
        rows = self._files.read(file, self._base_schema, names)
        aligned = align(rows, self._schema, is_exact=self._is_exact)
        is_same = aligned[ID].cast(pl.String) == rows[ID].cast(pl.String)
        return aligned.with_columns(aligned[ID].set(~is_same, None))


def hash_texts(texts: pl.Series) -> np.ndarray:
    """Hash identities: (n,) uint64, the same within a process only."""
    return texts.hash().to_numpy()


def align(frame: pl.DataFrame, schema: pl.Schema, *, is_exact: bool) -> pl.DataFrame:
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
