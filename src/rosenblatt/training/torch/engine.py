"""In: a member, or a trained network, and rows. Out: what trains it for some epochs, and what it says of rows.

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

from rosenblatt.data.media.columns import Ragged
from rosenblatt.networks.deep import Deep
from rosenblatt.networks.dense import Architecture
from rosenblatt.training.member import Member
from rosenblatt.training.rows import MediaRows, Rows
from rosenblatt.training.schedules import factors
from rosenblatt.training.torch.batches import Resident
from rosenblatt.training.torch.forward import Batch, Stacked
from rosenblatt.training.torch.sampling import Deck
from rosenblatt.training.torch.stack import CPU, Stack

NO_MEMORY = "can't allocate memory"  # in what PyTorch raises
BLOCK = 256  # rows that are predicted at a time
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
KEPT, LARGE = 2**28, 2**25  # bytes


@contextmanager
def on_cores(many: int) -> Iterator[None]:
    """Compute on so many cores meanwhile: results then are the same to the last bit wherever they are computed.

    Raises MemoryError where the memory is not enough for what PyTorch computes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(many)
    try:
        yield
    except RuntimeError as error:
        if NO_MEMORY not in str(error):
            raise
        raise MemoryError("a batch of rows does not fit") from error
    finally:
        if threading.current_thread() is threading.main_thread():  # the user's, who may go on with PyTorch
            torch.set_num_threads(before)


@cache
def keep_memory() -> None:
    """Have the C library (glibc) keep what a step has freed for the next one, which needs as much.

    Else it is given back to the system, which fills it with zeros each time it is asked for again.
    """
    if platform.libc_ver()[0] == "glibc" and not any(name.startswith("MALLOC_") for name in os.environ):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGE)
        library.mallopt(M_TRIM_THRESHOLD, KEPT)


@cache
def precision_of_cpu() -> str:
    """In which precision convolutions and LSTMs learn fastest: 16 bits where the processor has products for them."""
    known = torch.cpu.get_capabilities()
    return "mixed" if known.get("amx_bf16", False) or known.get("avx512_bf16", False) else "float32"


def learner(member: Member, table: Rows | MediaRows) -> Callable[[np.ndarray, np.ndarray], int]:
    """What trains this member: for as many epochs as there is room for their losses, until the flag to stop is set."""
    keep_memory()
    stack, resident = Stack(member, 1, shared=True), Resident(table, member.architecture, CPU)
    deck = Deck(member, table, 1, CPU)
    deck.put(0, member, strata_of(member))

    @on_cores(member.spec["cores"])
    def learn(losses: np.ndarray, stop: np.ndarray) -> int:
        for k in range(losses.size):
            rates = rates_of(member, len(member.history) + k, deck.batches)
            total = 0.0
            for step, (batch, seeds) in enumerate(resident.batches(deck.deal(k), deck.way)):
                if stop[0]:
                    return k
                total += float(stack.step(batch, rates[step : step + 1], seeds))
            losses[k] = total / deck.batches
            if not np.isfinite(losses[k]):
                return k
        return losses.size

    return learn


def rates_of(member: Member, epoch: int, batches: int) -> np.ndarray:
    """(batches, 3) float64: the factors of learning rate, dropout and decay in an epoch, counted from 0."""
    steps = np.arange(epoch * batches, (epoch + 1) * batches)
    scores = [-record.loss if np.isnan(record.score) else record.score for record in member.history]
    return factors(member.spec.training, steps, batches * member.spec["epochs"], scores)


def strata_of(member: Member) -> np.ndarray:
    """Where the strata of a member's rows start, as its recipe has it."""
    return getattr(member.recipe, "strata")  # noqa: B009 - perceptrons, which have none, do not come here


@on_cores(1)
def sums_of(
    architecture: Architecture | Deep, theta: np.ndarray, table: Rows | MediaRows, index: np.ndarray
) -> np.ndarray:
    """The last weighted sums of a network for some rows: (n, K), or (n, T, K) for each step, 0 after a row's end.

    Rows go through the network in blocks, sequences of about one length together: what is said of a row is the same
    whatever stands beside it but for rounding.
    """
    media = getattr(table, "media", ())
    ragged = next((one for one in media if isinstance(one, Ragged)), None)
    order = index if ragged is None else index[np.argsort(ragged.lengths[index], kind="stable")]
    place = np.arange(index.size) if ragged is None else np.argsort(ragged.lengths[index], kind="stable")
    each_step = isinstance(architecture, Deep) and architecture.each_step
    longest = int(ragged.lengths.max(initial=1)) if ragged is not None else 1
    out = np.zeros((index.size, *([longest] * each_step), architecture.n_outputs), np.float32)
    resident, net = Resident(table, architecture, CPU), stacked(architecture, theta)
    with torch.inference_mode():
        for first in range(0, index.size, BLOCK):
            some = order[first : first + BLOCK]
            z = said(net, resident.plain([some]))[0].numpy()
            where = place[first : first + BLOCK]
            if each_step:
                out[where, : z.shape[1]] = z
            else:
                out[where] = z
    return out


def stacked(architecture: Architecture | Deep, theta: np.ndarray) -> Stacked:
    """A trained network, to predict with."""
    return Stacked(architecture, torch.from_numpy(np.ascontiguousarray(theta))[None])


def said(net: Stacked, batch: Batch) -> torch.Tensor:
    """What networks say of a batch; the mean over images and their mirror images, where they learnt from both."""
    z = net(batch)
    if isinstance(net.architecture, Deep) and net.architecture.mirrored:
        media = tuple(one.flip(-1) if one.dim() == 5 else one for one in batch.media)
        z = (z + net(batch._replace(media=media))) / 2
    return z
