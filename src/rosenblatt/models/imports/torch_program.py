"""Read a dense network from a program of torch.export (.pt2): its JSON and its arrays.

PyTorch is not used: its loader unpickles parts of the archive, and runs Python code that stands in the JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from rosenblatt.errors import ExportError
from rosenblatt.models.imports.files import array_from_bytes, as_vector, open_archive, read_json
from rosenblatt.models.imports.layers import Activation, FileContent, Layer, Linear, Normalization, Scaling

DTYPES: dict[int, np.dtype[Any]] = {  # by their numbers in the file
    6: np.dtype("<f2"),
    7: np.dtype("<f4"),
    8: np.dtype("<f8"),
}
ACTIVATIONS = {
    "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "selu": "selu", "silu": "silu", "mish": "mish",
    "softplus": "softplus", "elu": "elu", "gelu": "gelu",
}  # fmt: skip
DEFAULTS: dict[str, dict[str, Any]] = {  # parameters with which an activation is that of Rosenblatt
    "elu": {"alpha": 1, "scale": 1, "input_scale": 1}, "gelu": {"approximate": "none"},
    "softplus": {"beta": 1, "threshold": 20},
}  # fmt: skip
UNCHANGED = (
    "dropout",
    "dropout_",
    "clone",
    "contiguous",
    "alias",
    "detach",
    "flatten",
    "to",
    "_assert_tensor_metadata",
)
Arguments = dict[str, Any]


def read(path: Path) -> FileContent:
    """Read a program. Raises ExportError if the file is damaged, or no dense network."""
    with open_archive(path, "a program of torch.export of PyTorch 2.9 or later") as archive:
        root = archive.namelist()[0].split("/")[0]
        program = read_json(archive, f"{root}/models/model.json")["graph_module"]
        weights = _read_weights(archive, f"{root}/data/weights")
        return _read_graph(program, weights)


def _read_weights(archive: ZipFile, folder: str) -> dict[str, np.ndarray]:
    """Parameters and buffers of floating-point numbers, by name."""
    arrays = dict[str, np.ndarray]()
    for name, entry in read_json(archive, f"{folder}/model_weights_config.json")["config"].items():
        if entry["use_pickle"]:
            raise ExportError(
                f"The parameter {name} is pickled, and pickle runs code. Save ordinary tensors on the CPU."
            )
        meta = entry["tensor_meta"]
        if meta["dtype"] not in DTYPES:
            continue
        sizes, strides = ([int(size["as_int"]) for size in meta[key]] for key in ("sizes", "strides"))
        expected = [int(np.prod(sizes[k + 1 :])) for k in range(len(sizes))]
        if strides != expected or meta["storage_offset"]["as_int"]:
            raise ValueError(f"{name} is no contiguous tensor")
        content = archive.read(f"{folder}/{entry['path_name']}")
        arrays[name] = array_from_bytes(content, DTYPES[meta["dtype"]], sizes).astype(np.float64)
    return arrays


def _read_graph(program: dict[str, Any], weights: dict[str, np.ndarray]) -> FileContent:
    graph, signature = program["graph"], program["signature"]
    inputs, constants = list[str](), dict[str, np.ndarray | None]()
    for spec in signature["input_specs"]:
        ((kind, content),) = spec.items()
        if kind == "user_input":
            inputs.append(content["arg"]["as_tensor"]["name"])
        else:
            constants[content["arg"]["name"]] = weights.get(content.get(f"{kind}_name", ""))
    if len(inputs) != 1 or len(graph["outputs"]) != 1:
        raise ExportError(
            f"The program has {len(inputs)} inputs and {len(graph['outputs'])} outputs, but a dense network has one of "
            "each."
        )
    layers, current = list[Layer](), inputs[0]
    for node in graph["nodes"]:
        layer, current = _read_node(node, current, constants)
        layers += [] if layer is None else [layer]
    if graph["outputs"][0]["as_tensor"]["name"] != current:
        raise ExportError("The output of the program is not that of its last operator, as in a dense network.")
    return FileContent(tuple(layers))


def _read_node(node: dict[str, Any], current: str, constants: dict[str, np.ndarray | None]) -> tuple[Layer | None, str]:
    """The layer of a node that follows the result `current`, and the name of its own result."""
    name = str(node["target"])
    arguments = {entry["name"]: _argument(entry["arg"], constants) for entry in node["inputs"]}
    operator = name.removeprefix("torch.ops.aten.").split(".")[0]
    variables = [value for value in arguments.values() if isinstance(value, _Result)]
    if not name.startswith("torch.ops.aten.") or operator not in {*_LAYERS, *ACTIVATIONS, *UNCHANGED}:
        raise _refusal(name)
    if [value.name for value in variables] != [current]:
        raise _refusal(name, "it has other inputs than the result before it")
    if operator == "_assert_tensor_metadata":
        return None, current
    result = node["outputs"][0]["as_tensor"]["name"]
    if operator in UNCHANGED:
        return None, result
    return _LAYERS.get(operator, _activation)(operator, arguments), result


class _Result:
    """The result of a node, or the input."""

    def __init__(self, name: str) -> None:
        self.name = name


def _argument(argument: dict[str, Any], constants: dict[str, np.ndarray | None]) -> Any:
    ((kind, value),) = argument.items()
    if kind == "as_tensor":
        name = value["name"]
        return constants[name] if name in constants else _Result(name)
    return None if kind == "as_none" else value


def _linear(operator: str, arguments: Arguments) -> Layer:
    if operator == "addmm":
        weight, bias = arguments["mat2"], arguments["self"]
        if arguments.get("alpha", 1) != 1 or arguments.get("beta", 1) != 1:
            raise _refusal(operator, "its factors are not 1")
    else:
        weight, bias = arguments["weight"].T, arguments.get("bias")
    return Linear(weight, np.zeros(weight.shape[1]) if bias is None else bias)


def _matmul(_: str, arguments: Arguments) -> Layer:
    weight = arguments.get("other", arguments.get("mat2"))
    if not isinstance(weight, np.ndarray) or weight.ndim != 2:
        raise _refusal("matmul", "its weights are no constant matrix")
    return Linear(weight, np.zeros(weight.shape[1]))


def _arithmetic(operator: str, arguments: Arguments) -> Layer:
    constant, other = arguments["other"], arguments["self"]
    if isinstance(constant, _Result):
        constant, other = other, constant
        if operator in ("sub", "div"):
            raise _refusal(operator, "a result is subtracted from a constant, or divides one")
    if arguments.get("alpha", 1) != 1 or constant is None:
        raise _refusal(operator, "its factor is not 1, or its operand is no array of floating-point numbers")
    constant = as_vector(np.asarray(constant, np.float64))
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    if operator in ("add", "sub"):
        return Scaling(one, constant if operator == "add" else -constant)
    return Scaling(constant if operator == "mul" else 1 / constant, zero)


def _batch_normalization(operator: str, arguments: Arguments) -> Layer:
    if arguments.get("training"):
        raise _refusal(operator, "it is in the mode of training; call eval() before the export")
    mean, variance = arguments["running_mean"], arguments["running_var"]
    gain, shift = (
        np.full_like(mean, default) if arguments.get(name) is None else arguments[name]
        for name, default in (("weight", 1), ("bias", 0))
    )
    return Normalization(gain, shift, arguments["eps"], mean, variance)


def _layer_normalization(operator: str, arguments: Arguments) -> Layer:
    gain, shift = arguments.get("weight"), arguments.get("bias")
    if gain is None or gain.ndim != 1:
        raise _refusal(operator, "it has no weights, or is over several axes")
    return Normalization(gain, np.zeros_like(gain) if shift is None else shift, arguments.get("eps", 1e-5))


def _leaky(operator: str, arguments: Arguments) -> Layer:
    slope = arguments["weight"] if operator == "prelu" else np.array([float(arguments.get("negative_slope", 0.01))])
    if operator == "leaky_relu" and np.isclose(slope[0], 0.01):
        return Activation("leaky_relu")
    return Activation("relu", slope)


def _softmax(operator: str, arguments: Arguments) -> Layer:
    if arguments["dim"] not in (1, -1):
        raise _refusal(operator, "it is along another axis than the outputs")
    return Activation("log_softmax" if "log" in operator else "softmax")


def _activation(operator: str, arguments: Arguments) -> Layer:
    operator = operator.removesuffix("_")
    for name, expected in DEFAULTS.get(operator, {}).items():
        if arguments.get(name, expected) != expected:
            raise _refusal(operator, f"its {name} is {arguments[name]}, but networks of Rosenblatt have {expected}")
    return Activation(ACTIVATIONS[operator])


def _refusal(operator: str, reason: str = "") -> ExportError:
    return ExportError(
        f"The operator {operator} has no place in a dense network{': ' if reason else ''}{reason}. Only dense networks "
        "can be imported."
    )


_LAYERS: dict[str, Callable[[str, Arguments], Layer]] = {
    "linear": _linear, "addmm": _linear, "matmul": _matmul, "mm": _matmul, "batch_norm": _batch_normalization,
    "layer_norm": _layer_normalization, "softmax": _softmax, "_softmax": _softmax, "log_softmax": _softmax,
    "_log_softmax": _softmax, **dict.fromkeys(("add", "sub", "mul", "div"), _arithmetic),
    **dict.fromkeys(("leaky_relu", "prelu"), _leaky), "relu_": _activation,
}  # fmt: skip
