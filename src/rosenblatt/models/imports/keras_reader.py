"""Read a dense network from a file of Keras 3 (.keras): its JSON and its arrays; nothing is built or run."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt.errors import ExportError
from rosenblatt.models.imports.files import as_vector, open_archive, read_json
from rosenblatt.models.imports.layers import Activation, FileContent, Layer, Linear, Normalization, Scaling

ACTIVATIONS = {
    "linear": "identity", "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "elu": "elu", "selu": "selu",
    "gelu": "gelu", "silu": "silu", "swish": "silu", "mish": "mish", "softplus": "softplus", "softmax": "softmax",
    "log_softmax": "log_softmax",
}  # fmt: skip
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
SNAKE_CASE = {  # groups in the file of weights
    "Dense": "dense", "BatchNormalization": "batch_normalization", "LayerNormalization": "layer_normalization",
    "Normalization": "normalization", "PReLU": "p_re_lu",
}  # fmt: skip
WITHOUT_WEIGHTS = ("InputLayer", "Dropout", "Flatten", "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax")
LAYERS = (*SNAKE_CASE, *WITHOUT_WEIGHTS)
MODELS = ("Sequential", "Functional", "Model")
MODULES: dict[str, tuple[str, ...]] = {  # of objects in a configuration, and their classes; empty for all
    "keras": ("DTypePolicy", *MODELS), "keras.models": MODELS, "keras.src.models.functional": MODELS,
    "keras.src.models.sequential": MODELS, "keras.layers": LAYERS, "keras.initializers": (), "keras.regularizers": (),
    "keras.constraints": (), "keras.optimizers": (), "keras.losses": (), "keras.metrics": (),
}  # fmt: skip


def read(path: Path) -> FileContent:
    """Read a file of Keras. Raises ExportError if it is damaged, or no dense network."""
    import h5py

    with open_archive(path, "a file of Keras 3") as archive:
        layers = _layer_configs(read_json(archive, CONFIG))
        with h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r") as weights:
            return FileContent(tuple(_read_layers(layers, weights)))


def _layer_configs(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers in order. Raises ExportError for the first that no dense network has."""
    if config.get("class_name") not in MODELS or config.get("registered_name") not in (None, *MODELS):
        raise _refusal(str(config.get("class_name")), "it is no Sequential or functional model")
    layers = config["config"]["layers"]
    for layer in layers:
        if layer["class_name"] not in LAYERS or layer.get("registered_name") or layer["module"] != "keras.layers":
            raise _refusal(layer["class_name"])
        activation = layer["config"].get("activation")
        if activation is not None and (not isinstance(activation, str) or activation not in ACTIVATIONS):
            raise _refusal(layer["class_name"], f"its activation is {activation!r}")
    _check_objects(config)
    if config["class_name"] != "Sequential":
        _check_chain(config["config"])
    return [layer for layer in layers if layer["class_name"] != "InputLayer"]


def _check_objects(value: Any) -> None:
    """Raise ExportError for objects that Keras would import and call, other than those of dense networks."""
    if isinstance(value, dict):
        if "class_name" in value and "module" in value:
            module, name = str(value["module"]), value["class_name"]
            if module not in MODULES or (MODULES[module] and name not in MODULES[module]):
                raise _refusal(f"{module}.{name}", "it is code that is not run")
        for part in value.values():
            _check_objects(part)
    elif isinstance(value, list):
        for part in value:
            _check_objects(part)


def _check_chain(config: dict[str, Any]) -> None:
    """Raise ExportError unless each layer of a functional model follows the one before it."""
    previous = None
    for layer in config["layers"]:
        nodes = layer["inbound_nodes"]
        sources = [t["config"]["keras_history"][0] for node in nodes for t in _tensors(node["args"])]
        if sources != ([] if previous is None else [previous]):
            raise _refusal(layer["class_name"], f"{layer['name']!r} has other inputs than the layer before it")
        previous = layer["name"]


