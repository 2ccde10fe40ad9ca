"""Check the output paths of a command before it starts, and encode tables in the format of the file name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from rosenblatt.errors import TableError

if TYPE_CHECKING:
    import polars as pl


def check_output_paths(outputs: Sequence[str | None], inputs: Sequence[str | None]) -> None:
    """Refuse a place that cannot be written to, or that holds what is read, before the long work, not after it.

    Raises TableError.
    """
    output_paths = [Path(output) for output in outputs if output]
    input_paths = [Path(name).resolve() for name in inputs if name]
    for i, path in enumerate(output_paths):
        folder = path.parent
        if path.resolve() in input_paths or path.resolve() in [other.resolve() for other in output_paths[:i]]:
            raise TableError(f"{str(path)!r} is needed for something else. Choose another name to write to.")
        if path.is_dir():
            raise TableError(f"{str(path)!r} is a folder, but a file to write to was expected. Add a file name.")
        if not folder.is_dir():
            raise TableError(
                f"There is no folder {str(folder)!r} to write {path.name!r} to. Make it first, or choose another."
            )
        if not os.access(folder, os.W_OK):
            raise TableError(
                f"The folder {str(folder)!r} cannot be written to. Choose another place for {path.name!r}."
            )


_WRITERS: dict[str, Callable[[pl.DataFrame, BytesIO], object]] = {
    ".csv": lambda frame, file: frame.write_csv(file),
    ".txt": lambda frame, file: frame.write_csv(file),
    ".tsv": lambda frame, file: frame.write_csv(file, separator="\t"),
    ".jsonl": lambda frame, file: frame.write_ndjson(file),
    ".ndjson": lambda frame, file: frame.write_ndjson(file),
    ".parquet": lambda frame, file: frame.write_parquet(file),
    ".arrow": lambda frame, file: frame.write_ipc(file),
    ".feather": lambda frame, file: frame.write_ipc(file),
}


def check_table_format(out: str | None) -> None:
    """Refuse a name whose ending asks for a format that is not written. Raises TableError."""
    suffix = Path(out or "").suffix.lower()
    if suffix and suffix not in _WRITERS:
        raise TableError(f"{out!r} asks for the format {suffix}, but {', '.join(_WRITERS)} are written.")


def encode_table(frame: pl.DataFrame, path: str) -> bytes:
    """A table in the format that the file's name asks for. Raises TableError where that cannot hold it."""
    from polars.exceptions import PolarsError

    buffer = BytesIO()
    try:
        _WRITERS[Path(path).suffix.lower() or ".csv"](frame, buffer)
    except PolarsError as error:
        raise TableError(f"{path!r} cannot hold this table ({error}). Write .jsonl or .parquet.") from error
    return buffer.getvalue()
