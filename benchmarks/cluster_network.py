"""Part `network` of cluster.py: one convolutional network on two processes against one, with the same batches.

On a machine that does other work the duration of an epoch says little. The processor time of the process that needs
most is what an epoch would take on free cores, without the time in which bytes are on their way.
"""

from __future__ import annotations

import os
import statistics
import time
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import psutil

from rosenblatt.data.media.images import ImageDataset, encode_image
from rosenblatt.networks.deep import build_deep
from rosenblatt.networks.layers import InputSpec
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member, new_member
from rosenblatt.training.population import train_member
from rosenblatt.training.rows import MediaRows

ROWS, N_VALIDATION, SIDE, EPOCHS = 1_024, 128, 32, 4
HOST = "127.0.0.1"


def make_network(normalization: str) -> tuple[Member, MediaRows]:
    """A convolutional network, and images of random colors."""
    rng = np.random.default_rng(0)
    t = rng.integers(0, 2, (ROWS, 1)).astype(np.float32)
    pixels = rng.integers(0, 200, (ROWS, SIDE, SIDE, 3)) + 40 * t[:, :, None, None].astype(int)
    cells = [encode_image(image) for image in pixels.astype(np.uint8)]
    images = ImageDataset(cells, SIDE, 3, "resize", "uint8", (128.0,) * 3, (74.0,) * 3)
    rows = MediaRows(np.empty((ROWS, 0), np.float32), (images,), t, np.ones(ROWS, np.float32))
    settings: dict[str, Any] = {"kind": "cnn", "channels": (16, 32, 64), "batch_size": 128, "epochs": EPOCHS}
    settings |= {"optimizer": "momentum", "learning_rate": 0.01, "precision": "float32", "cores": 1}
    settings |= {"normalization": normalization}
    spec = resolve_auto(Spec.from_hyperparameters(**settings, patience=EPOCHS), ROWS, 2)
    architecture = build_deep(spec.network, (InputSpec("image", 3, SIDE, SIDE),), 0, 1)
    order = np.arange(ROWS)
    train, validation = order[N_VALIDATION:], order[:N_VALIDATION]
    return new_member(spec, architecture, "binary_cross_entropy", train, validation, (0, 0), rows), rows


class Epoch(NamedTuple):
    """What an epoch takes, medians."""

    seconds: float
    processor_seconds: float  # of the process that needs most


def _processor_seconds() -> list[float]:
    """Processor time of each process that the parent of this one has started."""
    children = psutil.Process(os.getppid()).children()
    return [sum(process.cpu_times()[:2]) for process in sorted(children, key=lambda child: child.pid)]


def _train_rank(rank: int, size: int, normalization: str, meeting: Any, results: Any) -> None:
    """Train as one of several processes with one core each; rank 0 returns what an epoch takes, and parameters."""
    import torch

    from rosenblatt.training.torch.data_parallel import follow, lead
    from rosenblatt.training.torch.ranks import Listener, Ranks

    member, rows = make_network(normalization)
    cpu, stop = torch.device("cpu"), np.zeros(1, np.uint8)
    if size == 1:
        records = train_member(member, rows, None, stop)
    elif rank:
        follow(member, rows, Ranks(meeting.get(), rank, size, HOST, cpu), 1)
        return
    else:
        listener = Listener(HOST, "benchmark")
        for _ in range(size - 1):
            meeting.put(listener.rendezvous)
        records = lead(member, rows, None, stop, ranks=Ranks(listener, 0, size, HOST, cpu), threads=1)
    times = [(time.perf_counter(), *_processor_seconds()) for _ in records]
    seconds, *processor = np.median(np.diff(times, axis=0), axis=0)  # without the first epoch, which starts everything
    results.put((Epoch(float(seconds), float(max(processor))), member.state.theta))


def train_with(size: int, normalization: str) -> tuple[Epoch, np.ndarray]:
    """What an epoch takes on this number of processes, and the parameters at the end."""
    context = get_context("spawn")
    meeting, results = context.Queue(), context.Queue()
    processes = [
        context.Process(target=_train_rank, args=(rank, size, normalization, meeting, results)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    result: tuple[Epoch, np.ndarray] = results.get()
    for process in processes:
        process.join()
    return result


def measure_network(repeats: int, normalization: str) -> dict[str, Any]:
    """Speed of two processes against one, and the largest difference of a parameter."""
    epochs: dict[int, list[Epoch]] = {1: [], 2: []}
    parameters: dict[int, np.ndarray] = {}
    for _ in range(repeats):
        for size, measured in epochs.items():
            epoch, parameters[size] = train_with(size, normalization)
            measured.append(epoch)
    figures: dict[str, Any] = {"normalization": normalization, "parameters": parameters[1].size}
    for field in Epoch._fields:
        one, two = ([getattr(epoch, field) for epoch in epochs[size]] for size in (1, 2))
        name = field.replace("_", " ")
        figures |= {f"{name}, 1 process": statistics.median(one), f"{name}, 2 processes": statistics.median(two)}
        figures[f"speed of 2 by {name}"] = statistics.median(a / b for a, b in zip(one, two, strict=True))
    return figures | {"largest difference of a parameter": float(np.abs(parameters[2] - parameters[1]).max())}
