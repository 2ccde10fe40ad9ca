"""What `rosenblatt data query` shows of the samples that a query selects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from polars import selectors as cs

from rosenblatt.data.volumes.columns import LENGTH
from rosenblatt.data.volumes.volume import Volume, volume


@dataclass(frozen=True)
class QueryResult:
    """Samples of a version that a query selects."""

    query: str
    volume: Volume  # the selected samples
    notes: tuple[str, ...]
    n_bytes: int  # of the samples' bytes; 0 for tables
    first: pl.DataFrame  # metadata of the first samples

    @property
    def n_samples(self) -> int:
        """The number of selected samples."""
        return len(self.volume)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serializable data."""
        commit = self.volume.commit
        return {
            "volume": self.volume.volume_name,
            "version": commit.version,
            "root": commit.root,
            "address": self.volume.uri,
            "query": self.query,
            "n_samples": self.n_samples,
            "n_bytes": self.n_bytes,
            "n_samples_of_version": commit.n_samples,
            "n_bytes_of_version": commit.n_bytes,
            "notes": list(self.notes),
            "samples": self.first.with_columns(pl.when(cs.float().is_finite()).then(cs.float())).to_dicts(),
        }


def run_query(name: str, query: str, n_first: int) -> QueryResult:
    """Select samples of a version, and read the metadata of the first ones.

    Raises:
        QueryError: if the query is invalid.
        VolumeError: if there is no such version.
    """
    notes, n_bytes = list[str](), 0
    selected = volume(name).query(query, notes.append)
    if selected.has_bytes:
        files = selected.file_sizes.nonzero()[0].tolist()
        n_bytes = sum(int(selected.read_file(file, [LENGTH])[LENGTH].sum()) for file in files)
    return QueryResult(query, selected, tuple(notes), n_bytes, _read_first(selected, n_first))


def _read_first(selected: Volume, n_first: int) -> pl.DataFrame:
    """The metadata of the first samples, of as few files as possible."""
    n_before = selected.file_sizes.cumsum() - selected.file_sizes
    return selected.metadata(files=(n_before < n_first).nonzero()[0].tolist()).head(n_first)
