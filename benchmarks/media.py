"""Measure test scores on images, sequences and texts, and compare training speed with hand-written PyTorch loops.

    python benchmarks/media.py [--only PART,...] [--device cuda]

The parts are cifar, names, indoor, channels, overhead, population, reading and gpu. Only on request: cifar_search (30
minutes) and names_3 (three seeds, 20 minutes).

Scores need the data sets in ../shared/data. The PyTorch loops use the same network, batches, optimizer, gradient
clipping and threads, and channels-last memory for images. Times are medians of alternating rounds.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import time
from collections import deque
from pathlib import Path

import numpy as np
import torch
from common import SHARED, make_table, require_data, torch_mlp
from rich.console import Console
from torch import nn

from rosenblatt.data.media.columns import RaggedSequences
from rosenblatt.data.media.images import ImageDataset, _simplejpeg, encode_image
from rosenblatt.data.readers.read import read_table
from rosenblatt.data.splits import make_folds
from rosenblatt.networks.deep import build_deep
from rosenblatt.networks.dense import build_dense
from rosenblatt.networks.layers import InputSpec
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import new_member
from rosenblatt.training.population import train
from rosenblatt.training.rows import DenseRows, MediaRows
from rosenblatt.training.torch.engine import make_trainer
from rosenblatt.training.workers import cores
from rosenblatt.workflows import fit

console = Console()


def fit_with_scores(path, targets=(), **hyperparameters):
    """Fit with default hyperparameters; returns test scores by name, and seconds."""
    started = time.perf_counter()
    result = fit.fit(
        read_table(path), list(targets), Spec.from_hyperparameters(**hyperparameters), notify=lambda _: None
    )
    return {score.name: score.model for score in result.scores}, time.perf_counter() - started


def cifar(table):
    scores, seconds = fit_with_scores(SHARED / "cifar10-5k", kind="cnn")
    table.add_row("cifar10-5k, one fit", f"accuracy {scores['accuracy']:.3f}", "0.75 in 600 s", f"{seconds:.0f}")


def channels(table):
    scores, seconds = fit_with_scores(SHARED / "cifar10-5k", kind="channel_mlp")
    table.add_row("cifar10-5k, channel_mlp", f"accuracy {scores['accuracy']:.3f}", "", f"{seconds:.0f}")


def cifar_search(table):
    scores, seconds = fit_with_scores(SHARED / "cifar10-5k", kind="cnn", minutes=30)
    table.add_row("cifar10-5k, search of 30 minutes", f"accuracy {scores['accuracy']:.3f}", "0.79", f"{seconds:.0f}")


def names(table, seeds=(0,)):
    """One fit for each seed; the seed also selects the test rows."""
    for balance in (0.0, 0.2):
        for seed in seeds:
            scores, seconds = fit_with_scores(SHARED / "names", kind="rnn", logit_adjustment=balance, seed=seed)
            text = f"accuracy {scores['accuracy']:.3f}, F1 {scores['F1 (mean of classes)']:.3f}"
            label = f"names, logit_adjustment {balance}, seed {seed}"
            table.add_row(label, text, "0.855 / 0.60 in 300 s", f"{seconds:.0f}")


def names_3(table):
    names(table, range(3))


def indoor(table):
    """Cross-validation with five folds."""
    started, right, total = time.perf_counter(), 0.0, 0
    table_read = read_table(SHARED / "IndoorMovement.zip")
    y = table_read.frame["class_label"].to_numpy()
    for fold in make_folds(len(y), 5, 0, (y == "1").astype(float)):
        parts = [
            type(table_read)(table_read.frame[rows], table_read.source, excluded_columns=table_read.excluded_columns)
            for rows in fold
        ]
        result = fit.fit(
            parts[0], ["class_label"], Spec.from_hyperparameters(kind="rnn"), test=parts[1], notify=lambda _: None
        )
        accuracy = next(score.model for score in result.scores if score.name == "accuracy")
        right, total = right + accuracy * len(fold.validation), total + len(fold.validation)
    seconds = time.perf_counter() - started
    table.add_row("IndoorMovement, 5 folds", f"accuracy {right / total:.3f}", "0.955", f"{seconds:.0f}")


SCORES = {
    "cifar": cifar,
    "channels": channels,
    "names": names,
    "indoor": indoor,
    "cifar_search": cifar_search,
    "names_3": names_3,
}


class Convolutions(nn.Module):
    """The network that `cnn` builds with channels 16, 32, 64 and two convolutions per stage."""

    def __init__(self):
        super().__init__()
        layers, n = [], 3
        for stage, width in enumerate((16, 32, 64)):
            layers += [nn.MaxPool2d(2)] * (stage > 0)
            for _ in range(2):
                layers += [nn.Conv2d(n, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                n = width
        self.body, self.head = nn.Sequential(*layers), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=(2, 3)))


class Lstm(nn.Module):
    """The network that `rnn` builds with one layer of 64 units in one direction and max pooling over the steps."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.LSTM(8, 64, batch_first=True), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.body(x)[0].amax(dim=1))


