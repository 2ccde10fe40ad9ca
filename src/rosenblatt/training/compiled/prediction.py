"""Predictions of several networks of dense layers for the same rows in one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeGuard

import numpy as np
from numba import carray, types

from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.training.compiled.activations import ACTIVATIONS
from rosenblatt.training.compiled.dispatch import compile_kernels, layout_with_spans
from rosenblatt.training.compiled.jit import call_address, float32_pointer, function_address, jit
from rosenblatt.training.compiled.losses import IDENTITY, OUTPUT_ACTIVATIONS, activate_outputs
from rosenblatt.training.compiled.mlp import (
    CompiledLayout,
    Kernels,
    Workspace,
    new_workspace,
    predict_blocks,
    prediction_block,
)
from rosenblatt.training.rows import NO_SPANS

# Columns of `NetworkStack.table`: where theta lies in memory and its size, the first size and number of layers, ...
ADDRESS, N_PARAMETERS, FIRST_SIZE, LAYERS, SCALE, NORMALIZATION, RESIDUAL, ACTIVATE, NORMALIZE = range(9)


@jit
def predict_networks(address, table, sizes, parts, spans, output, x, out):
    """Write the predictions of networks for the rows of x (n, F) to `out` (networks, n, K).

    The address is that of `mlp.predict_blocks`, and the other arguments before x are those of a `NetworkStack`.

    A row's predictions are the same to the last bit, whatever other rows are predicted with it.
    """
    index, first_layer = np.arange(x.shape[0]), 0
    block, flat = prediction_block(index.size), np.empty(0, np.float32)
    for k in range(out.shape[0]):
        network = table[k]
        first, last_layer = network[FIRST_SIZE], first_layer + network[LAYERS]
        layout = CompiledLayout(
            sizes[first : first + network[LAYERS] + 1],
            parts[first_layer:last_layer],
            network[SCALE],
            network[NORMALIZATION],
            network[RESIDUAL],
            spans,
        )
        kernels = Kernels(network[ACTIVATE], network[NORMALIZE], 0, 0, 0, 0)
        theta = carray(float32_pointer(network[ADDRESS]), (network[N_PARAMETERS],))
        workspace = new_workspace(layout, block, flat, False)
        flat = workspace.flat  # of the largest network so far
        call_address(address, (layout, kernels, theta, x, index, out[k], block, workspace))
        first_layer = last_layer
    activate_outputs(output, out.reshape((-1, out.shape[2])))


@lru_cache
def _predict_address() -> int:
    """Compile `mlp.predict_blocks` for float32, unless it is on disk, and return its address."""
    flat, table = types.Array(types.float32, 1, "C"), types.Array(types.float32, 2, "C")
    index, integers = types.Array(types.int64, 1, "C"), types.Array(types.int64, 2, "C")
    layout = types.NamedTuple([index, integers, *[types.int64] * 3, integers], CompiledLayout)
    kernels = types.NamedUniTuple(types.int64, len(Kernels._fields), Kernels)
    workspace = types.NamedTuple([flat, integers, index, index], Workspace)
    return function_address(predict_blocks, layout, kernels, flat, table, index, table, types.int64, workspace)


def compile_prediction() -> None:
    """Compile what `NetworkStack.predict` needs, unless it is on disk, by a prediction of no networks."""
    integers, table = np.empty(0, np.int64), np.empty((0, 0), np.int64)
    rows = np.empty((0, 1), np.float32)
    predict_networks(_predict_address(), table, integers, table, table, IDENTITY, rows, np.empty((0, 0, 1), np.float32))


def can_stack(architecture: Any) -> TypeGuard[DenseArchitecture]:
    """Whether a network of this architecture can be part of a `NetworkStack`."""
    return isinstance(architecture, DenseArchitecture) and architecture.activation in ACTIVATIONS


class NetworkStack:
    """Networks with the same inputs, outputs and loss, prepared for `predict_networks`.

    Args:
        networks: architecture and flat float32 parameters of each network; they must not change.
        loss: the loss that the networks were trained with.
        spans: of the inputs, as `Encoder.spans`.
    """

    def __init__(
        self, networks: Sequence[tuple[DenseArchitecture, np.ndarray]], loss: str, spans: np.ndarray = NO_SPANS
    ) -> None:
        self._thetas = [np.ascontiguousarray(theta) for _, theta in networks]  # keeps their addresses valid
        layouts = [layout_with_spans(architecture, spans) for architecture, _ in networks]
        rows, first_size = list[tuple[int, ...]](), 0
        for (architecture, _), theta, layout in zip(networks, self._thetas, layouts, strict=True):
            kernels = compile_kernels(architecture.activation, architecture.normalization)
            place = theta.ctypes.data, theta.size, first_size, len(layout.parts)
            rows.append(
                (*place, layout.scale, layout.normalization, layout.residual, kernels.activate, kernels.normalize)
            )
            first_size += layout.sizes.size
        self._table, self._n_outputs = np.array(rows, np.int64), networks[0][0].n_outputs
        self._sizes = np.concatenate([layout.sizes for layout in layouts])
        self._parts = np.concatenate([layout.parts for layout in layouts])
        self._spans = next((layout.spans for layout in layouts if layout.scale >= 0), layouts[0].spans)
        self._output = OUTPUT_ACTIVATIONS.get(loss, IDENTITY)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the predictions (networks, n, K) for encoded rows x (n, F)."""
        x = np.require(x, np.float32, ["C", "W"])  # the type of array for which `mlp.predict_blocks` is compiled
        out = np.empty((len(self._table), len(x), self._n_outputs), np.float32)
        predict_networks(_predict_address(), self._table, self._sizes, self._parts, self._spans, self._output, x, out)
        return out
