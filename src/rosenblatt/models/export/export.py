"""Export a model to the format of a framework, and compare it with the original before the file gets its name."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from rosenblatt.errors import ExportError, StorageError
from rosenblatt.models.export.comparison import Comparison, compare
from rosenblatt.models.export.formats import Format
from rosenblatt.models.export.inputs import TypedRows, prepare_inputs
from rosenblatt.models.export.signature import FittedModel, Signature, read_signature


@dataclass(frozen=True)
class ExportResult:
    """An exported model."""

    path: Path
    signature: Signature
    comparison: Comparison
    bytes: int


def export_model(model: FittedModel, format_: Format, path: Path, rows: TypedRows) -> ExportResult:
    """Write a model to a file or folder that its framework loads without Rosenblatt.

    Args:
        model: the model.
        format_: the format.
        path: of the file, or of the folder, which must be new or empty; an existing file is replaced when the new one
            is complete.
        rows: typed rows, as `Schema.read` returns them, on which both are compared.

    Raises:
        ExportError: if the format lacks a part of the model, or predictions differ.
        StorageError: if the file cannot be written.
    """
    write = format_.load_writer()
    _check_target(path, format_)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:40]}-") as folder:
            written = Path(folder) / path.name
            signature = write(model, read_signature(model), written)
            inputs = prepare_inputs(signature, rows, channels_last=format_.channels_last)
            comparison = compare(format_.checker_path, written, inputs, model.predict_typed(rows), signature)
            _replace(written, path)
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
    return ExportResult(path, signature, comparison, _size(path))


def _check_target(path: Path, format_: Format) -> None:
    """Raise ExportError if a path has another suffix than the format, or holds something that must not be replaced."""
    if path.is_dir() and format_.suffix:
        raise ExportError(f"{str(path)!r} is a folder, but {format_.name} is a file. Choose another name.")
    if format_.suffix and path.suffix != format_.suffix:
        raise ExportError(f"Files of {format_.name} end with {format_.suffix}, but {str(path)!r} does not. Rename it.")
    if path.is_file() and not format_.suffix:
        raise ExportError(f"{str(path)!r} is a file, but {format_.name} is a folder. Choose another name.")
    if path.is_dir() and any(path.iterdir()):
        raise ExportError(f"The folder {str(path)!r} is not empty. Remove it, or choose another name.")


def _replace(written: Path, path: Path) -> None:
    """Give a complete file or folder its name."""
    if path.is_dir():
        path.replace(written.with_name("replaced"))  # removed with the temporary folder
    written.replace(path)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
