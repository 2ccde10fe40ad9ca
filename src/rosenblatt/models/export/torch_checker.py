"""Predict rows with a program of torch.export; run as a script, with PyTorch and NumPy alone."""

import json
import sys

import numpy as np
import torch


def main(exported: str, rows: str, predictions: str) -> None:
    """Load a program and the inputs of rows, and write the predictions."""
    files = {"rosenblatt.json": ""}
    program = torch.export.load(exported, extra_files=files)
    signature = json.loads(files["rosenblatt.json"])
    arrays = dict(np.load(rows))
    if "categories" in arrays:
        arrays["categories"] = codes(signature["categories"], arrays["categories"])
    with torch.no_grad():
        out = program.module()(*(torch.from_numpy(array) for array in arrays.values()))
    np.save(predictions, out.numpy())


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
