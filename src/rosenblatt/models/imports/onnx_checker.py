"""Predict rows with an ONNX graph of others; run as a script, with onnxruntime and NumPy alone."""

import sys

import numpy as np
import onnxruntime


def main(file: str, rows: str, predictions: str) -> None:
    """Load a graph and rows, and write its predictions."""
    arrays = np.load(rows)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    is_double = session.get_inputs()[0].type == "tensor(double)"
    x = arrays["x"].astype(np.float64 if is_double else np.float32)
    (out,) = session.run([str(arrays["output"])], {str(arrays["input"]): x})
    if isinstance(out, list):  # a ZipMap: a dictionary for each row
        out = [list(row.values()) for row in out]
    np.save(predictions, np.asarray(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
