"""Read the content of a cell of an image column: bytes, the path of a file, or a sample of a volume."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

VOLUME_SCHEME = "volume-sample:"  # begins cells that name a sample of a volume
_VOLUME_READER = "rosenblatt.data.volumes.cells"  # imported when there is such a cell

Cell = str | bytes  # the path of a file, the name of a sample, or the content itself


def read_content(cell: Cell) -> bytes:
    """Return the content of a cell. Raises OSError if a file cannot be read, or an error of volumes."""
    if isinstance(cell, bytes):
        return cell
    if cell.startswith(VOLUME_SCHEME):
        return bytes(_volume_reader().read_cell(cell))
    return Path(cell).read_bytes()


def cell_name(cell: Cell) -> str:
    """The name of a content in messages."""
    if isinstance(cell, bytes):
        return f"an image of {len(cell):,} bytes"
    return str(_volume_reader().name_cell(cell)) if cell.startswith(VOLUME_SCHEME) else cell


def _volume_reader() -> Any:
    return import_module(_VOLUME_READER)
