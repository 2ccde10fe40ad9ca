"""A source of samples for a volume: chunks of typed columns, and the bytes of samples that have some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import polars as pl

from rosenblatt.data.table import DETECT_FORMAT, TableFormat

SampleKind = Literal["table", "images", "audio", "texts", "sequences", "files"]
IdOrigin = Literal["path", "column", "generated"]
CHUNK_ROWS = 1 << 16
LABEL, SPLIT = "label", "split"  # columns that names of folders give


class Contents(Protocol):
    """The bytes of the samples of a chunk, read on request."""

    @property
    def locations(self) -> pl.DataFrame | None:
        """Where the bytes are, for volumes that link them: `pack` (a URI), `offset`, `length`; None if nowhere else."""

    @property
    def stats(self) -> pl.DataFrame | None:
        """What the operating system says of the files, as `StatIndex` compares it; null for files that changed."""

    def __len__(self) -> int:
        """The number of samples."""

    def __getitem__(self, rows: slice) -> Contents:
        """The bytes of some of the samples."""

    def read(self, row: int) -> bytes:
        """The bytes of a sample. Raises VolumeError if they cannot be read, or change meanwhile."""

    def extension(self, row: int) -> str:
        """The ending of the sample's file name in lower case without a dot, such as "jpg"; may be empty."""

    def name(self, row: int) -> str:
        """What the sample is called in messages."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive samples."""

    frame: pl.DataFrame  # `id` and metadata, without the columns that inspection adds
    contents: Contents | None = None  # of volumes whose samples have bytes


def inspect_nothing(_: bytes) -> dict[str, Any]:
    """The cells that inspection adds for samples of a kind without such columns."""
    return {}


@dataclass(frozen=True)
class SampleSource:
    """Samples to add to a volume, in a fixed order."""

    location: str
    kind: SampleKind
    columns: pl.Schema  # of the samples, `id` first, with those that `inspect` adds at the end
    id_origin: IdOrigin
    n_samples: int
    chunks: Callable[[], Iterator[Chunk]]  # of at most `CHUNK_ROWS` samples, read while they are iterated over
    inspect: Callable[[bytes], dict[str, Any]] = inspect_nothing  # cells from the bytes of a sample, None if damaged
    target: str = ""  # the column to predict, if the source names it
    texts: tuple[str, ...] = ()  # columns of texts, however short these are
    notes: tuple[str, ...] = ()  # what was guessed, dropped or converted, for the user
    format: TableFormat = DETECT_FORMAT  # how its table is written


def frame_chunks(frame: pl.DataFrame, contents: Contents | None = None) -> Callable[[], Iterator[Chunk]]:
    """The samples of a frame in memory in chunks."""

    def chunks() -> Iterator[Chunk]:
        for start in range(0, frame.height, CHUNK_ROWS):
            rows = slice(start, min(start + CHUNK_ROWS, frame.height))
            yield Chunk(frame[rows], None if contents is None else contents[rows])

    return chunks
