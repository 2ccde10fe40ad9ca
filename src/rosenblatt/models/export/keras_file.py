"""A model as a file of Keras (.keras), which Keras loads without Rosenblatt on each of its backends."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosenblatt.errors import ExportError, format_list
from rosenblatt.models.export.single_precision import REST

if TYPE_CHECKING:
    from rosenblatt.models.export.signature import FittedModel, Signature

SIGNATURE_FILE = "rosenblatt.json"  # in the file: the signature


def write(model: FittedModel, signature: Signature, path: Path) -> Signature:
    """Write a functional model of Keras to a file. Raises ExportError if its backend is not installed."""
    build = load_builder()
    from rosenblatt.models.export.keras_model import columns_with_rest

    if columns := columns_with_rest(model, signature):
        sentence = (
            f"float32 is too coarse for {format_list(columns)}: give numbers rounded to float32 as `numbers`, and what "
            f"is left of them as `{REST}`."
        )
        signature = replace(signature, boundaries=(*signature.boundaries, sentence))
    build(model).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(SIGNATURE_FILE, json.dumps(signature.to_json()))
    return signature


def load_builder(backend: str = "") -> Callable[[FittedModel], Any]:
    """Import `to_keras`. Raises ExportError if the backend of Keras is not installed, or not the given one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reports on the processor otherwise
    if backend and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
    try:
        import keras

        from rosenblatt.models.export.keras_model import to_keras
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise ExportError(
            f"Keras needs the package {package} as its backend. Install it, or set the environment variable "
            "KERAS_BACKEND to an installed one of tensorflow, jax and torch."
        ) from error
    if backend not in ("", keras.backend.backend()):
        raise ExportError(
            f"This format needs the backend {backend} of Keras, but Keras runs on {keras.backend.backend()} in this "
            f"process. Set the environment variable KERAS_BACKEND to {backend}."
        )
    return to_keras
