"""Methods of a model that give it to other frameworks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rosenblatt.models.export.keras_model import KerasModel
    from rosenblatt.models.export.onnx_model import OnnxModel
    from rosenblatt.models.export.signature import FittedModel
    from rosenblatt.models.export.torch_module import TorchModel


class ExportMethods:
    """A model that leaves as one of another framework; to files: `rosenblatt export`."""

    def to_torch(self: FittedModel) -> TorchModel:
        """The model as a module of PyTorch; see `torch_module.to_torch`. Raises ModuleNotFoundError without PyTorch."""
        from rosenblatt.models.export.torch_module import to_torch

        return to_torch(self)

    def to_onnx(self: FittedModel, path: str | Path | None = None) -> OnnxModel:
        """The model as an ONNX graph; see `onnx_model.to_onnx`. Raises ModuleNotFoundError without onnx."""
        from rosenblatt.models.export.onnx_model import to_onnx

        return to_onnx(self, path)

    def to_keras(self: FittedModel) -> KerasModel:
        """The model as one of Keras; see `keras_model.to_keras`. Raises ModuleNotFoundError without Keras."""
        from rosenblatt.models.export.keras_model import to_keras

        return to_keras(self)
