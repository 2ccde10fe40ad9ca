"""Read a dense network from weights named layer by layer, such as the state of a Sequential of PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from rosenblatt.errors import ExportError, format_list
from rosenblatt.models.imports.files import check_size, reports_damage
from rosenblatt.models.imports.layers import Activation, FileContent, Layer, Linear, Normalization

BATCH_EPSILON = 1e-5  # of PyTorch; the file does not hold it
BUFFERS = ("num_batches_tracked",)
Tensors = dict[str, np.ndarray]


def read(path: Path, activation: str | None = None) -> FileContent:
    """Read a file of safetensors with an activation after each hidden layer, which the file does not hold.

    Raises ExportError if the file is damaged, names no layers, or `activation` is missing.
    """
    check_size(path)
    with reports_damage(path, "a file of safetensors"):
        try:
            with safe_open(path, framework="numpy") as file:
                if "rosenblatt" in (file.metadata() or {}):
                    raise ExportError(f"{str(path)!r} is a model of Rosenblatt already. Use it as it is.")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError as error:
            raise ValueError(error) from error
        layers = list(_read_layers(tensors))
    n_linear = sum(isinstance(layer, Linear) for layer in layers)
    if n_linear > 1 and activation is None:
        raise ExportError(
            f"The file holds the weights of {n_linear} layers, but not their activation. Name it (--activation relu)."
        )
    return FileContent(tuple(_with_activations(layers, activation or "identity")))


def _with_activations(layers: list[Layer], activation: str) -> Iterator[Layer]:
    """The layers, with an activation before all weighted sums but the first."""
    n_linear = 0
    for layer in layers:
        if isinstance(layer, Linear):
            if n_linear:
                yield Activation(activation)
            n_linear += 1
        yield layer


def _read_layers(tensors: Tensors) -> Iterator[Layer]:
    by_layer: dict[str, Tensors] = {}
    for name in sorted(tensors, key=_natural_key):
        layer, _, parameter = name.rpartition(".")
        if parameter not in BUFFERS:
            by_layer.setdefault(layer, {})[parameter] = np.asarray(tensors[name], np.float64)
    for name, values in by_layer.items():
        yield _read_layer(name, values)


def _read_layer(name: str, values: Tensors) -> Layer:
    if values.keys() <= {"weight", "bias"} and "weight" in values and values["weight"].ndim == 2:
        weight = values["weight"].T  # PyTorch stores (units, inputs)
        return Linear(weight, values.get("bias", np.zeros(weight.shape[1])))
    if values.keys() == {"weight", "bias", "running_mean", "running_var"} and values["weight"].ndim == 1:
        return Normalization(
            values["weight"], values["bias"], BATCH_EPSILON, values["running_mean"], values["running_var"]
        )
    raise ExportError(
        f"The layer {name!r} holds {format_list(values)}, which is no layer of a dense network. Expected weight "
        "(units, inputs) and bias, or those of a batch normalization."
    )


def _natural_key(name: str) -> list[tuple[int, int | str]]:
    """Order of names with numbers: 2.weight before 10.weight."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]
