"""Predict rows with an exported folder of weights; run as a script, with safetensors and NumPy alone.

It is a complete reader of the format that docs/export.md describes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parent))
from numpy_network import ACTIVATIONS, decode, dense_logits, encode_features, normalize, sigmoid  # type: ignore[import-not-found]


def main(exported: str, rows: str, predictions: str) -> None:
    """Load the weights and the inputs of rows, and write the predictions."""
    np.save(predictions, predict(read_folder(exported), dict(np.load(rows))))


def read_folder(folder: str | Path) -> dict[str, Any]:
    """The description of config.json, with the arrays in place of their names."""
    tensors = load_file(Path(folder, "model.safetensors"))

    def fill(node: Any) -> Any:
        if isinstance(node, list):
            return [fill(item) for item in node]
        if not isinstance(node, dict):
            return node
        return tensors[node["tensor"]] if node.keys() == {"tensor"} else {key: fill(node[key]) for key in node}

    return fill(json.loads(Path(folder, "config.json").read_text("utf-8")))


def predict(model: dict[str, Any], inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The predictions (n, K), or (n, T, K) for models that predict each step."""
    codes = category_codes(model["signature"]["categories"], inputs.get("categories"))
    total: Any = 0.0
    for trial in model["trials"]:
        x = None
        if len(trial["features"]["order"]) or trial["features"]["is_identity"]:
            x = encode_features(trial["features"], inputs.get("numbers"), codes)
        outputs = [decode(trial["decoding"], logits(network, x, inputs)) for network in trial["networks"]]
        total = total + trial["weight"] * sum(outputs) / len(outputs)
    return total


def category_codes(columns: list[dict[str, Any]], cells: np.ndarray | None) -> np.ndarray:
    """Codes (n, C) of strings: their position among the categories, then one for missing cells and one for others."""
    if cells is None:
        return np.empty((0, 0), np.int64)
    codes = np.empty(cells.shape, np.int64)
    for k, column in enumerate(columns):
        positions = {category: code for code, category in enumerate(column["categories"])}
        n = len(positions)
        codes[:, k] = [n if not cell else positions.get(cell, n + 1) for cell in cells[:, k].tolist()]
    return codes


