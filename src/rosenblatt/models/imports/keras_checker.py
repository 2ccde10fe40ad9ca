"""Predict rows with a file of Keras, whose configuration was checked before; run as a script, with Keras alone."""

import os
import sys
from importlib.util import find_spec

import numpy as np

BACKENDS = ("torch", "jax", "tensorflow")
os.environ["KERAS_BACKEND"] = next((name for name in BACKENDS if find_spec(name)), "tensorflow")


def main(file: str, rows: str, predictions: str) -> None:
    """Load a model and rows, and write its predictions."""
    import keras  # after its backend is chosen

    model = keras.saving.load_model(file, compile=False, safe_mode=True)
    np.save(predictions, model.predict(np.load(rows)["x"], verbose=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
