"""Predict rows with an exported Python file; run as a script, with NumPy alone."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np


def main(exported: str, rows: str, predictions: str) -> None:
    """Import a file, read the inputs of rows, and write the predictions."""
    spec = importlib.util.spec_from_file_location("exported", exported)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    arrays = dict(np.load(rows))
    categories = arrays.get("categories", np.empty((0, 0), str))
    columns = [column for column in module.MODEL["columns"] if "categories" in column]
    codes = [
        [module.category_code(column, cell) for cell in cells.tolist()]
        for column, cells in zip(columns, categories.T, strict=True)
    ]
    out = module.predict_arrays(module.MODEL["trials"], arrays.get("numbers"), np.array(codes, np.int64).T)
    np.save(predictions, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
