"""Part `network` of cluster.py: one convolutional network on two processes against one, with the same batches."""

from __future__ import annotations

import statistics
import time
from multiprocessing import get_context
from typing import Any

import numpy as np

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


def make_network() -> tuple[Member, MediaRows]:
    """A convolutional network, and images of random colors."""
    rng = np.random.default_rng(0)
    t = rng.integers(0, 2, (ROWS, 1)).astype(np.float32)
    pixels = rng.integers(0, 200, (ROWS, SIDE, SIDE, 3)) + 40 * t[:, :, None, None].astype(int)
    cells = [encode_image(image) for image in pixels.astype(np.uint8)]
    images = ImageDataset(cells, SIDE, 3, "resize", "uint8", (128.0,) * 3, (74.0,) * 3)
    rows = MediaRows(np.empty((ROWS, 0), np.float32), (images,), t, np.ones(ROWS, np.float32))
    settings: dict[str, Any] = {"kind": "cnn", "channels": (16, 32, 64), "batch_size": 128, "epochs": EPOCHS}
    settings |= {"optimizer": "momentum", "learning_rate": 0.01, "precision": "float32", "cores": 1}
    spec = resolve_auto(Spec.from_hyperparameters(**settings, patience=EPOCHS), ROWS, 2)
    architecture = build_deep(spec.network, (InputSpec("image", 3, SIDE, SIDE),), 0, 1)
    order = np.arange(ROWS)
    train, validation = order[N_VALIDATION:], order[:N_VALIDATION]
    return new_member(spec, architecture, "binary_cross_entropy", train, validation, (0, 0), rows), rows


def _train_rank(rank: int, size: int, meeting: Any, results: Any) -> None:
    """Train as one of several processes with one core each; rank 0 returns seconds of an epoch and parameters."""
    import torch

    from rosenblatt.training.torch.data_parallel import follow, lead
    from rosenblatt.training.torch.ranks import Listener, Ranks

    member, rows = make_network()
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
    times = [time.perf_counter(), *(time.perf_counter() for _ in records)]
    results.put((statistics.median(np.diff(times)), member.state.theta))


def train_with(size: int) -> tuple[float, np.ndarray]:
    """Seconds of an epoch on this number of processes, and the parameters at the end."""
    context = get_context("spawn")
    meeting, results = context.Queue(), context.Queue()
    processes = [context.Process(target=_train_rank, args=(rank, size, meeting, results)) for rank in range(size)]
    for process in processes:
        process.start()
    result: tuple[float, np.ndarray] = results.get()
    for process in processes:
        process.join()
    return result


def measure_network(repeats: int) -> dict[str, float]:
    """Speed of two processes against one, and the largest difference of a parameter."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    parameters: dict[int, np.ndarray] = {}
    for _ in range(repeats):
        for size, durations in seconds.items():
            duration, parameters[size] = train_with(size)
            durations.append(duration)
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    medians = {f"seconds of an epoch, {size} processes": statistics.median(values) for size, values in seconds.items()}
    difference = float(np.abs(parameters[2] - parameters[1]).max())
    return (
        medians
        | {"speed of 2": statistics.median(ratios), "parameters": parameters[1].size}
        | {"largest difference of a parameter": difference}
    )
