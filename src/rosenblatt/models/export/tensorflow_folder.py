"""A model as a SavedModel of TensorFlow (a folder), which TensorFlow and TensorFlow Serving load without Rosenblatt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rosenblatt.models.export.keras_file import load_builder

if TYPE_CHECKING:
    from rosenblatt.models.export.signature import FittedModel, Signature

SIGNATURE_FILE = "assets.extra/rosenblatt.json"  # in the folder: the signature


def write(model: FittedModel, signature: Signature, path: Path) -> Signature:
    """Write a SavedModel whose signature `serving_default` takes the tensors by name, categories as strings.

    Raises ExportError if Keras runs on another backend than TensorFlow in this process.
    """
    to_keras = load_builder("tensorflow")
    import tensorflow as tf

    from rosenblatt.models.export.tensorflow_module import ServedModel

    served = ServedModel(to_keras(model), signature)
    tf.saved_model.save(served, str(path), signatures=served.serve)
    file = path / SIGNATURE_FILE
    file.parent.mkdir()
    file.write_text(json.dumps(signature.to_json()), encoding="utf-8")
    return signature
