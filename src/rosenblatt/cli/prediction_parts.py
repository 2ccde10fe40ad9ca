"""The command `predict` on tables larger than memory: parts of the rows are predicted and written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rosenblatt.cli.options import make_reporter
from rosenblatt.cli.outputs import is_typed_format
from rosenblatt.errors import SpecError, StorageError, TableError, format_count

if TYPE_CHECKING:
    import polars as pl

    from rosenblatt.data.table import TableFormat
    from rosenblatt.models.model import Model

_SINKS: dict[str, Callable[[pl.LazyFrame, Path], object]] = {
    ".parquet": lambda table, path: table.sink_parquet(path),
    ".arrow": lambda table, path: table.sink_ipc(path),
    ".feather": lambda table, path: table.sink_ipc(path),
}


def predict_in_parts(
    model: Model,
    table: str,
    out: str | None,
    table_format: TableFormat,
    *,
    with_inputs: bool,
    threads: int | None,
    is_required: bool,
) -> bool:
    """Predict a table in parts; False if it is small or must be read at once.

    Raises SpecError if that is so, but parts were required.
    """
    from rosenblatt.workflows.predict_parts import MIN_STREAMED_BYTES, open_for_prediction, predict_parts

    parts = None
    if out and (is_required or Path(table).is_file()):
        min_bytes = 0 if is_required else MIN_STREAMED_BYTES
        parts = open_for_prediction(
            model, table, table_format, with_inputs=with_inputs, typed=is_typed_format(out), min_bytes=min_bytes
        )
    if parts is None or not out:
        if is_required:
            raise SpecError(
                "--stream needs --out and a table in Parquet, Arrow or delimited text in UTF-8, without images, series "
                "or text columns that are written by type. Remove --stream."
            )
        return False
    notify = make_reporter(True)
    notify(f"{table}: {format_count(parts.n_rows, 'row')}, {format_count(len(parts.columns), 'column')}, in parts")
    predictions = predict_parts(model, parts, with_inputs=with_inputs, notify=notify, threads=threads)
    with _progress(parts.n_rows) as advance:
        n_rows = write_parts((advance(part) for part in predictions), out)
    click.echo(f"predictions: {out} ({format_count(n_rows, 'row')})")
    return True


@contextmanager
def _progress(n_rows: int) -> Iterator[Callable[[pl.DataFrame], pl.DataFrame]]:
    """A progress bar on standard error, and a function that passes parts of a table on and counts their rows."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("predicting", total=n_rows)

        def advance(part: pl.DataFrame) -> pl.DataFrame:
            progress.advance(task, part.height)
            return part

        yield advance


def write_parts(parts: Iterator[pl.DataFrame], path: str) -> int:
    """Write the parts of a table to a file in the format of its name, and return the number of rows.

    The file gets its name at the end. Parts of a file with types are first written to a folder beside it.

    Raises TableError if the format cannot hold the table, StorageError if the file cannot be written, and what `parts`
    raises.
    """
    from polars.exceptions import PolarsError

    from rosenblatt.models.atomic_write import replace_file

    target = Path(path).resolve()
    suffix = target.suffix.lower() or ".csv"
    try:
        with (
            replace_file(target) as temporary,
            tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:40]}-") as folder,
        ):
            write = _write_typed_parts if suffix in _SINKS else _append_parts
            return write(parts, temporary, suffix, Path(folder))
    except PolarsError as error:
        raise TableError(f"{path!r} cannot be written: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise StorageError(f"{path!r} could not be written: {error.strerror or error}. Free some space.") from error


def _append_parts(parts: Iterator[pl.DataFrame], path: Path, suffix: str, _: Path) -> int:
    """Write lines of text, part after part."""
    n_rows = 0
    with path.open("wb") as file:
        for k, part in enumerate(parts):
            if suffix in (".jsonl", ".ndjson"):
                part.write_ndjson(file)
            else:
                part.write_csv(file, include_header=k == 0, separator="\t" if suffix == ".tsv" else ",")
            n_rows += part.height
    return n_rows


def _write_typed_parts(parts: Iterator[pl.DataFrame], path: Path, suffix: str, folder: Path) -> int:
    """Write a file for each part, and then all of them to one, which needs no more memory than one."""
    import polars as pl

    n_rows, files = 0, list[Path]()
    for part in parts:
        files.append(folder / f"{len(files):08}.parquet")
        part.write_parquet(files[-1], compression="lz4")
        n_rows += part.height
    _SINKS[suffix](pl.scan_parquet(files), path)
    return n_rows
