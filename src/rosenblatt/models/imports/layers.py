"""Layers of a dense network as the readers of files give them, in the order in which they are applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from rosenblatt.data.tasks.target import Label


@dataclass(frozen=True)
class Linear:
    """Weighted sums x @ weight + bias."""

    weight: np.ndarray  # (inputs, units)
    bias: np.ndarray  # (units,)


@dataclass(frozen=True)
class Scaling:
    """x * factor + shift, for each unit."""

    factor: np.ndarray  # (units,)
    shift: np.ndarray  # (units,)


@dataclass(frozen=True)
class Normalization:
    """Batch normalization by running statistics, or layer normalization, which has none."""

    gain: np.ndarray  # (units,)
    shift: np.ndarray  # (units,)
    epsilon: float
    mean: np.ndarray | None = None  # (units,)
    variance: np.ndarray | None = None  # (units,)

    @property
    def is_batch(self) -> bool:
        """Whether this is batch normalization."""
        return self.variance is not None

    def as_scaling(self) -> Scaling:
        """Batch normalization as one multiplication and addition."""
        assert self.mean is not None and self.variance is not None  # noqa: S101, PT018 - for the type checker
        factor = self.gain / np.sqrt(self.variance + self.epsilon)
        return Scaling(factor, self.shift - self.mean * factor)


@dataclass(frozen=True)
class Activation:
    """An activation function by its name in Rosenblatt, or `softmax` or `log_softmax` of outputs."""

    name: str
    slope: np.ndarray | None = None  # (units,) or (1,): of `relu` below 0


Layer: TypeAlias = Linear | Scaling | Normalization | Activation


@dataclass(frozen=True)
class FileContent:
    """What a file holds.

    Attributes:
        layers: of the network.
        columns: names of the inputs; empty if the file has none.
        classes: labels of the outputs; empty if the file has none.
        is_perceptron: whether the outputs are the weighted sums of a perceptron.
        checker_options: what the script that compares predictions needs beside the file.
    """

    layers: tuple[Layer, ...]
    columns: tuple[str, ...] = ()
    classes: tuple[Label, ...] = ()
    is_perceptron: bool = False
    checker_options: dict[str, str] = field(default_factory=dict)
