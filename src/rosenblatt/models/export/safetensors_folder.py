"""A model as a folder of weights in safetensors and their description in JSON, from which any program rebuilds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from rosenblatt.models.export.network_tree import Tree, make_network_tree
from rosenblatt.models.export.signature import FittedModel, Signature

FORMAT_NAME, FORMAT_VERSION = "rosenblatt", 1
WEIGHTS_FILE, DESCRIPTION_FILE = "model.safetensors", "config.json"


def write(model: FittedModel, signature: Signature, path: Path) -> Signature:
    """Write the folder."""
    path.mkdir()
    tensors, tree = split_arrays(make_network_tree(model, signature))
    save_file(tensors, path / WEIGHTS_FILE, metadata={"format": "np"})
    description = {"format": FORMAT_NAME, "version": FORMAT_VERSION, "signature": signature.to_json(), **tree}
    (path / DESCRIPTION_FILE).write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return signature


def split_arrays(tree: Tree) -> tuple[dict[str, np.ndarray], Tree]:
    """The arrays of a tree by name, and the tree with {"tensor": name} in their place.

    A name is the path in the tree, such as `trials.0.networks.0.layers.0.weight`.
    """
    tensors: dict[str, np.ndarray] = {}

    def split(node: Any, path: tuple[str, ...]) -> Any:
        if isinstance(node, dict):
            return {key: split(value, (*path, key)) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [split(value, (*path, str(index))) for index, value in enumerate(node)]
        if not isinstance(node, np.ndarray):
            return node
        name = ".".join(path)
        tensors[name] = np.ascontiguousarray(node)
        return {"tensor": name}

    return tensors, split(tree, ())
