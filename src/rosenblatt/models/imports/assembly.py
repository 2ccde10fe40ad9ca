"""A model from the layers of a file, with its columns and classes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from rosenblatt.data.encoding.encoder import Encoder, NumberEncoding
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.tasks.target import Label, Target
from rosenblatt.errors import ExportError, format_count, format_list
from rosenblatt.models.imports.layers import FileContent, Linear
from rosenblatt.models.imports.reduction import DenseLayers, OutputActivation, reduce_layers
from rosenblatt.models.metadata import ModelMetadata
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec

NO_LIMIT = 1e300  # of predicted values
N_ROWS = 10_000  # rows for which hyperparameters without effect on predictions are resolved


@dataclass(frozen=True)
class Names:
    """Names that a file may lack.

    Attributes:
        columns: of the inputs; empty for x0, x1, ... or those of the file.
        classes: of the outputs; empty for 0, 1, ... or those of the file.
        target: column that is predicted.
    """

    columns: tuple[str, ...] = ()
    classes: tuple[Label, ...] = ()
    target: str = "target"


@dataclass(frozen=True)
class ImportedModel:
    """A model that was read from a file of another framework.

    Attributes:
        model: the model.
        output: what the file's outputs are, from which the predictions of the model follow.
        notes: sentences on what was guessed or rewritten.
    """

    model: Model
    output: OutputActivation
    notes: tuple[str, ...]


def assemble_model(content: FileContent, names: Names, source: str) -> ImportedModel:
    """Build a model from what a file holds.

    Args:
        content: of the file.
        names: of columns, classes and target.
        source: name of the file.

    Raises:
        ExportError: if the layers are not those of a dense network, or names do not fit them.
    """
    layers, notes = reduce_layers(content.layers), list[str]()
    columns = names.columns or content.columns
    n_inputs, n_outputs = _input_size(layers), layers.output.bias.size
    if columns and (len(columns) != n_inputs or len({*columns}) != n_inputs):
        raise ExportError(
            f"The network has {format_count(n_inputs, 'input')}, but {format_count(len({*columns}), 'column')} "
            f"{'is' if len({*columns}) == 1 else 'are'} named: {format_list(columns)}. Name one for each input "
            "(--columns)."
        )
    if not columns:
        columns = tuple(f"x{k}" for k in range(n_inputs))
        notes.append(f"columns are named {columns[0]} to {columns[-1]}; --columns or --rows TABLE names them")
    output = layers.output_activation
    classes = names.classes or content.classes
    if content.is_perceptron:
        target = _perceptron_target(names.target, classes, n_outputs)
    else:
        target, linear = _target(names.target, classes, layers, notes)
        layers = DenseLayers(layers.inputs, layers.hidden, linear, output, layers.notes)
    model = _build(layers, columns, target, source, is_perceptron=content.is_perceptron)
    return ImportedModel(model, output, (*layers.notes, *notes))


def _input_size(layers: DenseLayers) -> int:
    """The number of inputs. Raises ExportError if the sizes of layers do not fit each other."""
    size = first = (layers.hidden[0].linear if layers.hidden else layers.output).weight.shape[0]
    for k, linear in enumerate([*(layer.linear for layer in layers.hidden), layers.output], 1):
        if linear.weight.shape[0] != size or linear.bias.shape != (linear.weight.shape[1],):
            raise ExportError(
                f"Layer {k} has {format_count(linear.weight.shape[0], 'input')}, but the layer before it has "
                f"{format_count(size, 'unit')}. The file is damaged, or no dense network."
            )
        if not (np.isfinite(linear.weight).all() and np.isfinite(linear.bias).all()):
            raise ExportError(f"Layer {k} has weights that are not finite numbers. Train the network again.")
        size = linear.weight.shape[1]
    return int(first)


def _perceptron_target(name: str, classes: Sequence[Label], n_outputs: int) -> Target:
    labels = tuple(classes) or tuple(range(max(n_outputs, 2)))
    _check_classes(labels, max(n_outputs, 2))
    task: Any = "binary" if n_outputs == 1 else "multiclass"
    return Target(names=(name,), task=task, labels=labels, output_type="sums", loss="perceptron")


def _target(name: str, classes: Sequence[Label], layers: DenseLayers, notes: list[str]) -> tuple[Target, Linear]:
    """The target, and the last layer in the form that it needs."""
    output, activation, n = layers.output, layers.output_activation, layers.output.bias.size
    if activation == "identity" and classes:
        activation = "sigmoid" if n == 1 else "softmax"
        notes.append(f"the outputs are taken as logits of {len(classes)} classes")
    if activation == "identity":
        notes.append("the outputs are taken as values; --classes a,b,... takes them as logits of classes")
        names = (name,) if n == 1 else tuple(f"{name}_{k}" for k in range(n))
        return Target(
            names=names, task="regression", log=(False,) * n, center=(0.0,) * n, scale=(1.0,) * n,
            low=(-NO_LIMIT,) * n, high=(NO_LIMIT,) * n,
        ), output  # fmt: skip
    if activation == "sigmoid" and n > 1:
        labels = tuple(map(str, classes)) or tuple(f"{name}_{k}" for k in range(n))
        _check_classes(labels, n)
        return Target(names=labels, task="multilabel", label_pairs=((0, 1),) * n), output
    n_classes = max(n, 2)
    labels_or_numbers = tuple(classes) or tuple(range(n_classes))
    _check_classes(labels_or_numbers, n_classes)
    if not classes:
        notes.append(f"classes are named 0 to {n_classes - 1}; --classes a,b,... names them")
    if n_classes > 2:
        return Target(names=(name,), task="multiclass", labels=labels_or_numbers), output
    if n == 2:  # softmax of two logits is the sigmoid of their difference
        output = Linear(output.weight[:, 1:] - output.weight[:, :1], output.bias[1:] - output.bias[:1])
        notes.append("two outputs with softmax are one with sigmoid, which gives the same probabilities")
    return Target(names=(name,), task="binary", labels=labels_or_numbers), output


def _check_classes(classes: Sequence[Label], n: int) -> None:
    if len({*classes}) != len(classes) or len(classes) != n:
        raise ExportError(
            f"The outputs of the network are for {n} classes, but these are named: {format_list(classes)}. Name "
            "different ones, in the order of the outputs (--classes)."
        )


def _build(layers: DenseLayers, columns: Sequence[str], target: Target, source: str, *, is_perceptron: bool) -> Model:
    architecture, spec = _architecture(layers, is_perceptron=is_perceptron), _spec(layers, is_perceptron=is_perceptron)
    theta = np.empty(architecture.n_parameters, np.float32)
    for (k, name), values in architecture.parameters_by_name(theta).items():
        values[:] = _parameters(layers, k)[name]
    encodings = _encodings(layers, columns)
    trial = TrainedTrial(
        resolve_auto(spec, N_ROWS, len(columns), loss=target.loss),
        Encoder(encodings=encodings),
        target,
        (TrainedNetwork(architecture, theta, 0, (), ()),),
    )
    metadata = ModelMetadata(
        rows=0, members=1, source=source, reason=f"imported from {source}",
        created=time.strftime("%Y-%m-%d %H:%M:%S"), version=version("rosenblatt"),
    )  # fmt: skip
    schema = Schema(columns=tuple(Column(name=name, kind="number") for name in columns))
    return Model(spec, schema, (trial,), metadata)


def _architecture(layers: DenseLayers, *, is_perceptron: bool) -> DenseArchitecture:
    linears = [*(layer.linear for layer in layers.hidden), layers.output]
    sizes = (linears[0].weight.shape[0], *(linear.weight.shape[1] for linear in linears))
    if is_perceptron:
        return DenseArchitecture("perceptron", sizes, "step")
    return DenseArchitecture(
        "mlp", sizes, _activation(layers), _normalization(layers), parametric_activation=_is_parametric(layers)
    )


def _activation(layers: DenseLayers) -> str:
    return layers.hidden[0].activation.name if layers.hidden else "relu"


def _normalization(layers: DenseLayers) -> str:
    normalization = layers.hidden[0].normalization if layers.hidden else None
    return "none" if normalization is None else "batch" if normalization.is_batch else "layer"


def _is_parametric(layers: DenseLayers) -> bool:
    return bool(layers.hidden) and layers.hidden[0].activation.slope is not None


def _spec(layers: DenseLayers, *, is_perceptron: bool) -> Spec:
    """The hyperparameters of the network and its encoding; those of training have their defaults."""
    fields: dict[str, Any] = {"numeric_encoding": "none" if layers.inputs is None else "standard", "members": 1}
    if is_perceptron:
        return Spec.from_hyperparameters(kind="perceptron", multiclass="one_vs_rest", **fields)
    return Spec.from_hyperparameters(
        kind="mlp",
        hidden_sizes=tuple(layer.linear.bias.size for layer in layers.hidden),
        activation=_activation(layers),
        normalization=_normalization(layers),
        parametric_activation=_is_parametric(layers),
        residual=False,
        **fields,
    )


def _parameters(layers: DenseLayers, k: int) -> dict[str, Any]:
    """The parameters of layer k by name."""
    if k == len(layers.hidden):
        return {"weight": layers.output.weight, "bias": layers.output.bias}
    layer = layers.hidden[k]
    parameters: dict[str, Any] = {"weight": layer.linear.weight, "bias": layer.linear.bias}
    if layer.activation.slope is not None:
        parameters["blend"] = 1 - layer.activation.slope  # z + blend (relu(z) - z)
    if layer.normalization is not None:
        normalization = layer.normalization
        parameters |= {"gain": normalization.gain, "shift": normalization.shift}
        parameters |= {"mean": normalization.mean, "variance": normalization.variance}
    return parameters


def _encodings(layers: DenseLayers, columns: Sequence[str]) -> tuple[NumberEncoding, ...]:
    """Encodings that scale the inputs; missing numbers become 0 after the scaling."""
    if layers.inputs is None:
        return tuple(NumberEncoding(column=name) for name in columns)
    factor = np.broadcast_to(layers.inputs.factor, len(columns))
    center = -np.broadcast_to(layers.inputs.shift, len(columns)) / factor
    return tuple(
        NumberEncoding(column=name, center=float(c), scale=float(1 / f), fill_value=float(c))
        for name, c, f in zip(columns, center, factor, strict=True)
    )
