"""Predict rows with a file of Keras; run as a script, with Keras and NumPy alone."""

import json
import os
import sys
import zipfile

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras


def main(exported: str, rows: str, predictions: str) -> None:
    """Load a model and the inputs of rows, and write the predictions."""
    model = keras.models.load_model(exported)
    with zipfile.ZipFile(exported) as archive:
        signature = json.loads(archive.read("rosenblatt.json"))
    arrays = dict(np.load(rows))
    if "categories" in arrays:
        arrays["categories"] = codes(signature["categories"], arrays["categories"])
    if "numbers" in arrays:
        numbers = arrays["numbers"]
        arrays["numbers"] = numbers.astype(np.float32)
        if "numbers_rest" in model.input:
            arrays["numbers_rest"] = (numbers - arrays["numbers"]).astype(np.float32)
    np.save(predictions, model.predict(arrays, verbose=0))


def codes(columns: list[dict[str, list[str]]], categories: np.ndarray) -> np.ndarray:
    """Codes of strings: their position among the categories, then one for missing cells and one for others."""
    out = np.empty(categories.shape, np.int64)
    for k, column in enumerate(columns):
        positions = {category: code for code, category in enumerate(column["categories"])}
        n = len(positions)
        out[:, k] = [n if not cell else positions.get(cell, n + 1) for cell in categories[:, k].tolist()]
    return out


if __name__ == "__main__":
    main(*sys.argv[1:])
