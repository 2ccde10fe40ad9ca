"""The formats from which dense networks are imported, by the suffixes of their files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from rosenblatt.errors import ExportError
from rosenblatt.models.imports.layers import FileContent

PICKLED = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin")


class ImportFormat(NamedTuple):
    """A format from which networks are imported."""

    suffix: str
    module: str  # below rosenblatt.models.imports, with a function `read(path)`
    checker: str  # script beside it, which predicts with the framework
    requires: tuple[str, ...]  # packages that read the file, and predict with it
    install: str  # what installs these
    summary: str

    @property
    def checker_path(self) -> Path:
        """The script that predicts with the framework."""
        return Path(__file__).with_name(f"{self.checker}.py")

    def load_reader(self) -> Callable[..., FileContent]:
        """Import the module of the format. Raises ExportError if a package is missing."""
        missing = [name for name in self.requires if find_spec(name) is None]
        if missing:
            raise ExportError(
                f"Files of {self.summary} need the package {missing[0]}. Install it with pip install {self.install}."
            )
        return import_module(f"rosenblatt.models.imports.{self.module}").read


FORMATS = {
    format_.suffix: format_
    for format_ in (
        ImportFormat(".onnx", "onnx_reader", "onnx_checker", ("onnx", "onnxruntime"), "'rosenblatt[onnx]'", "ONNX"),
        ImportFormat(".pt2", "torch_program", "torch_checker", ("torch",), "'rosenblatt[torch]'", "torch.export"),
        ImportFormat(".keras", "keras_reader", "keras_checker", ("h5py", "keras"), "keras 'rosenblatt[imports]'",
                     "Keras 3"),
        ImportFormat(".skops", "sklearn_reader", "sklearn_checker", ("skops",), "'rosenblatt[imports]'",
                     "scikit-learn, by skops"),
        ImportFormat(".safetensors", "safetensors_reader", "torch_state_checker", ("torch",), "'rosenblatt[torch]'",
                     "safetensors"),
    )
}  # fmt: skip


def find_format(path: Path) -> ImportFormat:
    """The format of a file, by its suffix. Raises ExportError for others, and for files that run code."""
    suffix = path.suffix.lower()
    if suffix in PICKLED:
        raise ExportError(
            f"Files with the suffix {suffix} are pickled, and pickle runs code of the file, so they are not read. Save "
            "a module of PyTorch with torch.export, weights as safetensors, an estimator of scikit-learn with skops."
        )
    if suffix == ".h5":
        raise ExportError("Files of Keras 2 are not read. Load the model with Keras 3, and save it as .keras.")
    if suffix not in FORMATS:
        formats = ", ".join(f"{format_.suffix} ({format_.summary})" for format_ in FORMATS.values())
        raise ExportError(f"{path.name!r} has an unknown suffix. Expected one of {formats}.")
    return FORMATS[suffix]
