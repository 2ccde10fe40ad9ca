"""Predict rows with a SavedModel; run as a script, with TensorFlow and NumPy alone."""

import os
import sys

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf


def main(exported: str, rows: str, predictions: str) -> None:
    """Load a model and the inputs of rows, and write the predictions."""
    serve = tf.saved_model.load(exported).signatures["serving_default"]
    out = serve(**{name: tf.constant(array) for name, array in np.load(rows).items()})
    np.save(predictions, out["predictions"].numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
