"""Layouts, addresses and signatures that the compiled training code takes."""

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

from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.training.compiled.activations import ACTIVATIONS
from rosenblatt.training.compiled.jit import function_address, is_compiled
from rosenblatt.training.compiled.losses import LINKS, LOSSES
from rosenblatt.training.compiled.mlp import CompiledLayout, Kernels, Workspace, train_step
from rosenblatt.training.compiled.normalization import FORWARD_AND_BACKWARD, NORMALIZATIONS
from rosenblatt.training.compiled.optimizers import OPTIMIZERS
from rosenblatt.training.rows import DenseRows
from rosenblatt.training.state import MemberState, TrainingConfig

_COMPILER_LOCK = Lock()  # one process compiles a step, whatever threads ask for it
PART_NAMES = ("weight", "bias", "gain", "shift", "mean", "variance", "blend")  # as `mlp` numbers them


@lru_cache(maxsize=1024)
def compiled_layout(architecture: DenseArchitecture, loss: str) -> CompiledLayout:
    """The architecture as the compiled code takes it."""
    parts, scale = np.full((len(architecture.sizes) - 1, len(PART_NAMES)), -1), -1
    for part in architecture.parts:
        if part.name == "scale":
            scale = part.start
        else:
            parts[part.layer, PART_NAMES.index(part.name)] = part.start
    return CompiledLayout(
        np.array(architecture.sizes, np.int64),
        parts,
        scale,
        NORMALIZATIONS[architecture.normalization],
        int(bool(architecture.residual)),
        LINKS.get(loss, 0),
    )


@lru_cache
def compile_kernels(
    activation: str, normalization: str, loss: str = "", optimizer: str = "", dtype: str = "float32"
) -> Kernels:
    """The machine code for these, compiled now where it is not yet; its addresses hold in this process only."""
    real = from_dtype(np.dtype(dtype))
    flat, table, number = types.Array(real, 1, "C"), types.Array(real, 2, "C"), types.float64
    forward, backward = FORWARD_AND_BACKWARD.get(normalization, (None, None))
    return Kernels(
        activate=function_address(ACTIVATIONS[activation], flat, flat),
        normalize=function_address(forward, *[flat] * 7, types.boolean) if forward else 0,
        normalize_backward=function_address(backward, *[flat] * 7) if backward else 0,
        loss=function_address(LOSSES[loss], table, table, flat, table, number, number) if loss else 0,
        update=function_address(OPTIMIZERS[optimizer], *[flat] * 4, *[number] * 4, types.int64) if optimizer else 0,
        train_step=0,
    )


def with_train_step(
    kernels: Kernels, layout: CompiledLayout, config: TrainingConfig, state: MemberState, rows: DenseRows
) -> Kernels:
    """The kernels with that of a whole step for arguments of these types."""
    return kernels._replace(train_step=_step(*map(typeof, (layout, kernels, config, state, rows))))


@lru_cache
def _step(layout: Any, kernels: Any, config: Any, state: Any, rows: Any) -> int:
    signature = _step_signature(layout, kernels, config, state, rows)
    compiler = _step_compiler(state.types[0].dtype.name)
    if compiler is not None:
        compiler.wait()  # then the code is read from disk, or compiled here should that process have failed
    return function_address(train_step, *signature)


def _step_signature(layout: Any, kernels: Any, config: Any, state: Any, rows: Any) -> tuple[types.Type, ...]:
    """The types of all arguments of `train_step`, from those of its first five."""
    flat = state.types[0]
    table, integer_table = types.Array(flat.dtype, 2, "C"), types.Array(types.int64, 2, "C")
    workspace = types.NamedTuple([flat, integer_table], Workspace)
    counts, factors = [types.int64] * 2, [types.float64] * 3
    stop = types.Array(types.uint8, 1, "C")
    return layout, kernels, config, state, rows, workspace, table, flat, flat, flat, *counts, *factors, stop


def start_step_compiler(dtype: str = "float32") -> bool:
    """Compile the training step in a second process, beside what this one compiles.

    Compiling all of it takes about ten seconds in one process, once after an installation; more than half is the step.
    Returns False, and starts nothing, where the step was compiled before or there is only one core.
    """
    with _COMPILER_LOCK:
        return _step_compiler(dtype) is not None


def compile_step(dtype: str) -> None:
    """Compile the training step for networks of this type, and keep the machine code on disk."""
    function_address(train_step, *_default_step_signature(dtype))


@lru_cache
def _step_compiler(dtype: str) -> subprocess.Popen[bytes] | None:
    if (os.cpu_count() or 1) < 2 or is_compiled(train_step, *_default_step_signature(dtype)):
        return None
    command = f"from {__name__} import compile_step; compile_step({dtype!r})"
    null = subprocess.DEVNULL
    arguments = [sys.executable, "-P", "-c", command]
    return subprocess.Popen(arguments, stdin=null, stdout=null, stderr=null)  # noqa: S603 - a command of ours


def _default_step_signature(dtype: str) -> tuple[types.Type, ...]:
    """The types of the arguments of `train_step` for rows as a fit has them."""
    real, integer, number = from_dtype(np.dtype(dtype)), types.int64, types.float64
    flat, table = types.Array(real, 1, "C"), types.Array(real, 2, "C")
    integers, integer_table = types.Array(integer, 1, "C"), types.Array(integer, 2, "C")
    layout = types.NamedTuple([integers, integer_table, *[integer] * 4], CompiledLayout)
    kernels = types.NamedUniTuple(integer, len(Kernels._fields), Kernels)
    rates = types.Array(number, 2, "C")
    config = types.NamedTuple([integer, integer, integers, *[number] * 10, integer_table, rates], TrainingConfig)
    counter, counts = types.Array(types.uint64, 1, "C"), types.Array(number, 1, "C")
    state = types.NamedTuple([*[flat] * 4, integers, counter, integers, counts], MemberState)
    return _step_signature(layout, kernels, config, state, types.NamedTuple([table, table, flat], DenseRows))