def logits(network: dict[str, Any], x: np.ndarray | None, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The logits of a network for features x (n, F) and the inputs of its towers."""
    if network["kind"] != "towers":
        return dense_logits(network, x)
    out = tower_logits(network, x, inputs, flip=False)
    return (out + tower_logits(network, x, inputs, flip=True)) / 2 if network["flip_averaging"] else out


def tower_logits(
    network: dict[str, Any], x: np.ndarray | None, inputs: dict[str, np.ndarray], *, flip: bool
) -> np.ndarray:
    """The logits of the dense head over the outputs of all towers and the features; `flip` mirrors images."""
    outputs = []
    for tower in network["towers"]:
        a, lengths = inputs[tower["input"]], inputs.get(tower["lengths"])
        outputs.append(run_tower(tower, a[..., ::-1] if flip and tower["kind"] == "image" else a, lengths))
    if x is not None:
        steps = outputs[0].shape[1]
        outputs.append(np.repeat(x[:, None], steps, axis=1) if network["is_per_step"] else x)
    return dense_logits(network["head"], np.concatenate(outputs, axis=-1))


def run_tower(tower: dict[str, Any], a: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """The output of a tower: images (n, channels, H, W), sequences (n, T, channels) or tokens (n, T) to vectors."""
    n_steps = a.shape[1]
    if lengths is None:
        a = (a - tower["center"][:, None, None]) * tower["factor"][:, None, None]
    else:
        is_padding = np.arange(a.shape[1]) >= lengths[:, None]
        if tower["kind"] == "sequence":
            a = (a - tower["center"]) * tower["factor"]
            a = np.where(np.isnan(a) | is_padding[..., None], 0.0, a)
        else:
            a = np.where(is_padding, 0, a)
    for layer in tower["layers"]:
        if layer["layer"] == "global_pooling":
            a = pool_all(layer, a, lengths, n_steps)
        elif layer["layer"] == "recurrent":
            a = recurrent_layer(layer, a, lengths)
        elif layer["layer"] == "embedding":
            a = layer["weight"][a]
        elif layer["layer"] == "layer_norm":
            a = normalize(layer, a)
        elif layer["layer"] == "per_channel_mlp":
            a = per_channel_mlp(layer, a)
        elif lengths is None or a.ndim == 4:
            a = pixel_layer(layer, a)
        else:  # the first convolution over steps, which are pixels of an image of width 1
            a = pixel_layer(layer, a.transpose(0, 2, 1)[..., None])
    return a


def pixel_layer(layer: dict[str, Any], a: np.ndarray) -> np.ndarray:
    """A layer over pixels (n, channels, H, W)."""
    if layer["layer"] == "convolution":
        return convolution(layer, a)
    if layer["layer"] == "channel_norm":
        return channel_norm(layer, a)
    if layer["layer"] == "activation":
        return ACTIVATIONS[layer["activation"]](a)
    if layer["layer"] == "pooling":
        return pooling(layer, a)
    out = a
    for part in layer["body"]:
        out = pixel_layer(part, out)
    return out + (a if layer["shortcut"] is None else convolution(layer["shortcut"], a))


def convolution(layer: dict[str, Any], a: np.ndarray) -> np.ndarray:
    """A convolution with `same` padding; an even kernel pads one pixel more at the end."""
    weight, dilation, groups = layer["weight"].astype(np.float64), layer["dilation"], layer["groups"]
    reach = [dilation * (size - 1) for size in weight.shape[2:]]
    padded = np.pad(a, [(0, 0), (0, 0), *((n // 2, n - n // 2) for n in reach)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, [n + 1 for n in reach], axis=(2, 3))
    windows = windows[:, :, :: layer["stride"][0], :: layer["stride"][1], ::dilation, ::dilation]
    blocks = zip(np.split(windows, groups, axis=1), np.split(weight, groups), strict=True)
    out = np.concatenate([np.einsum("nchwij,ocij->nohw", block, part) for block, part in blocks], axis=1)
    return out + layer["bias"][:, None, None] if "bias" in layer else out


def channel_norm(layer: dict[str, Any], a: np.ndarray) -> np.ndarray:
    """Batch, layer or group normalization of channels."""
    if layer["kind"] == "batch":
        mean, variance = layer["mean"][:, None, None], layer["variance"][:, None, None]
    else:
        n, channels = a.shape[:2]
        groups = a.reshape(n, layer["groups"], -1)
        shape, repeats = (n, layer["groups"], 1, 1), channels // layer["groups"]
        mean = np.repeat(groups.mean(axis=2).reshape(shape), repeats, axis=1)
        variance = np.repeat(groups.var(axis=2).reshape(shape), repeats, axis=1)
    z = (a - mean) / np.sqrt(variance + layer["epsilon"])
    return z * layer["gain"][:, None, None] + layer["shift"][:, None, None]


def pooling(layer: dict[str, Any], a: np.ndarray) -> np.ndarray:
    """Maximum or mean over windows; a side that is smaller than the window stays."""
    n, channels, height, width = a.shape
    rows, columns = min(layer["size"][0], height), min(layer["size"][1], width)
    a = a[:, :, : height // rows * rows, : width // columns * columns]
    windows = a.reshape(n, channels, height // rows, rows, width // columns, columns)
    return windows.max(axis=(3, 5)) if layer["kind"] == "max" else windows.mean(axis=(3, 5))


def pool_all(layer: dict[str, Any], a: np.ndarray, lengths: np.ndarray | None, n_steps: int) -> np.ndarray:
    """All pixels or steps as one vector: last, mean, max, flatten or attention; `n_steps` are those of the input."""
    if lengths is None:
        if layer["kind"] == "flatten":
            return a.reshape(len(a), -1)
        return a.max(axis=(2, 3)) if layer["kind"] == "max" else a.mean(axis=(2, 3))
    if a.ndim == 4:  # after convolutions
        lengths = np.maximum(np.ceil(lengths / n_steps * a.shape[2]), 1).astype(int)
        a = a[..., 0].transpose(0, 2, 1)
    if layer["kind"] == "last":
        last, half = a[np.arange(len(a)), lengths - 1], a.shape[2] // 2
        return np.concatenate([last[:, :half], a[:, 0, half:]], axis=1) if layer["is_bidirectional"] else last
    mask = (np.arange(a.shape[1]) < lengths[:, None])[..., None]
    if layer["kind"] == "max":
        return np.where(mask, a, -np.inf).max(axis=1)
    if layer["kind"] == "mean":
        return (a * mask).sum(axis=1) / lengths[:, None]
    scores = np.where(mask, np.tanh(a) @ layer["weight"].astype(np.float64), -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True) * a).sum(axis=1)


def recurrent_layer(layer: dict[str, Any], a: np.ndarray, lengths: Any) -> np.ndarray:
    """A recurrent layer (n, T, units); the backward direction reads each sequence from its own end."""
    forward, *backward = layer["directions"]
    outputs = [run_cell(layer["cell"], forward, a)]
    outputs += [reverse(run_cell(layer["cell"], values, reverse(a, lengths)), lengths) for values in backward]
    return np.concatenate(outputs, axis=2)


def reverse(a: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Sequences (n, T, C) reversed within their lengths; the padding stays in place."""
    steps = np.arange(a.shape[1])
    source = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return np.take_along_axis(a, source[..., None], axis=1)


def run_cell(cell: str, values: dict[str, Any], a: np.ndarray) -> np.ndarray:
    """The outputs of all steps of a recurrent cell; gates are in the order of PyTorch."""
    weight, recurrent = values["weight"].T.astype(np.float64), values["recurrent_weight"].T.astype(np.float64)
    h = c = np.zeros((len(a), len(recurrent)))
    outputs = []
    for t in range(a.shape[1]):
        z, r = a[:, t] @ weight + values["bias"], h @ recurrent + values["recurrent_bias"]
        if cell == "elman":
            h = np.tanh(z + r)
        elif cell == "gru":
            (reset, update, new), (r_reset, r_update, r_new) = np.split(z, 3, axis=1), np.split(r, 3, axis=1)
            update = sigmoid(update + r_update)
            h = (1 - update) * np.tanh(new + sigmoid(reset + r_reset) * r_new) + update * h
        else:
            enter, forget, new, leave = np.split(z + r, 4, axis=1)
            c = sigmoid(forget) * c + sigmoid(enter) * np.tanh(new)
            h = sigmoid(leave) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def per_channel_mlp(layer: dict[str, Any], a: np.ndarray) -> np.ndarray:
    """A multilayer perceptron for each channel of an image: (n, channels * units)."""
    a = a.reshape(*a.shape[:2], -1).transpose(1, 0, 2)
    for values in layer["layers"]:
        z = a @ values["weight"].astype(np.float64) + values["bias"][:, None]
        a = ACTIVATIONS[layer["activation"]](z)
    return a.transpose(1, 0, 2).reshape(a.shape[1], -1)


if __name__ == "__main__":
    main(*sys.argv[1:])