PLAIN = {"label_smoothing": 0.0, "dropout": 0.0, "weight_decay": 0.0}
SHAPE = {"channels": (16, 32, 64), "block_layers": 2, "residual": False, "activation": "relu"}
CNN = {"kind": "cnn", "flip": False, "crop": 0.0, "cutout": 0.0, **SHAPE, **PLAIN}
LSTM = {"kind": "rnn", "rnn_cell": "lstm", "bidirectional": False, "recurrent_width": 64, **PLAIN}
COMMON = {"learning_rate": 1e-3, "schedule": "constant", "batch_size": 64, "folds": 1}
N = 2048


def make_data(kind):
    """Random images or sequences: rows for Rosenblatt, the input of the network, and the array."""
    rng = np.random.default_rng(0)
    t, weight, x = rng.integers(0, 10, (N, 1)).astype(np.float32), np.ones(N, np.float32), np.empty((N, 0), np.float32)
    if kind == "cnn":
        pixels = rng.integers(0, 256, (N, 32, 32, 3)).astype(np.uint8)
        pictures = ImageDataset(
            [encode_image(image) for image in pixels], 32, 3, "resize", "uint8", (127.5,) * 3, (1 / 74,) * 3
        )
        return MediaRows(x, (pictures,), t, weight), (InputSpec("image", 3, 32, 32),), pixels
    steps = rng.normal(size=(N, 32, 8)).astype(np.float32)
    return (
        MediaRows(x, (RaggedSequences.from_rows(list(steps), 32, keep_end=True),), t, weight),
        (InputSpec("sequence", 8),),
        steps,
    )


def make_member(kind, rows, media, seed, epochs, threads=1):
    """A member equal to the hand-written network."""
    hyperparameters = {**(CNN if kind == "cnn" else LSTM), **COMMON, "epochs": epochs, "seed": seed, "cores": threads}
    spec = resolve_auto(Spec.from_hyperparameters(**hyperparameters), N, 0)
    architecture = build_deep(spec.network, media, 0, 10)
    return new_member(spec, architecture, "cross_entropy", np.arange(N), np.arange(0), (seed, 0), rows)


