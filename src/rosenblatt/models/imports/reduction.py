"""Layers as read from a file, reduced to an architecture of Rosenblatt: scaled inputs, hidden layers, outputs.

Multiplications and additions that have no place in an architecture become part of the weights beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rosenblatt.errors import ExportError, join_names
from rosenblatt.models.imports.layers import Activation, Layer, Linear, Normalization, Scaling
from rosenblatt.training.compiled.normalization import EPSILON

OUTPUT_ACTIVATIONS = ("softmax", "log_softmax", "sigmoid")
MAX_EPSILON_RATIO = 1.001  # of layer normalizations that count as equal
OutputActivation = Literal["identity", "softmax", "log_softmax", "sigmoid"]


@dataclass(frozen=True)
class HiddenLayer:
    """Weighted sums, normalization, activation; a slope of relu makes it a parametric activation."""

    linear: Linear
    activation: Activation
    normalization: Normalization | None = None


@dataclass(frozen=True)
class DenseLayers:
    """A network in the form of `DenseArchitecture`.

    Attributes:
        inputs: scaling of the inputs; None for none.
        hidden: hidden layers.
        output: the last layer.
        output_activation: of the last layer.
        notes: sentences on what was rewritten.
    """

    inputs: Scaling | None
    hidden: tuple[HiddenLayer, ...]
    output: Linear
    output_activation: OutputActivation
    notes: tuple[str, ...]


def reduce_layers(layers: Sequence[Layer]) -> DenseLayers:
    """Bring layers into the form of an architecture.

    Raises ExportError if they are not those of a dense network that Rosenblatt can represent.
    """
    reducer = _Reducer()
    for layer in layers:
        reducer.add(layer)
    return reducer.finish()


class _Reducer:
    """Collects layers one after the other; weighted sums wait until their normalization and activation are read."""

    def __init__(self) -> None:
        self._inputs: Scaling | None = None
        self._hidden: list[HiddenLayer] = []
        self._linear: Linear | None = None  # without activation so far
        self._normalization: Normalization | None = None  # of it
        self._scaling: Scaling | None = None  # of the outputs of the last hidden layer
        self._end = ""  # softmax or log_softmax
        self._n_merged = 0

    def add(self, layer: Layer) -> None:
        if self._end:
            raise ExportError(f"A layer follows the {self._end}, which must be the last one of a dense network.")
        if isinstance(layer, Linear):
            self._add_linear(layer)
        elif isinstance(layer, Scaling):
            self._add_scaling(layer)
        elif isinstance(layer, Normalization):
            self._add_normalization(layer)
        elif layer.name in ("softmax", "log_softmax"):
            self._end = layer.name
        elif layer.name != "identity":
            self._add_activation(layer)

    def _add_linear(self, layer: Linear) -> None:
        if self._linear is not None:  # weighted sums of weighted sums
            layer = _compose(self._without_normalization(), layer)
            self._n_merged += 1
        if self._scaling is not None:
            layer, self._scaling = _after_scaling(self._scaling, layer), None
        elif not self._hidden and self._inputs is not None and not (self._inputs.factor > 0).all():
            layer, self._inputs = _after_scaling(self._inputs, layer), None  # an encoder divides by positive numbers
        self._linear, self._normalization = layer, None

    def _add_scaling(self, layer: Scaling) -> None:
        if self._linear is not None:
            self._linear, self._normalization = _before_scaling(self._without_normalization(), layer), None
        elif self._hidden:
            self._scaling = layer if self._scaling is None else _scale_twice(self._scaling, layer)
        else:
            self._inputs = layer if self._inputs is None else _scale_twice(self._inputs, layer)

    def _add_normalization(self, layer: Normalization) -> None:
        if self._linear is not None and self._normalization is None:
            self._normalization = layer
        elif layer.is_batch:
            self._add_scaling(layer.as_scaling())
        else:
            raise ExportError(
                "A layer normalization must follow weighted sums, and be followed by an activation; here it does not."
            )

    def _add_activation(self, layer: Activation) -> None:
        if self._linear is None:
            where = "the inputs" if not self._hidden else "another activation"
            raise ExportError(f"The activation {layer.name} follows {where}, but weighted sums are expected before it.")
        self._hidden.append(HiddenLayer(self._linear, layer, self._normalization))
        self._linear = self._normalization = None

    def _without_normalization(self) -> Linear:
        """The last weighted sums, with their batch normalization as part of the weights."""
        assert self._linear is not None  # noqa: S101 - for the type checker
        if self._normalization is None:
            return self._linear
        return _merge_normalization(self._linear, self._normalization)

    def finish(self) -> DenseLayers:
        activation: OutputActivation = "identity"
        if self._end:
            activation = "softmax" if self._end == "softmax" else "log_softmax"
        elif self._linear is None and self._scaling is None and self._hidden:
            last = self._hidden.pop()
            if last.activation.name != "sigmoid":
                raise ExportError(
                    f"The network ends with the activation {last.activation.name}. Expected outputs without "
                    "activation, or softmax or sigmoid."
                )
            self._linear, self._normalization, activation = last.linear, last.normalization, "sigmoid"
        if self._linear is None:
            raise ExportError("The network does not end with weighted sums, and is no dense network.")
        output = self._without_normalization()
        hidden, notes = _unify(self._hidden)
        if self._n_merged:
            notes.insert(0, "weighted sums without an activation between them are one layer")
        return DenseLayers(self._inputs, tuple(hidden), output, activation, tuple(notes))


def _compose(first: Linear, second: Linear) -> Linear:
    return Linear(first.weight @ second.weight, first.bias @ second.weight + second.bias)


def _after_scaling(scaling: Scaling, layer: Linear) -> Linear:
    factor, shift = np.broadcast_arrays(scaling.factor, scaling.shift, layer.weight[:, 0])[:2]
    return Linear(factor[:, None] * layer.weight, shift @ layer.weight + layer.bias)


def _before_scaling(layer: Linear, scaling: Scaling) -> Linear:
    return Linear(layer.weight * scaling.factor, layer.bias * scaling.factor + scaling.shift)


def _scale_twice(first: Scaling, second: Scaling) -> Scaling:
    return Scaling(first.factor * second.factor, first.shift * second.factor + second.shift)


def _merge_normalization(linear: Linear, normalization: Normalization) -> Linear:
    if not normalization.is_batch:
        raise ExportError("A layer normalization without an activation after it has no place in a dense network.")
    return _before_scaling(linear, normalization.as_scaling())


def _unify(hidden: list[HiddenLayer]) -> tuple[list[HiddenLayer], list[str]]:
    """Hidden layers with one activation and one normalization, as an architecture has; and notes on what changed."""
    names = list(dict.fromkeys(layer.activation.name for layer in hidden))
    if len(names) > 1:
        raise ExportError(
            f"The hidden layers have the activations {join_names(names)}, but all hidden layers of a network of "
            "Rosenblatt have the same one."
        )
    if any(layer.activation.slope is not None for layer in hidden):
        hidden = [replace(layer, activation=Activation("relu", _slopes(layer))) for layer in hidden]
    kinds = [None if layer.normalization is None else layer.normalization.is_batch for layer in hidden]
    if len({*kinds}) <= 1 and all(_has_our_epsilon(layer.normalization) for layer in hidden):
        return [replace(layer, normalization=_with_our_epsilon(layer.normalization)) for layer in hidden], []
    if False in kinds:
        raise ExportError(
            f"Layer normalizations must follow the weighted sums of all hidden layers, with an epsilon of {EPSILON:g}; "
            "here they do not."
        )
    merged = [
        replace(layer, linear=_merge_normalization(layer.linear, layer.normalization), normalization=None)
        if layer.normalization
        else layer
        for layer in hidden
    ]
    return merged, ["batch normalization became part of the weights, as not all hidden layers have it"]


def _slopes(layer: HiddenLayer) -> np.ndarray:
    """The slope below 0 of each unit; that of relu is 0."""
    slope = np.zeros(1) if layer.activation.slope is None else layer.activation.slope
    return np.broadcast_to(slope, layer.linear.bias.shape)


def _has_our_epsilon(normalization: Normalization | None) -> bool:
    """Whether a normalization can have the epsilon of Rosenblatt."""
    if normalization is None:
        return True
    if normalization.variance is not None:
        return bool((normalization.variance + normalization.epsilon > EPSILON).all())
    return max(normalization.epsilon, EPSILON) / min(normalization.epsilon, EPSILON) < MAX_EPSILON_RATIO


def _with_our_epsilon(normalization: Normalization | None) -> Normalization | None:
    if normalization is None or normalization.variance is None:
        return normalization
    variance = normalization.variance + normalization.epsilon - EPSILON
    return replace(normalization, variance=variance, epsilon=EPSILON)
