"""Predict rows with the operators of a program of torch.export; run as a script, with PyTorch and NumPy alone.

`torch.export.load` would unpickle parts of the file and run its guards, which are Python code; here each operator,
which must be one of PyTorch's own, is called on arrays.
"""

import json
import sys
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch

PREFIX = "torch.ops.aten."
SKIPPED = "_assert_tensor_metadata"
DTYPES = {5: "<i8", 6: "<f2", 7: "<f4", 8: "<f8"}  # by their numbers in the file


def main(file: str, rows: str, predictions: str) -> None:
    """Call the operators of a program on rows, and write its output."""
    with ZipFile(file) as archive:
        root = archive.namelist()[0].split("/")[0]
        program = json.loads(archive.read(f"{root}/models/model.json"))["graph_module"]
        config = json.loads(archive.read(f"{root}/data/weights/model_weights_config.json"))["config"]
        weights = {name: tensor(archive.read(f"{root}/data/weights/{e['path_name']}"), e) for name, e in config.items()}
    results = dict[str, Any]()
    for spec in program["signature"]["input_specs"]:
        ((kind, content),) = spec.items()
        if kind == "user_input":
            results[content["arg"]["as_tensor"]["name"]] = torch.from_numpy(np.load(rows)["x"])
        else:
            results[content["arg"]["name"]] = weights[content[f"{kind}_name"]]
    with torch.no_grad():
        for node in program["graph"]["nodes"]:
            run(node, results)
    np.save(predictions, results[program["graph"]["outputs"][0]["as_tensor"]["name"]].numpy())


def tensor(content: bytes, entry: dict[str, Any]) -> torch.Tensor:
    """A parameter."""
    meta = entry["tensor_meta"]
    sizes = [size["as_int"] for size in meta["sizes"]]
    return torch.from_numpy(np.frombuffer(content, DTYPES[meta["dtype"]]).reshape(sizes).copy())


def run(node: dict[str, Any], results: dict[str, Any]) -> None:
    """Call the operator of a node."""
    name, _, overload = node["target"].removeprefix(PREFIX).partition(".")
    if not node["target"].startswith(PREFIX) or name == SKIPPED:
        return
    positional, named = [], {}
    for entry in node["inputs"]:
        ((kind, value),) = entry["arg"].items()
        value = results[value["name"]] if kind == "as_tensor" else None if kind == "as_none" else value
        if entry.get("kind") == 2:
            named[entry["name"]] = value
        else:
            positional.append(value)
    out = getattr(getattr(torch.ops.aten, name), overload)(*positional, **named)
    results[node["outputs"][0]["as_tensor"]["name"]] = out


if __name__ == "__main__":
    main(*sys.argv[1:])
