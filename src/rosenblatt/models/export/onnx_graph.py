"""Nodes and constants of an ONNX graph, with names that say to which part of the model they belong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

ML_DOMAIN = "ai.onnx.ml"
FLOAT, DOUBLE, INT32, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64
Operand = str | np.ndarray  # the name of a result, or a constant


@dataclass
class _Parts:
    """What all scopes of a graph share."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


class Graph:
    """A graph under construction.

        graph = Graph()
        z = graph.within("hidden").add("Gemm", "x", weight, bias, name="linear")  # the result "hidden.linear"

    Results have the names of their nodes; a name that is taken gets a number.
    """

    def __init__(self, parts: _Parts | None = None, prefix: str = "") -> None:
        self._parts, self._prefix = parts or _Parts(), prefix

    def within(self, name: str) -> Graph:
        """The same graph, with a prefix to the names of what is added."""
        return Graph(self._parts, f"{self._prefix}{name}.")

    def add(self, operator: str, *operands: Operand, name: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one result; arrays become constants. An empty name is an operand that is left out."""
        full_name = self._free_name(f"{self._prefix}{name}")
        inputs = [
            operand if isinstance(operand, str) else self.constant(f"{name}.operand_{k}", operand)
            for k, operand in enumerate(operands, 1)
        ]
        self._parts.nodes.append(
            helper.make_node(operator, inputs, [full_name], name=full_name, domain=domain, **attributes)
        )
        return full_name

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add a constant, and return its name; the same values under the same name are stored once."""
        full_name = f"{self._prefix}{name}"
        stored = self._parts.constants.get(full_name)
        if stored is not None and stored.dtype == values.dtype and np.array_equal(stored, values, equal_nan=True):
            return full_name
        full_name = self._free_name(full_name)
        self._parts.constants[full_name] = values
        return full_name

    def cast(self, operand: Operand, to: int, name: str) -> str:
        """Add a conversion to another type of numbers."""
        return self.add("Cast", operand, name=name, to=to)

    @property
    def n_bytes(self) -> int:
        """Memory of all constants."""
        return sum(values.nbytes for values in self._parts.constants.values())

    def to_proto(self, name: str, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> GraphProto:
        """The finished graph."""
        return helper.make_graph(self._parts.nodes, name, inputs, outputs, list(self._initializers()))

    def _initializers(self) -> Iterator[TensorProto]:
        for name, values in self._parts.constants.items():
            yield numpy_helper.from_array(np.asarray(values, order="C"), name)

    def _free_name(self, name: str) -> str:
        free, number = name, 1
        while free in self._parts.names:
            number += 1
            free = f"{name}_{number}"
        self._parts.names.add(free)
        return free


def float32(value: float) -> np.ndarray:
    """A constant."""
    return np.array(value, np.float32)


def float64(value: float) -> np.ndarray:
    """A constant."""
    return np.array(value, np.float64)


def integer(value: int) -> np.ndarray:
    """A constant."""
    return np.array(value, np.int64)


def axes(*values: int) -> np.ndarray:
    """A constant of axes, positions or sizes."""
    return np.array(values, np.int64)
