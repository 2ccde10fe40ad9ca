"""In: a network, and how it learns, by name. Out: what the compiled code takes: shapes, addresses, rates."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numba import typeof, types
from numba.np.numpy_support import from_dtype

from rosenblatt.networks.dense import Architecture
from rosenblatt.training.compiled.activations import ACTIVATIONS
from rosenblatt.training.compiled.jit import address, is_compiled
from rosenblatt.training.compiled.losses import LINKS, LOSSES
from rosenblatt.training.compiled.mlp import Kernels, Pass, Shape, descend
from rosenblatt.training.compiled.normalization import NORMALIZATIONS, THERE_AND_BACK
from rosenblatt.training.compiled.optimizers import OPTIMIZERS
from rosenblatt.training.rows import Rows
from rosenblatt.training.state import Recipe, State

_STARTING = Lock()  # one process compiles a step, whatever threads ask for it
_PARTS = ("weight", "bias", "gain", "shift", "mean", "variance", "blend")  # as `dense` numbers them


@lru_cache(maxsize=1024)
def shape_of(architecture: Architecture, loss: str) -> Shape:
    """The architecture as the compiled code takes it."""
    parts, scale = np.full((len(architecture.sizes) - 1, len(_PARTS)), -1), -1
    for part in architecture.parts:
        if part.name == "scale":
            scale = part.start
        else:
            parts[part.layer, _PARTS.index(part.name)] = part.start
    return Shape(
        np.array(architecture.sizes, np.int64),
        parts,
        scale,
        NORMALIZATIONS[architecture.normalization],
        int(bool(architecture.residual)),
        LINKS.get(loss, 0),
    )


@lru_cache
def kernels_of(
    activation: str, normalization: str, loss: str = "", optimizer: str = "", dtype: str = "float32"
) -> Kernels:
    """The machine code for these, compiled now where it is not yet; its addresses hold in this process only."""
    real = from_dtype(np.dtype(dtype))
    flat, table, number = types.Array(real, 1, "C"), types.Array(real, 2, "C"), types.float64
    there, back = THERE_AND_BACK.get(normalization, (None, None))
    return Kernels(
        activate=address(ACTIVATIONS[activation], flat, flat),
        normalize=address(there, *[flat] * 7, types.boolean) if there else 0,
        denormalize=address(back, *[flat] * 7) if back else 0,
        loss=address(LOSSES[loss], table, table, flat, table, number, number) if loss else 0,
        update=address(OPTIMIZERS[optimizer], *[flat] * 4, *[number] * 4, types.int64) if optimizer else 0,
        descend=0,
    )


def with_step(kernels: Kernels, shape: Shape, recipe: Recipe, state: State, rows: Rows) -> Kernels:
    """The kernels with that of a whole step for arguments of these types."""
    return kernels._replace(descend=_step(*map(typeof, (shape, kernels, recipe, state, rows))))


@lru_cache
def _step(shape: Any, kernels: Any, recipe: Any, state: Any, rows: Any) -> int:
    signature = _step_signature(shape, kernels, recipe, state, rows)
    compiler = _step_compiler(state.types[0].dtype.name)
    if compiler is not None:
        compiler.wait()  # then the code is read from disk, or compiled here should that process have failed
    return address(descend, *signature)


def _step_signature(shape: Any, kernels: Any, recipe: Any, state: Any, rows: Any) -> tuple[types.Type, ...]:
    """The types of all arguments of `descend`, from those of its first five."""
    flat = state.types[0]
    table, places = types.Array(flat.dtype, 2, "C"), types.Array(types.int64, 2, "C")
    room = types.NamedTuple([flat, places], Pass)
    counts, factors = [types.int64] * 2, [types.float64] * 3
    stop = types.Array(types.uint8, 1, "C")
    return shape, kernels, recipe, state, rows, room, table, flat, flat, flat, *counts, *factors, stop


def start_step_compiler(dtype: str = "float32") -> bool:
    """Compile the training step in a second process, beside what this one compiles.

    Compiling all of it takes about ten seconds in one process, once after an installation; more than half is the step.
    Returns False, and starts nothing, where the step was compiled before or there is only one core.
    """
    with _STARTING:
        return _step_compiler(dtype) is not None


def compile_step(dtype: str) -> None:
    """Compile the training step for networks of this type, and keep the machine code on disk."""
    address(descend, *_default_step_signature(dtype))


@lru_cache
def _step_compiler(dtype: str) -> subprocess.Popen[bytes] | None:
    if (os.cpu_count() or 1) < 2 or is_compiled(descend, *_default_step_signature(dtype)):
        return None
    command = f"from {__name__} import compile_step; compile_step({dtype!r})"
    null = subprocess.DEVNULL
    words = [sys.executable, "-P", "-c", command]
    return subprocess.Popen(words, stdin=null, stdout=null, stderr=null)  # noqa: S603 - a command of ours


def _default_step_signature(dtype: str) -> tuple[types.Type, ...]:
    """The types of the arguments of `descend` for rows as a fit has them."""
    real, integer, number = from_dtype(np.dtype(dtype)), types.int64, types.float64
    flat, table = types.Array(real, 1, "C"), types.Array(real, 2, "C")
    integers, places = types.Array(integer, 1, "C"), types.Array(integer, 2, "C")
    shape = types.NamedTuple([integers, places, *[integer] * 4], Shape)
    kernels = types.NamedUniTuple(integer, len(Kernels._fields), Kernels)
    rates = types.Array(number, 2, "C")
    recipe = types.NamedTuple([integer, integer, integers, *[number] * 10, places, rates], Recipe)
    counter, counts = types.Array(types.uint64, 1, "C"), types.Array(number, 1, "C")
    state = types.NamedTuple([*[flat] * 4, integers, counter, integers, counts], State)
    return _step_signature(shape, kernels, recipe, state, types.NamedTuple([table, table, flat], Rows))
