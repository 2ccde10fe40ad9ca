"""Check the output paths of a command before it starts, and write tables, scores and reports."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosenblatt.errors import Notify, SpecError, TableError

if TYPE_CHECKING:
    import polars as pl

    from rosenblatt.models.evaluation import Evaluation
    from rosenblatt.models.metadata import TestScore
    from rosenblatt.models.model import Model


def check_distinct_paths(outputs: Sequence[str | None], inputs: Sequence[str | None]) -> None:
    """Check that every output is another file than the inputs and the other outputs. Raises TableError."""
    others = [Path(name).resolve() for name in inputs if name]
    for path in [Path(output) for output in outputs if output]:
        if path.resolve() in others:
            raise TableError(f"{str(path)!r} is also another file of this command. Choose another name to write to.")
        others.append(path.resolve())


def check_output_paths(outputs: Sequence[str | None], inputs: Sequence[str | None]) -> None:
    """Check that every output can be written and overwrites no input, before the command starts.

    Raises:
        TableError: If an output cannot be written, or two paths are the same.
    """
    check_distinct_paths(outputs, inputs)
    for path in [Path(output) for output in outputs if output]:
        folder = path.parent
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
