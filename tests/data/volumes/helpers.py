"""Small volumes for tests."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from rosenblatt.data.volumes.add import AddOptions, AddResult, add
from rosenblatt.data.volumes.volume import Volume, volume


def add_frame(root: str, name: str, frame: pl.DataFrame, folder: Path, **options: object) -> AddResult:
    """Add a table to a volume of a root, by a Parquet file."""
    path = folder / "source.parquet"
    frame.write_parquet(path)
    return add_path(root, name, path, **options)


def add_path(root: str, name: str, path: Path, **options: object) -> AddResult:
    """Add a file or folder to a volume of a root, silently."""
    return add(f"{root}/{name}", str(path), AddOptions(**options), notify=lambda _: None)


def open_version(root: str, name: str) -> Volume:
    """Open a version of a volume of a root."""
    return volume(f"{root}/{name}")


def write_files(folder: Path, contents: dict[str, bytes]) -> Path:
    """Write files by their relative paths."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
