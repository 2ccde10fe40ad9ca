"""Check the output paths of a command before it starts, and write tables, scores and reports."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosenblatt.errors import Notify, SpecError, StorageError, TableError

if TYPE_CHECKING:
    import polars as pl

    from rosenblatt.models.evaluation import Evaluation
    from rosenblatt.models.metadata import TestScore
    from rosenblatt.models.model import Model


def check_output_paths(outputs: Sequence[str | None], inputs: Sequence[str | None]) -> None:
    """Check that every output can be written and overwrites no input, before the command starts.

    Raises:
        TableError: If an output cannot be written, or two paths are the same.
    """
    output_paths = [Path(output) for output in outputs if output]
    input_paths = [Path(name).resolve() for name in inputs if name]
    for i, path in enumerate(output_paths):
        folder = path.parent
        if path.resolve() in input_paths or path.resolve() in [other.resolve() for other in output_paths[:i]]:
            raise TableError(f"{str(path)!r} is also another file of this command. Choose another name to write to.")
        if path.is_dir():
            raise TableError(f"{str(path)!r} must be a file to write to, but it is a folder. Add a file name.")
        if not folder.is_dir():
            raise TableError(
                f"There is no folder {str(folder)!r} for {path.name!r}. Create it, or choose another folder."
            )
        if not os.access(folder, os.W_OK):
            raise TableError(f"You have no permission to write to the folder {str(folder)!r}. Choose another.")


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
_SINKS: dict[str, Callable[[pl.LazyFrame, Path], object]] = {
    ".parquet": lambda table, path: table.sink_parquet(path),
    ".arrow": lambda table, path: table.sink_ipc(path),
    ".feather": lambda table, path: table.sink_ipc(path),
}


def check_table_format(out: str | None) -> None:
    """Check that the file name asks for a format that can be written. Raises TableError."""
    suffix = Path(out or "").suffix.lower()
    if suffix and suffix not in _WRITERS:
        raise TableError(f"{out!r} must end in one of {', '.join(_WRITERS)}, but it ends in {suffix}. Rename it.")


def is_typed_format(out: str | None) -> bool:
    """Whether the format of a file name has types of columns, which text tables have not."""
    return Path(out or "").suffix.lower() in (".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")


def encode_table(frame: pl.DataFrame, path: str) -> bytes:
    """Encode a table in the format of the file name. Raises TableError if the format cannot hold the table."""
    from polars.exceptions import PolarsError

    buffer = BytesIO()
    try:
        _WRITERS[Path(path).suffix.lower() or ".csv"](frame, buffer)
    except PolarsError as error:
        raise TableError(f"{path!r} cannot hold this table ({error}). Write .jsonl or .parquet.") from error
    return buffer.getvalue()


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


def scores_to_json(model: Model, scores: Sequence[TestScore], fields: Mapping[str, Any]) -> str:
    """Return the scores of a model as JSON, with further fields."""
    from rosenblatt.models.evaluation import scores_to_dict

    result = {
        "task": model.target.task,
        "target": model.target.names,
        "scores": scores_to_dict(scores),
        "networks": len(model.networks),
    }
    metadata = model.metadata.to_json()
    names = ("rows", "test_rows", "seconds", "interrupted")
    return json.dumps(result | {name: metadata[name] for name in names if name in metadata} | dict(fields), indent=2)


def check_report_options(by: Sequence[str], report: str | None) -> None:
    """Raise SpecError for columns to group errors by without a report that shows them."""
    if by and not report:
        raise SpecError("--by groups the errors in a report, but there is none. Add --report FILE.html.")


def save_report(result: Evaluation, path: str | None, by: Sequence[str], notify: Notify) -> None:
    """Write the report of a fit or an evaluation, if a path is given, with errors by the groups of some columns."""
    if path:
        from rosenblatt.inspection.report import Report  # loads Matplotlib

        Report.from_fit(result, by).save(path)
        notify(f"report: {path}")
