"""Read a dense network from an ONNX graph. No operator is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import NodeProto, TensorProto, helper, numpy_helper

from rosenblatt.errors import ExportError
from rosenblatt.models.imports.files import as_vector, read_bytes, reports_damage
from rosenblatt.models.imports.layers import Activation, FileContent, Layer, Linear, Normalization, Scaling

ACTIVATIONS = {
    "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Selu": "selu", "Softplus": "softplus", "Mish": "mish",
    "Elu": "elu", "Gelu": "gelu",
}  # fmt: skip
REQUIRED_ATTRIBUTES: dict[str, dict[str, Any]] = {  # with which an activation is that of Rosenblatt
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}, "Elu": {"alpha": 1.0},
    "Gelu": {"approximate": b"none"},
}  # fmt: skip
UNCHANGED = ("Identity", "Dropout", "Flatten", "Reshape", "Cast", "Squeeze", "Unsqueeze", "ZipMap")
LABEL_OPERATORS = ("ArgMax", "ArrayFeatureExtractor", "LabelEncoder", "Shape")  # beside the probabilities


def read(path: Path) -> FileContent:
    """Read a file of ONNX. Raises ExportError if it is damaged, or no dense network."""
    content = read_bytes(path)
    try:
        proto = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ExportError(f"{str(path)!r} is damaged, or not a file of ONNX.") from error
    with reports_damage(path, "a file of ONNX"):
        return _GraphReader(proto).read()


class _GraphReader:
    """Follows a graph from its output back to its input, and turns each node into a layer."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        graph = proto.graph
        self._graph, self._constants = graph, {t.name: _array(t) for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = _constant(node)
        self._producers = {name: node for node in graph.node if node.op_type != "Constant" for name in node.output}
        self._classes: tuple[Any, ...] = ()

    def read(self) -> FileContent:
        inputs = [value.name for value in self._graph.input if value.name not in self._constants]
        if len(inputs) != 1:
            raise ExportError(
                f"The graph has {len(inputs)} inputs, but a dense network has one, a matrix of numbers. Expected the "
                "export of a network without preprocessing of columns."
            )
        self._check_operators()
        output = self._output()
        layers, name = list[Layer](), output
        while name != inputs[0]:
            if name not in self._producers or len(layers) > len(self._graph.node):
                raise ExportError(f"The result {name!r} of the graph does not follow from its input.")
            node = self._producers[name]
            layer, name = self._layer(node)
            layers += [] if layer is None else [layer]
        options = {"input": inputs[0], "output": output}
        return FileContent(tuple(reversed(layers)), classes=self._classes, checker_options=options)

    def _check_operators(self) -> None:
        """Raise ExportError for the first operator that no dense network has."""
        for node in self._graph.node:
            if node.op_type not in SUPPORTED or node.domain not in ("", "ai.onnx", "ai.onnx.ml"):
                raise ExportError(
                    f"The operator {node.op_type}{f' ({node.name})' if node.name else ''} has no place in a dense "
                    "network. Only dense networks can be imported."
                )

    def _output(self) -> str:
        """The output of probabilities or values; others are labels."""
        names = [value.name for value in self._graph.output]
        if len(names) > 1:
            names = [value.name for value in self._graph.output if not _is_label(value)]
        if len(names) != 1:
            raise ExportError(
                f"The graph has {len(names)} outputs of numbers, but a dense network has one. Export it with one."
            )
        return names[0]

    def _layer(self, node: NodeProto) -> tuple[Layer | None, str]:
        """The layer of a node, and its input."""
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        variables = [name for name in node.input if name and name not in self._constants]
        if node.op_type == "ZipMap":
            classes = attributes.get("classlabels_int64s") or attributes.get("classlabels_strings") or ()
            self._classes = tuple(c.decode() if isinstance(c, bytes) else int(c) for c in classes)
        if node.op_type in UNCHANGED:
            return None, variables[0]
        if len(variables) == 2:
            return self._joined(node, variables)
        if len(variables) != 1 or variables[0] != node.input[0]:
            return self._from_the_right(node, variables)
        constants = [self._constants[name] for name in node.input[1:] if name]
        try:
            layer = _LAYERS.get(node.op_type, _activation)(node.op_type, constants, attributes)
        except _UnfitError as error:
            raise _refusal(node, str(error)) from None
        return layer, variables[0]

    def _joined(self, node: NodeProto, variables: list[str]) -> tuple[Layer | None, str]:
        """Two results that belong to one layer: z sigmoid(z), or the probabilities 1 - p and p of two classes."""
        first, second = (self._producers.get(name) for name in variables)
        if node.op_type == "Mul":
            for gate, z in ((first, variables[1]), (second, variables[0])):
                if gate is not None and gate.op_type == "Sigmoid" and gate.input[0] == z:
                    return Activation("silu"), z
        if node.op_type == "Concat" and first is not None and first.op_type == "Sub":
            one = self._constants.get(first.input[0])
            if first.input[1] == variables[1] and one is not None and (one == 1).all():
                return None, variables[1]
        raise _refusal(node, "it joins two results")

    def _from_the_right(self, node: NodeProto, variables: list[str]) -> tuple[Layer, str]:
        """A constant plus, minus or times a result."""
        if len(variables) == 1 and node.op_type in ("Add", "Mul", "Sub"):
            constant = as_vector(self._constants[node.input[0]])
            one, zero = np.ones_like(constant), np.zeros_like(constant)
            factor, shift = {"Add": (one, constant), "Mul": (constant, zero), "Sub": (-one, constant)}[node.op_type]
            return Scaling(factor, shift), variables[0]
        raise _refusal(node, "its operands are others than those of a layer")


class _UnfitError(Exception):
    """A node is not a layer of a dense network; the message says why."""


def _refusal(node: NodeProto, reason: str) -> ExportError:
    name = f" ({node.name})" if node.name else ""
    return ExportError(f"The operator {node.op_type}{name} has no place in a dense network: {reason}.")


def _is_label(value: onnx.ValueInfoProto) -> bool:
    integers = (TensorProto.INT64, TensorProto.INT32, TensorProto.STRING, TensorProto.BOOL)
    return value.type.HasField("tensor_type") and value.type.tensor_type.elem_type in integers


def _array(tensor: TensorProto) -> np.ndarray:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ExportError(
            "The parameters are in other files (external data), which are not read. Save the model as one file."
        )
    return numpy_helper.to_array(tensor)


def _constant(node: NodeProto) -> np.ndarray:
    value = helper.get_attribute_value(node.attribute[0])
    return _array(value) if isinstance(value, TensorProto) else np.asarray(value)


def _gemm(_: str, constants: list[np.ndarray], attributes: dict[str, Any]) -> Layer:
    if attributes.get("transA") or not constants:
        raise _UnfitError("its first operand is transposed, or its weights are no constant")
    weight = np.asarray(constants[0], np.float64) * attributes.get("alpha", 1.0)
    weight = weight.T if attributes.get("transB") else weight
    bias = as_vector(constants[1]) * attributes.get("beta", 1.0) if len(constants) > 1 else np.zeros(1)
    return _linear(weight, bias)


def _matmul(_: str, constants: list[np.ndarray], _attributes: dict[str, Any]) -> Layer:
    return _linear(np.asarray(constants[0], np.float64), np.zeros(1))


def _linear(weight: np.ndarray, bias: np.ndarray) -> Layer:
    if weight.ndim != 2:
        raise _UnfitError(f"its weights have {weight.ndim} axes")
    return Linear(weight, np.broadcast_to(bias, weight.shape[1]))


def _arithmetic(operator: str, constants: list[np.ndarray], _: dict[str, Any]) -> Layer:
    constant = as_vector(constants[0])
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    if operator in ("Add", "Sub"):
        return Scaling(one, constant if operator == "Add" else -constant)
    return Scaling(constant if operator == "Mul" else 1 / constant, zero)


def _scaler(_: str, _constants: list[np.ndarray], attributes: dict[str, Any]) -> Layer:
    scale, offset = (np.asarray(attributes[name], np.float64) for name in ("scale", "offset"))
    return Scaling(scale, -offset * scale)


def _batch_normalization(_: str, constants: list[np.ndarray], attributes: dict[str, Any]) -> Layer:
    if attributes.get("training_mode"):
        raise _UnfitError("it is in the mode of training")
    gain, shift, mean, variance = map(as_vector, constants)
    return Normalization(gain, shift, attributes.get("epsilon", 1e-5), mean, variance)


def _layer_normalization(_: str, constants: list[np.ndarray], attributes: dict[str, Any]) -> Layer:
    gain = as_vector(constants[0])
    shift = as_vector(constants[1]) if len(constants) > 1 else np.zeros_like(gain)
    return Normalization(gain, shift, attributes.get("epsilon", 1e-5))


def _leaky(operator: str, constants: list[np.ndarray], attributes: dict[str, Any]) -> Layer:
    slope = as_vector(constants[0]) if operator == "PRelu" else np.array([attributes.get("alpha", 0.01)])
    if operator == "LeakyRelu" and np.isclose(slope[0], 0.01):
        return Activation("leaky_relu")
    return Activation("relu", slope)


def _softmax(operator: str, _: list[np.ndarray], attributes: dict[str, Any]) -> Layer:
    if attributes.get("axis", 1) not in (1, -1):
        raise _UnfitError("it is along another axis than the outputs")
    return Activation("softmax" if operator == "Softmax" else "log_softmax")


def _activation(operator: str, _: list[np.ndarray], attributes: dict[str, Any]) -> Layer:
    for name, expected in REQUIRED_ATTRIBUTES.get(operator, {}).items():
        value = attributes.get(name, expected)
        is_equal = value == expected if isinstance(expected, bytes) else np.isclose(value, expected)
        if not is_equal:
            raise _UnfitError(f"its {name} is {value!r}, but networks of Rosenblatt have {expected!r}")
    return Activation(ACTIVATIONS[operator])


_LAYERS: dict[str, Callable[[str, list[np.ndarray], dict[str, Any]], Layer]] = {
    "Gemm": _gemm, "MatMul": _matmul, "Scaler": _scaler, "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization, "Softmax": _softmax, "LogSoftmax": _softmax,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic), **dict.fromkeys(("LeakyRelu", "PRelu"), _leaky),
}  # fmt: skip
SUPPORTED = {*_LAYERS, *ACTIVATIONS, *UNCHANGED, *LABEL_OPERATORS, "Constant", "Concat"}
