"""Training and predictions of one network with PyTorch on a CPU.

Each member is trained on as many cores as its spec says, usually one, so that its result does not depend on the other
members. Predictions use one core; the caller distributes rows over the other cores.
"""

from __future__ import annotations

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

OUT_OF_MEMORY_MESSAGE = "can't allocate memory"  # part of the message of PyTorch's error
BLOCK_ROWS = 256  # rows predicted at a time


@contextmanager
def limit_threads(n_threads: int) -> Iterator[None]:
    """Let PyTorch use this many cores in a block of code, so that results are bit-equal on all machines.

    Raises:
        MemoryError: if PyTorch runs out of memory.
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
        if threading.current_thread() is threading.main_thread():  # which belongs to the user
            torch.set_num_threads(previous)


@cache
def fastest_cpu_precision() -> str:
    """Fastest precision for convolutions and LSTMs: "mixed" if the processor multiplies 16-bit numbers."""
    capabilities = torch.cpu.get_capabilities()
    return "mixed" if capabilities.get("amx_bf16", False) or capabilities.get("avx512_bf16", False) else "float32"


def make_trainer(member: Member, table: DenseRows | MediaRows) -> Callable[[np.ndarray, np.ndarray], int]:
    """Return a function that trains a member for len(losses) epochs, until `stop` is set; see `backend.TrainEpochs`."""
    stack, device_table = MemberStack(member, 1, shared=True), DeviceTable(table, member.architecture, CPU)
    sampler = BatchSampler(member, table, 1, CPU)
    sampler.load_member(0, member)

    @limit_threads(member.spec["cores"])
    def train_epochs(losses: np.ndarray, stop: np.ndarray) -> int:
        for k in range(losses.size):
            factors = member_factors(member, member.n_epochs + k, 1, sampler.n_batches)
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


@limit_threads(1)
def logits(
    architecture: DenseArchitecture | DeepArchitecture,
    theta: np.ndarray,
    table: DenseRows | MediaRows,
    index: np.ndarray,
    device_table: DeviceTable | None = None,
) -> np.ndarray:
    """Return the logits of a network for rows `index`: (n, K), or (n, T, K) for steps, 0 after the end of a row.

    Rows go through the network in blocks of similar sequence lengths. A row's logits do not depend on the other rows,
    up to rounding. They are computed on the device of `device_table`, by default on the CPU.
    """
    media = getattr(table, "media", ())
    ragged = next((medium for medium in media if isinstance(medium, RaggedSequences)), None)
    order = index if ragged is None else index[np.argsort(ragged.lengths[index], kind="stable")]
    positions = np.arange(index.size) if ragged is None else np.argsort(ragged.lengths[index], kind="stable")
    is_per_step = isinstance(architecture, DeepArchitecture) and architecture.is_per_step
    longest = int(ragged.lengths.max(initial=1)) if ragged is not None else 1
    out = np.zeros((index.size, *([longest] * is_per_step), architecture.n_outputs), np.float32)
    device_table = device_table or DeviceTable(table, architecture, CPU)
    net = load_network(architecture, theta, device_table.device)
    with torch.inference_mode():
        for start in range(0, index.size, BLOCK_ROWS):
            block = order[start : start + BLOCK_ROWS]
            z = predict_with_flips(net, device_table.batch_without_augmentation([block]))[0].float().cpu().numpy()
            out_rows = positions[start : start + BLOCK_ROWS]
            if is_per_step:
                out[out_rows, : z.shape[1]] = z
            else:
                out[out_rows] = z
    return out


def load_network(
    architecture: DenseArchitecture | DeepArchitecture, theta: np.ndarray, device: torch.device = CPU
) -> StackedNetworks:
    """Build a trained network for predictions."""
    return StackedNetworks(architecture, torch.from_numpy(np.ascontiguousarray(theta))[None].to(device))


def predict_with_flips(net: StackedNetworks, batch: Batch) -> torch.Tensor:
    """Return the logits of a batch, averaged over images and mirrored images if the networks were trained on both."""
    z = net(batch)
    if isinstance(net.architecture, DeepArchitecture) and net.architecture.flip_averaging:
        media = tuple(medium.flip(-1) if medium.dim() == 5 else medium for medium in batch.media)
        z = (z + net(batch._replace(media=media))) / 2
    return z