def _tensors(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _tensors(part)


def _read_layers(layers: list[dict[str, Any]], weights: Any) -> Iterator[Layer]:
    counts: dict[str, int] = {}
    for layer in layers:
        name, config = layer["class_name"], layer["config"]
        arrays = list[np.ndarray]()
        if name in SNAKE_CASE:
            group = SNAKE_CASE[name]
            number = counts.get(group, 0)
            counts[group] = number + 1
            arrays = _arrays(weights, f"layers/{group}{f'_{number}' if number else ''}/vars")
            yield _WITH_WEIGHTS[name](config, arrays)
        elif name not in ("Dropout", "Flatten"):
            yield _activation_layer(name, config)
        if name == "Dense" and config["activation"] is not None:
            yield Activation(ACTIVATIONS[config["activation"]])


def _arrays(weights: Any, name: str) -> list[np.ndarray]:
    """The arrays of a layer, in order; links to other files are not followed."""
    group, arrays = weights, list[np.ndarray]()
    for part in name.split("/"):
        group = _follow(group, part)
    for k in range(len(group)):
        dataset = _follow(group, str(k))
        if dataset.external or dataset.is_virtual or dataset.dtype.kind not in "fi":
            raise ValueError(f"{name}/{k} is no array of numbers of this file")
        if dataset.nbytes > max(dataset.id.get_storage_size() * 1100, 2**16):  # beyond what compression reaches
            raise ValueError(f"{name}/{k} is larger than what is stored of it")
        arrays.append(np.asarray(dataset[()], np.float64))
    return arrays


def _follow(group: Any, name: str) -> Any:
    """A member of a group of the file itself."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise LookupError(f"{group.name}/{name} is missing, or a link")  # noqa: TRY004 - a damaged file
    return group[name]


def _dense(config: dict[str, Any], arrays: list[np.ndarray]) -> Layer:
    weight = arrays[0]
    if weight.ndim != 2 or len(arrays) != 1 + bool(config["use_bias"]):
        raise _refusal("Dense", "its weights are no matrix and vector, such as those of a quantized layer")
    return Linear(weight, arrays[1] if config["use_bias"] else np.zeros(weight.shape[1]))


def _normalization(config: dict[str, Any], arrays: list[np.ndarray]) -> Layer:
    """Normalization of the inputs: (x - mean) / std, with a std of at least the epsilon of Keras."""
    if config.get("invert"):
        raise _refusal("Normalization", "it is inverted")
    if config["mean"] is None:
        mean, variance = as_vector(arrays[0]), as_vector(arrays[1])
    else:
        mean, variance = (as_vector(np.asarray(config[name], np.float64)) for name in ("mean", "variance"))
    factor = 1 / np.maximum(np.sqrt(variance), 1e-7)
    return Scaling(factor, -mean * factor)


def _batch_normalization(config: dict[str, Any], arrays: list[np.ndarray]) -> Layer:
    *trained, mean, variance = map(as_vector, arrays)
    gain, shift = _gain_and_shift(config, trained, mean.size)
    return Normalization(gain, shift, float(config["epsilon"]), mean, variance)


def _layer_normalization(config: dict[str, Any], arrays: list[np.ndarray]) -> Layer:
    gain, shift = _gain_and_shift(config, [as_vector(a) for a in arrays], max(a.size for a in arrays))
    return Normalization(gain, shift, float(config["epsilon"]))


def _gain_and_shift(config: dict[str, Any], trained: list[np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray]:
    values = iter(trained)
    gain = next(values) if config["scale"] else np.ones(n)
    return gain, next(values) if config["center"] else np.zeros(n)


def _parametric(_: dict[str, Any], arrays: list[np.ndarray]) -> Layer:
    return Activation("relu", as_vector(arrays[0]))


def _activation_layer(name: str, config: dict[str, Any]) -> Layer:
    if name == "Activation":
        return Activation(ACTIVATIONS[config["activation"]])
    if name == "Softmax":
        return Activation("softmax")
    if name == "ELU" and config.get("alpha", 1.0) == 1:
        return Activation("elu")
    slope, limits = config.get("negative_slope") or 0.0, (config.get("max_value"), config.get("threshold") or 0.0)
    if name == "ELU" or (name == "ReLU" and limits != (None, 0.0)):
        raise _refusal(name, "its parameters are others than those of networks of Rosenblatt")
    if name == "LeakyReLU" and np.isclose(slope, 0.01):
        return Activation("leaky_relu")
    return Activation("relu", np.array([float(slope)]) if slope else None)


def _refusal(name: str, reason: str = "") -> ExportError:
    return ExportError(
        f"The layer {name} has no place in a dense network{': ' if reason else ''}{reason}. Only dense networks can be "
        "imported."
    )


_WITH_WEIGHTS: dict[str, Callable[[dict[str, Any], list[np.ndarray]], Layer]] = {
    "Dense": _dense, "BatchNormalization": _batch_normalization, "LayerNormalization": _layer_normalization,
    "Normalization": _normalization, "PReLU": _parametric,
}  # fmt: skip