def time_by_hand(kind, array, labels, epochs, threads, seed=0):
    """Seconds of each epoch of the hand-written loop."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = Convolutions() if kind == "cnn" else Lstm()
    x, y = torch.from_numpy(array), torch.from_numpy(labels)
    if kind == "cnn":
        model = model.to(memory_format=torch.channels_last)
    optimizer, loss_of = torch.optim.Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    times = []
    for _ in range(epochs):
        started, order = time.perf_counter(), torch.randperm(N)
        for rows in order.split(64):
            batch = x[rows]
            if kind == "cnn":
                batch = ((batch.float() - 127.5) / 74).permute(0, 3, 1, 2)
            optimizer.zero_grad()
            loss = loss_of(model(batch), y[rows])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loss.item()
        times.append(time.perf_counter() - started)
    return times


def time_member(kind, rows, media, epochs, threads):
    """Seconds of each epoch of one member."""
    member, times = make_member(kind, rows, media, 0, epochs, threads), []
    train_epoch = make_trainer(member, rows)
    for _ in range(epochs):
        started = time.perf_counter()
        train_epoch(np.zeros(1), np.zeros(1, np.uint8))
        times.append(time.perf_counter() - started)
    return times


def overhead():
    """Compare an epoch of one network with the hand-written loop, on one core and on all cores."""
    table = make_table(
        "An epoch of one network, seconds", "network", "cores", "Rosenblatt", "hand-written", "overhead (goal 3 %)"
    )
    for kind in ("cnn", "rnn"):
        rows, media, array = make_data(kind)
        labels = rows.t[:, 0].astype(np.int64)
        for threads in (1, cores()):
            our_times, their_times = [], []
            for _ in range(5):
                our_times += time_member(kind, rows, media, 3, threads)[1:]
                their_times += time_by_hand(kind, array, labels, 3, threads)[1:]
            a, b = (float(np.median(times)) for times in (our_times, their_times))
            name = "CNN" if kind == "cnn" else "LSTM"
            table.add_row(name, str(threads), f"{a:.3f}", f"{b:.3f}", f"{a / b - 1:+.1%}")
    console.print(table)


def _train_by_hand(kind, seeds, epochs, threads, ready, results):
    _, _, array = make_data(kind)
    labels = np.random.default_rng(0).integers(0, 10, (N, 1))[:, 0]
    time_by_hand(kind, array, labels, 1, threads)
    ready.wait()
    for seed in seeds:
        time_by_hand(kind, array, labels, epochs, threads, seed)
    results.put(1)


def time_processes(kind, processes, threads, epochs):
    """Seconds in which hand-written loops train eight networks, in several processes of several threads."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(processes + 1), context.Queue()
    seed_parts = np.array_split(np.arange(8), processes)
    workers = [
        context.Process(target=_train_by_hand, args=(kind, seeds.tolist(), epochs, threads, ready, results))
        for seeds in seed_parts
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    started = time.perf_counter()
    for _ in workers:
        results.get()
    seconds = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return seconds


def population():
    """Compare eight networks with the fastest arrangement of hand-written loops."""
    columns = "Rosenblatt", "one process per core", "one by one, all cores", "ratio to the faster (goal 1.0x)"
    table = make_table("Eight networks, seconds", "network", *columns)
    for kind in ("cnn", "rnn"):
        rows, media, _ = make_data(kind)
        epochs = 2
        times = []
        for _ in range(3):
            list(train([make_member(kind, rows, media, 0, 1)], rows))
            members = [make_member(kind, rows, media, seed, epochs) for seed in range(8)]
            started = time.perf_counter()
            list(train(members, rows))
            our_seconds = time.perf_counter() - started
            times.append(
                (our_seconds, time_processes(kind, cores(), 1, epochs), time_processes(kind, 1, cores(), epochs))
            )
        a, b, c = (float(np.median(column)) for column in zip(*times, strict=True))
        table.add_row("CNN" if kind == "cnn" else "LSTM", f"{a:.1f}", f"{b:.1f}", f"{c:.1f}", f"{min(b, c) / a:.2f}x")
    console.print(table)


def reading():
    """Compare reading JPEG files into arrays with the decoder alone, on all cores."""
    from concurrent.futures import ThreadPoolExecutor
    from tempfile import TemporaryDirectory

    from PIL import Image

    table = make_table(
        "JPEG to arrays, images per second", "images", "decoder", "decoder alone", "Rosenblatt", "fraction (goal 95 %)"
    )
    with TemporaryDirectory() as folder:
        for side, n_images in ((224, 1500), (32, 6000)):
            smooth = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3)).astype(np.uint8)
            paths = []
            for k in range(n_images):
                paths.append(f"{folder}/{side}-{k}.jpg")
                Image.fromarray(np.roll(smooth, k, axis=0)).resize((side, side)).save(paths[-1], quality=90)
            fast = _simplejpeg()

            def decode(path, fast=fast):
                content = Path(path).read_bytes()
                return fast.decode_jpeg(content) if fast else np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

            rates = []
            for _ in range(25):
                started = time.perf_counter()
                with ThreadPoolExecutor(cores()) as pool:
                    deque(pool.map(decode, paths, chunksize=64), maxlen=0)
                middle = time.perf_counter()
                ImageDataset(paths, side, 3, "resize", "uint8", (0.0,) * 3, (1.0,) * 3)
                rates.append((n_images / (middle - started), n_images / (time.perf_counter() - middle)))
            a, b = (float(np.median(column)) for column in zip(*rates, strict=True))
            name = "simplejpeg" if fast else "Pillow"
            table.add_row(f"{side} x {side}", name, f"{a:,.0f}", f"{b:,.0f}", f"{b / a:.0%}")
    console.print(table)


