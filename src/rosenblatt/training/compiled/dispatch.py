"""Arguments of the compiled training loop: layouts, kernels, and the machine code of a training step."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from threading import Lock
from typing import Any, cast

import numpy as np
from numba import typeof, types
from numba.np.numpy_support import from_dtype

from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.training.compiled.activations import ACTIVATIONS
from rosenblatt.training.compiled.jit import function_address, is_compiled
from rosenblatt.training.compiled.losses import LOSSES
from rosenblatt.training.compiled.mlp import Buffers, CompiledLayout, Job, Kernels, Workspace, train_step
from rosenblatt.training.compiled.normalization import FORWARD_AND_BACKWARD, NORMALIZATIONS
from rosenblatt.training.compiled.optimizers import OPTIMIZERS
from rosenblatt.training.member import Member
from rosenblatt.training.rows import NO_SPANS, DenseRows
from rosenblatt.training.state import MemberState, TrainingConfig

_COMPILER_LOCK = Lock()  # only one process compiles the step, even if several threads need it
PART_NAMES = ("weight", "bias", "gain", "shift", "mean", "variance", "blend")  # in the order of `mlp.WEIGHT`, ...


@lru_cache(maxsize=1024)
def compiled_layout(architecture: DenseArchitecture) -> CompiledLayout:
    """Return the layout of an architecture's parameters for the compiled code."""
    parts, scale = np.full((len(architecture.sizes) - 1, len(PART_NAMES)), -1), -1
    for part in architecture.parts:
        if part.name == "scale":
            scale = part.start
        else:
            parts[part.layer, PART_NAMES.index(part.name)] = part.start
    sizes, normalization = np.array(architecture.sizes, np.int64), NORMALIZATIONS[architecture.normalization]
    spans = np.array([[0, architecture.sizes[0], 0]], np.int64)
    return CompiledLayout(sizes, parts, scale, normalization, int(bool(architecture.residual)), spans)


def layout_with_spans(architecture: DenseArchitecture, spans: np.ndarray) -> CompiledLayout:
    """Return the layout of a network for inputs of these spans, unless it scales the inputs or there are no spans."""
    layout = compiled_layout(architecture)
    return layout._replace(spans=spans) if len(spans) and layout.scale < 0 else layout


@lru_cache
def compile_kernels(
    activation: str, normalization: str, loss: str = "", optimizer: str = "", dtype: str = "float32"
) -> Kernels:
    """Compile the kernels of a network, unless they are on disk; their addresses are valid in this process only.

    A network that only predicts has neither loss nor optimizer.
    """
    real = from_dtype(np.dtype(dtype))
    flat, table, number = types.Array(real, 1, "C"), types.Array(real, 2, "C"), types.float64
    forward, backward = FORWARD_AND_BACKWARD.get(normalization, (None, None))
    return Kernels(
        activate=function_address(ACTIVATIONS[activation], flat, flat),
        normalize=function_address(forward, *[flat] * 7, types.boolean) if forward else 0,
        normalize_backward=function_address(backward, *[flat] * 7) if backward else 0,
        loss=function_address(LOSSES[loss], table, table, flat, table, number, number) if loss else 0,
        update=optimizer_address(optimizer, dtype) if optimizer else 0,
        train_step=0,
    )


@lru_cache
def optimizer_address(optimizer: str, dtype: str = "float32") -> int:
    """Compile the kernel of an optimizer, unless it is on disk, and return its address."""
    flat = types.Array(from_dtype(np.dtype(dtype)), 1, "C")
    return function_address(OPTIMIZERS[optimizer], *[flat] * 4, *[types.float64] * 4, types.int64)


def make_job(member: Member, rows: DenseRows) -> Job:
    """Return the arguments of the compiled training loop for a member, still without the compiled step."""
    architecture = cast("DenseArchitecture", member.architecture)
    optimizer, dtype = member.spec.training.optimizer, rows.weight.dtype.name
    kernels = compile_kernels(architecture.activation, architecture.normalization, member.loss, optimizer, dtype)
    spans = rows.spans if member.spec.training.input_dropout == 0 else NO_SPANS
    return Job(
        layout_with_spans(architecture, spans), kernels, cast("TrainingConfig", member.config), member.state, rows
    )


def with_train_step(job: Job) -> Job:
    """Return the job with the compiled step for arguments of its types."""
    return job._replace(kernels=job.kernels._replace(train_step=_step_address(typeof(job))))


@lru_cache
def _step_address(job: Any) -> int:
    compiler = _step_compiler(job.types[Job._fields.index("state")].types[0].dtype.name)
    if compiler is not None:
        compiler.wait()  # then the code is read from disk, or compiled here if that process failed
    return function_address(train_step, *_step_signature(job))


def _step_signature(job: Any) -> tuple[types.Type, ...]:
    """Return the types of all arguments of `train_step` for a job of this type."""
    flat = job.types[Job._fields.index("state")].types[0]
    table, integer_table = types.Array(flat.dtype, 2, "C"), types.Array(types.int64, 2, "C")
    integers = types.Array(types.int64, 1, "C")
    workspace = types.NamedTuple([flat, integer_table, integers, integers], Workspace)
    buffers = types.NamedTuple([workspace, table, flat, flat, flat], Buffers)
    factors, stop = types.UniTuple(types.float64, 3), types.Array(types.uint8, 1, "C")
    return job, buffers, types.int64, types.int64, factors, stop


def start_step_compiler(dtype: str = "float32") -> bool:
    """Compile the training step in a second process, while this one compiles everything else.

    All compilation takes about ten seconds in one process, once per installation; more than half of it is the step.
    Returns False, and starts nothing, if the step is already compiled or there is only one core.
    """
    with _COMPILER_LOCK:
        return _step_compiler(dtype) is not None


def compile_step(dtype: str) -> None:
    """Compile the training step for networks of this type, and keep the machine code on disk."""
    function_address(train_step, *_step_signature(typeof(_example_job(dtype))))


@lru_cache
def _step_compiler(dtype: str) -> subprocess.Popen[bytes] | None:
    if (os.cpu_count() or 1) < 2 or is_compiled(train_step, *_step_signature(typeof(_example_job(dtype)))):
        return None
    command = f"from {__name__} import compile_step; compile_step({dtype!r})"
    null = subprocess.DEVNULL
    arguments = [sys.executable, "-P", "-c", command]
    return subprocess.Popen(arguments, stdin=null, stdout=null, stderr=null)  # noqa: S603 - a fixed command


def _example_job(dtype: str) -> Job:
    """Return a job whose arrays are empty, for its type."""
    flat, table = np.empty(0, dtype), np.empty((0, 0), dtype)
    integers, integer_table, counts = np.empty(0, np.int64), np.empty((0, 0), np.int64), np.empty(0)
    layout = CompiledLayout(integers, integer_table, -1, 0, 0, integer_table)
    numbers = dict.fromkeys(TrainingConfig._fields, 0.0)
    arrays = {"strata": integers, "groups": integer_table, "rates": np.empty((0, 0)), "unit_weights": integer_table}
    config = TrainingConfig(**numbers | {"batch_size": 1, "stratified": 0} | arrays)  # type: ignore[arg-type]
    state = MemberState(flat, flat, flat, flat, integers, np.empty(0, np.uint64), integers, counts)
    return Job(layout, Kernels(*[0] * len(Kernels._fields)), config, state, DenseRows(table, table, flat))
