"""Predict rows with an ONNX graph; run as a script, with onnxruntime and NumPy alone."""

import sys

import numpy as np
import onnxruntime


def main(exported: str, rows: str, predictions: str) -> None:
    """Load a graph and the inputs of rows, and write the predictions."""
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    arrays = {name: array.astype(object) if array.dtype.kind == "U" else array for name, array in np.load(rows).items()}
    (out,) = session.run(None, arrays)
    np.save(predictions, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
