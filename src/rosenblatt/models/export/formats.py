"""The formats to which models are exported.

To add one: a module with a function `write(model, path)` that writes the file or folder, named in `FORMATS`, and a
script that loads it with nothing but its framework (see `comparison.compare`).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rosenblatt.errors import ExportError, did_you_mean

if TYPE_CHECKING:
    from rosenblatt.models.export.signature import FittedModel, Signature

Write = Callable[["FittedModel", "Signature", Path], "Signature"]
"""Write a model with this signature to a file or folder, and return the signature of what was written.

Raises ExportError for what the format lacks."""


class Format(NamedTuple):
    """A format to which models are exported."""

    name: str
    suffix: str  # of its files; empty for a folder
    module: str  # below rosenblatt.models.export
    checker: str  # script beside it
    requires: tuple[str, ...]  # packages
    extra: str  # of Rosenblatt, which installs them
    summary: str
    channels_last: bool = False  # order of the axes of images

    @property
    def checker_path(self) -> Path:
        """The script that loads an exported model."""
        return Path(__file__).with_name(f"{self.checker}.py")

    def load_writer(self) -> Write:
        """Import the module of the format. Raises ExportError if a package is missing."""
        missing = [name for name in self.requires if find_spec(name) is None]
        if missing:
            raise ExportError(
                f"The format {self.name} needs the package {missing[0]}. Install it with pip install "
                f"'rosenblatt[{self.extra}]'."
            )
        write: Write = import_module(f"rosenblatt.models.export.{self.module}").write
        return write


FORMATS = {
    format_.name: format_
    for format_ in (
        Format("torch", ".pt2", "torch_file", "torch_checker", ("torch",), "torch",
               "a program of torch.export, which PyTorch loads without Rosenblatt"),
        Format("onnx", ".onnx", "onnx_model", "onnx_checker", ("onnx", "onnxruntime"), "onnx",
               "a graph of ONNX, which onnxruntime and others run"),
        Format("keras", ".keras", "keras_file", "keras_checker", ("keras",), "keras",
               "a model that Keras 3 loads on TensorFlow, JAX and PyTorch", channels_last=True),
        Format("tensorflow", "", "tensorflow_folder", "tensorflow_checker", ("tensorflow", "keras"), "tensorflow",
               "a SavedModel for TensorFlow and TensorFlow Serving", channels_last=True),
        Format("python", ".py", "python_file", "python_checker", (), "",
               "a Python file that needs NumPy only"),
        Format("safetensors", "", "safetensors_folder", "safetensors_checker", (), "",
               "weights with a description in JSON, from which any program rebuilds the networks"),
        Format("huggingface", "", "huggingface_folder", "safetensors_checker", ("huggingface_hub",), "huggingface",
               "a folder for the Hugging Face Hub, with a model card"),
    )
}  # fmt: skip


def find_format(name: str) -> Format:
    """The format of a name. Raises ExportError for others."""
    if name not in FORMATS:
        raise ExportError(
            f"There is no format {name!r}. Choose one of {', '.join(FORMATS)}.{did_you_mean(name, FORMATS)}"
        )
    return FORMATS[name]
