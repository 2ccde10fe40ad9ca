"""Read the contents of image columns, whose cells are bytes, paths of files, or samples of a volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

VOLUME_SCHEME = "volume-sample:"  # begins cells that name a sample of a volume
_VOLUME_READER = "rosenblatt.data.volumes.cells"  # imported when there is such a cell

Cell = str | bytes  # the path of a file, the name of a sample, or the content itself


class Blocks(NamedTuple):
    """Which contents are stored together, so that they are best read together."""

    numbers: np.ndarray  # (n,) int32: the block of each row
    n_bytes: np.ndarray  # (blocks,) int64: what is read of each block, at most


class Reading(Protocol):
    """Reads contents in one pass over batches of rows."""

    def read(self, row: int) -> bytes | memoryview:
        """Return the content of a row. Raises OSError if a file cannot be read, or an error of volumes."""

    def finish(self, batch: int) -> None:
        """Let go of what no later batch needs."""


class Contents(Protocol):
    """The contents of the cells of a column."""

    @property
    def blocks(self) -> Blocks | None:
        """Which are stored together; None if the order in which they are read does not matter."""

    def damaged(self) -> dict[int, str] | None:
        """Why contents cannot be read, by row, as far as it is known without reading them; None if it is not known."""

    def reading(self, batches: Sequence[np.ndarray]) -> AbstractContextManager[Reading]:
        """Begin to read batches of rows in order, ahead of their use."""


@dataclass(frozen=True)
class CellContents:
    """Contents that are read one by one."""

    cells: Sequence[Cell]
    blocks = None

    def damaged(self) -> None:
        """It is not known which contents cannot be read."""

    @contextmanager
    def reading(self, batches: Sequence[np.ndarray]) -> Iterator[Reading]:  # noqa: ARG002 - for other contents
        """Read rows when they are needed."""
        yield self

    def read(self, row: int) -> bytes:
        """Return the content of a row. Raises as `read_content`."""
        return read_content(self.cells[row])

    def finish(self, batch: int) -> None:
        """There is nothing to let go of."""


def open_contents(cells: Sequence[Cell]) -> Contents:
    """Open the contents of the cells of a column."""
    if cells and is_sample(cells[0]):
        contents: Contents | None = _volume_reader().open_contents(cells)
        if contents is not None:
            return contents
    return CellContents(cells)


def is_sample(cell: Cell) -> bool:
    """Whether a cell names a sample of a volume."""
    return isinstance(cell, str) and cell.startswith(VOLUME_SCHEME)


def is_readable_anywhere(cell: Cell) -> bool:
    """Whether other machines can read a cell: samples of volumes that are not in a folder."""
    return is_sample(cell) and bool(_volume_reader().is_remote(cell))


def read_content(cell: Cell) -> bytes:
    """Return the content of a cell. Raises OSError if a file cannot be read, or an error of volumes."""
    if isinstance(cell, bytes):
        return cell
    return bytes(_volume_reader().read_cell(cell)) if is_sample(cell) else Path(cell).read_bytes()


def hash_content(cell: Cell, hash_bytes: Callable[[bytes], bytes]) -> bytes:
    """Hash the content of a cell; that of a sample of a volume is known, so that nothing is read."""
    return cast("bytes", _volume_reader().cell_hash(cell)) if is_sample(cell) else hash_bytes(read_content(cell))


def cell_name(cell: Cell) -> str:
    """The name of a content in messages."""
    if isinstance(cell, bytes):
        return f"an image of {len(cell):,} bytes"
    return str(_volume_reader().name_cell(cell)) if is_sample(cell) else cell


def _volume_reader() -> Any:
    return import_module(_VOLUME_READER)
