"""Training and predictions of one network with PyTorch on a CPU.

On a CPU PyTorch's own kernels train each member on as many cores as its spec says, one for most: what it becomes does
not depend on what else there is. Predictions are made on one core, the rows being shared out among the others.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch

from rosenblatt.data.media.columns import RaggedSequences
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.training.member import Member
from rosenblatt.training.rows import DenseRows, MediaRows
from rosenblatt.training.schedules import member_factors
from rosenblatt.training.torch.batches import DeviceTable
from rosenblatt.training.torch.forward import Batch, StackedNetworks
from rosenblatt.training.torch.sampling import BatchSampler
from rosenblatt.training.torch.stack import CPU, MemberStack

OUT_OF_MEMORY_MESSAGE = "can't allocate memory"  # in what PyTorch raises
BLOCK_ROWS = 256  # rows that are predicted at a time
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
TRIM_THRESHOLD, MMAP_THRESHOLD = 2**28, 2**25  # bytes


@contextmanager
def limit_threads(n_threads: int) -> Iterator[None]:
    """Compute on so many cores meanwhile: results then are the same to the last bit wherever they are computed.

    Raises MemoryError where the memory is not enough for what PyTorch computes.
    """
    previous = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    except RuntimeError as error:
        if OUT_OF_MEMORY_MESSAGE not in str(error):
            raise
        raise MemoryError("a batch of rows does not fit") from error
    finally:
        if threading.current_thread() is threading.main_thread():  # the user's, who may go on with PyTorch
            torch.set_num_threads(previous)


@cache
def tune_allocator() -> None:
    """Have the C library (glibc) keep what a step has freed for the next one, which needs as much.

    Else it is given back to the system, which fills it with zeros each time it is asked for again.
    """
    if platform.libc_ver()[0] == "glibc" and not any(name.startswith("MALLOC_") for name in os.environ):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        library.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)


@cache
def fastest_cpu_precision() -> str:
    """In which precision convolutions and LSTMs learn fastest: 16 bits where the processor has products for them."""
    capabilities = torch.cpu.get_capabilities()
    return "mixed" if capabilities.get("amx_bf16", False) or capabilities.get("avx512_bf16", False) else "float32"


def make_trainer(member: Member, table: DenseRows | MediaRows) -> Callable[[np.ndarray, np.ndarray], int]:
    """What trains this member: for as many epochs as there is room for their losses, until the flag to stop is set."""
    tune_allocator()
    stack, device_table = MemberStack(member, 1, shared=True), DeviceTable(table, member.architecture, CPU)
    sampler = BatchSampler(member, table, 1, CPU)
    sampler.load_member(0, member, strata_starts(member))

    @limit_threads(member.spec["cores"])
    def train_epochs(losses: np.ndarray, stop: np.ndarray) -> int:
        for k in range(losses.size):
            factors = member_factors(member, len(member.history) + k, 1, sampler.n_batches)
            total = 0.0
            for step, (batch, seeds) in enumerate(device_table.batches(sampler.sample_epoch(k), sampler.augmentation)):
                if stop[0]:
                    return k
                total += float(stack.step(batch, factors[step : step + 1], seeds))
            losses[k] = total / sampler.n_batches
            if not np.isfinite(losses[k]):
                return k
        return losses.size

    return train_epochs


def strata_starts(member: Member) -> np.ndarray:
    """Where the strata of a member's rows start, as its config has it."""
    return getattr(member.config, "strata")  # noqa: B009 - perceptrons, which have none, do not come here


@limit_threads(1)
def logits(
    architecture: DenseArchitecture | DeepArchitecture,
    theta: np.ndarray,
    table: DenseRows | MediaRows,
    index: np.ndarray,
) -> np.ndarray:
    """The last weighted sums of a network for some rows: (n, K), or (n, T, K) for each step, 0 after a row's end.

    Rows go through the network in blocks, sequences of about one length together: what is said of a row is the same
    whatever stands beside it but for rounding.
    """
    media = getattr(table, "media", ())
    ragged = next((medium for medium in media if isinstance(medium, RaggedSequences)), None)
    order = index if ragged is None else index[np.argsort(ragged.lengths[index], kind="stable")]
    positions = np.arange(index.size) if ragged is None else np.argsort(ragged.lengths[index], kind="stable")
    is_per_step = isinstance(architecture, DeepArchitecture) and architecture.is_per_step
    longest = int(ragged.lengths.max(initial=1)) if ragged is not None else 1
    out = np.zeros((index.size, *([longest] * is_per_step), architecture.n_outputs), np.float32)
    device_table, net = DeviceTable(table, architecture, CPU), load_network(architecture, theta)
    with torch.inference_mode():
        for start in range(0, index.size, BLOCK_ROWS):
            block = order[start : start + BLOCK_ROWS]
            z = predict_with_flips(net, device_table.batch_without_augmentation([block]))[0].numpy()
            out_rows = positions[start : start + BLOCK_ROWS]
            if is_per_step:
                out[out_rows, : z.shape[1]] = z
            else:
                out[out_rows] = z
    return out


def load_network(architecture: DenseArchitecture | DeepArchitecture, theta: np.ndarray) -> StackedNetworks:
    """A trained network, to predict with."""
    return StackedNetworks(architecture, torch.from_numpy(np.ascontiguousarray(theta))[None])


def predict_with_flips(net: StackedNetworks, batch: Batch) -> torch.Tensor:
    """What networks say of a batch; the mean over images and their mirror images, where they learnt from both."""
    z = net(batch)
    if isinstance(net.architecture, DeepArchitecture) and net.architecture.flip_averaging:
        media = tuple(medium.flip(-1) if medium.dim() == 5 else medium for medium in batch.media)
        z = (z + net(batch._replace(media=media))) / 2
    return z