def gpu(device):
    """Compare stacks on a GPU with eager PyTorch training one network at a time on the same GPU."""
    if not torch.cuda.is_available():
        console.print("This machine has no GPU, so the part gpu is skipped.")
        return
    name = torch.cuda.get_device_name()
    table = make_table(
        f"Network-steps per second on {name}", "networks", "Rosenblatt", "one at a time", "ratio", "goal"
    )
    for kind, n_networks, goal in (("mlp", 256, "100x"), ("rnn", 64, "20x"), ("cnn", 64, "5x")):
        if kind == "mlp":
            rng, n = np.random.default_rng(0), 8 * N
            x, t = rng.normal(size=(n, 32)).astype(np.float32), rng.integers(0, 10, (n, 1)).astype(np.float32)
            rows, array = DenseRows(x, t, np.ones(n, np.float32)), x
            spec = Spec.from_hyperparameters(
                kind="mlp", hidden_sizes=(64, 64), **{**COMMON, "batch_size": 128, "epochs": 20, "dropout": 0.0}
            )
            spec, loss = resolve_auto(spec.replace(device=device), n, 32), "cross_entropy"
            members = [
                new_member(spec, build_dense(spec.network, 32, 10), loss, np.arange(n), np.arange(0), (k, 0), rows)
                for k in range(n_networks)
            ]
        else:
            rows, media, array = make_data(kind)
            members = [make_member(kind, rows, media, seed, 5) for seed in range(n_networks)]
            for member in members:
                member.spec = member.spec.replace(device=device)
        epochs, size = members[0].epochs, members[0].spec["batch_size"]
        steps = epochs * -(-len(rows.t) // size)
        list(train([members[0].copy(), members[1].copy()], rows))
        started = time.perf_counter()
        list(train(members, rows))
        rate = n_networks * steps / (time.perf_counter() - started)
        single_rate = _single_on_gpu(kind, array, rows.t[:, 0].astype(np.int64), size, device)
        table.add_row(f"{n_networks} {kind}", f"{rate:,.0f}", f"{single_rate:,.0f}", f"{rate / single_rate:.1f}x", goal)
    console.print(table)


def _single_on_gpu(kind, array, labels, size, device):
    """Steps per second of one network in eager PyTorch, with the data on the device."""
    model = {"mlp": torch_mlp((32, 64, 64, 10)), "cnn": Convolutions(), "rnn": Lstm()}[kind].to(device)
    x, y = torch.from_numpy(array).to(device), torch.from_numpy(labels).to(device)
    if kind == "cnn":
        x = ((x.float() - 127.5) / 74).permute(0, 3, 1, 2).contiguous()
    optimizer, loss_of = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True), nn.CrossEntropyLoss()
    for is_timed in (False, True):
        torch.cuda.synchronize()
        started, steps = time.perf_counter(), 0
        for _ in range(3):
            for rows in torch.randperm(len(x), device=device).split(size):
                optimizer.zero_grad()
                loss_of(model(x[rows]), y[rows]).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                steps += 1
        torch.cuda.synchronize()
        if is_timed:
            return steps / (time.perf_counter() - started)
    return 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", default="cifar,names,indoor,channels,overhead,population,reading,gpu", help="parts to run"
    )
    parser.add_argument("--device", default="cuda", help="device of the part gpu")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if any(name in SCORES for name in names):
        require_data()
        table = make_table("Test scores with default hyperparameters", "data", "score", "goal", "seconds")
        for name in names:
            if name in SCORES:
                SCORES[name](table)
        console.print(table)
    for name, measure in (("overhead", overhead), ("population", population), ("reading", reading)):
        if name in names:
            measure()
    if "gpu" in names:
        gpu(arguments.device)


if __name__ == "__main__":
    main()
