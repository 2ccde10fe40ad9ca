"""Images, sequences and texts: scores of one fit, and speed beside loops of PyTorch written by hand.

Usage: python benchmarks/media.py [--only WHAT,...] [--device cuda]

WHAT: cifar, names, indoor, channels, overhead, population, reading, gpu; if named also cifar_search (30 minutes) and
names_3 (three seeds, 20 minutes).

Scores need the real data sets beside the repository (../shared/data). Peers are tuned alike: same network, batches,
optimizer, clipping and threads, channels last for images. Medians of rounds that take turns.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table as Grid
from torch import nn

from rosenblatt.data.media.columns import Ragged
from rosenblatt.data.media.images import Pictures, _simplejpeg, as_cell
from rosenblatt.data.readers.read import read_table
from rosenblatt.data.splits import deal
from rosenblatt.networks.deep import build_deep
from rosenblatt.networks.dense import build
from rosenblatt.networks.layers import Medium
from rosenblatt.spec.defaults import resolve
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import new_member
from rosenblatt.training.population import train
from rosenblatt.training.rows import MediaRows, Rows
from rosenblatt.training.torch.engine import learner
from rosenblatt.training.workers import cores
from rosenblatt.workflows import fit

DATA = Path(__file__).parents[2] / "shared" / "data"
console = Console()


def grid(title, *names):
    table = Grid(title=title)
    for name in names:
        table.add_column(name)
    return table


def fitted(path, targets=(), **named):
    """A fit with default hyperparameters; its test scores by name, and seconds."""
    started = time.perf_counter()
    known = fit.fit(read_table(path), list(targets), Spec.of(**named), say=lambda _: None)
    return {score.name: score.model for score in known.scores}, time.perf_counter() - started, known


def cifar(table):
    scores, seconds, _ = fitted(DATA / "cifar10-5k", kind="cnn")
    table.add_row("cifar10-5k, one fit", f"accuracy {scores['accuracy']:.3f}", "0.75 in 600 s", f"{seconds:.0f}")


def channels(table):
    scores, seconds, _ = fitted(DATA / "cifar10-5k", kind="channel_mlp")
    table.add_row("cifar10-5k, channel_mlp", f"accuracy {scores['accuracy']:.3f}", "", f"{seconds:.0f}")


def cifar_search(table):
    scores, seconds, _ = fitted(DATA / "cifar10-5k", kind="cnn", minutes=30)
    table.add_row("cifar10-5k, search of 30 minutes", f"accuracy {scores['accuracy']:.3f}", "0.79", f"{seconds:.0f}")


def names(table, seeds=(0,)):
    """A fit for each seed, which also chooses the test rows."""
    for balance in (0.0, 0.2):
        for seed in seeds:
            scores, seconds, _ = fitted(DATA / "names", kind="rnn", class_balance=balance, seed=seed)
            said = f"accuracy {scores['accuracy']:.3f}, F1 {scores['F1 (mean of classes)']:.3f}"
            what = f"names, class_balance {balance}, seed {seed}"
            table.add_row(what, said, "0.855 / 0.60 in 300 s", f"{seconds:.0f}")


def names_3(table):
    names(table, range(3))


def indoor(table):
    """Five folds, each the test of a fit on the others."""
    started, right, total = time.perf_counter(), 0.0, 0
    read = read_table(DATA / "IndoorMovement.zip")
    y = read.frame["class_label"].to_numpy()
    for fold in deal(len(y), 5, 0, (y == "1").astype(float)):
        parts = [type(read)(read.frame[rows], read.source, aside=read.aside) for rows in fold]
        known = fit.fit(parts[0], ["class_label"], Spec.of(kind="rnn"), test=parts[1], say=lambda _: None)
        accuracy = next(score.model for score in known.scores if score.name == "accuracy")
        right, total = right + accuracy * len(fold.spared), total + len(fold.spared)
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
    """The network that `cnn` builds with channels 16, 32, 64, two convolutions a stage."""

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
    """The network that `rnn` builds with one layer of 64 units in one direction, of which the largest is taken."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.LSTM(8, 64, batch_first=True), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.body(x)[0].amax(dim=1))


PLAIN = {"label_smoothing": 0.0, "dropout": 0.0, "weight_decay": 0.0}
SHAPE = {"channels": (16, 32, 64), "block_layers": 2, "residual": False, "activation": "relu"}
CNN = {"kind": "cnn", "flip": False, "crop": 0.0, "cutout": 0.0, **SHAPE, **PLAIN}
LSTM = {"kind": "rnn", "cell": "lstm", "bidirectional": False, "recurrent_width": 64, **PLAIN}
COMMON = {"learning_rate": 1e-3, "schedule": "constant", "batch_size": 64, "folds": 1}
N = 2048


def data_of(kind):
    rng = np.random.default_rng(0)
    t, weight, x = rng.integers(0, 10, (N, 1)).astype(np.float32), np.ones(N, np.float32), np.empty((N, 0), np.float32)
    if kind == "cnn":
        pixels = rng.integers(0, 256, (N, 32, 32, 3)).astype(np.uint8)
        pictures = Pictures([as_cell(one) for one in pixels], 32, 3, "resize", "uint8", (127.5,) * 3, (1 / 74,) * 3)
        return MediaRows(x, (pictures,), t, weight), (Medium("image", 3, 32, 32),), pixels
    steps = rng.normal(size=(N, 32, 8)).astype(np.float32)
    return MediaRows(x, (Ragged.of(list(steps), 32, keep_end=True),), t, weight), (Medium("steps", 8),), steps


def member_of(kind, rows, media, seed, epochs, threads=1):
    named = {**(CNN if kind == "cnn" else LSTM), **COMMON, "epochs": epochs, "seed": seed, "cores": threads}
    spec = resolve(Spec.of(**named), N, 0)
    architecture = build_deep(spec.network, media, 0, 10)
    return new_member(spec, architecture, "cross_entropy", np.arange(N), np.arange(0), (seed, 0), rows)


def by_hand(kind, array, labels, epochs, threads, seed=0):
    """Seconds of each epoch of a plain loop."""
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


def ours(kind, rows, media, epochs, threads):
    """Seconds of each epoch of one member."""
    member, times = member_of(kind, rows, media, 0, epochs, threads), []
    learn = learner(member, rows)
    for _ in range(epochs):
        started = time.perf_counter()
        learn(np.zeros(1), np.zeros(1, np.uint8))
        times.append(time.perf_counter() - started)
    return times


def overhead():
    """An epoch of one network, beside a loop by hand, on one core and on all."""
    table = grid("An epoch of one network, seconds", "network", "cores", "Rosenblatt", "by hand", "overhead (goal 3 %)")
    for kind in ("cnn", "rnn"):
        rows, media, array = data_of(kind)
        labels = rows.t[:, 0].astype(np.int64)
        for threads in (1, cores()):
            mine, theirs = [], []
            for _ in range(5):
                mine += ours(kind, rows, media, 3, threads)[1:]
                theirs += by_hand(kind, array, labels, 3, threads)[1:]
            a, b = (float(np.median(one)) for one in (mine, theirs))
            name = "CNN" if kind == "cnn" else "LSTM"
            table.add_row(name, str(threads), f"{a:.3f}", f"{b:.3f}", f"{a / b - 1:+.1%}")
    console.print(table)


def _some_by_hand(kind, seeds, epochs, threads, ready, results):
    _, _, array = data_of(kind)
    labels = np.random.default_rng(0).integers(0, 10, (N, 1))[:, 0]
    by_hand(kind, array, labels, 1, threads)
    ready.wait()
    for seed in seeds:
        by_hand(kind, array, labels, epochs, threads, seed)
    results.put(1)


def arranged(kind, processes, threads, epochs):
    """Seconds of eight networks in so many processes of so many threads."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(processes + 1), context.Queue()
    shares = np.array_split(np.arange(8), processes)
    workers = [
        context.Process(target=_some_by_hand, args=(kind, share.tolist(), epochs, threads, ready, results))
        for share in shares
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
    """Eight networks, beside loops by hand in the arrangement that suits them best."""
    table = grid("Eight networks, seconds", "network", "Rosenblatt", "a process a core", "one by one, all cores",
                 "ratio to the better (goal 1.0x)")  # fmt: skip
    for kind in ("cnn", "rnn"):
        rows, media, _ = data_of(kind)
        epochs = 2
        times = []
        for _ in range(3):
            list(train([member_of(kind, rows, media, 0, 1)], rows))
            members = [member_of(kind, rows, media, seed, epochs) for seed in range(8)]
            started = time.perf_counter()
            list(train(members, rows))
            mine = time.perf_counter() - started
            times.append((mine, arranged(kind, cores(), 1, epochs), arranged(kind, 1, cores(), epochs)))
        a, b, c = (float(np.median(one)) for one in zip(*times, strict=True))
        table.add_row("CNN" if kind == "cnn" else "LSTM", f"{a:.1f}", f"{b:.1f}", f"{c:.1f}", f"{min(b, c) / a:.2f}x")
    console.print(table)


def reading():
    """JPEG from disk to arrays, beside the decoder alone on all cores."""
    from concurrent.futures import ThreadPoolExecutor
    from tempfile import TemporaryDirectory

    from PIL import Image

    table = grid(
        "JPEG to arrays, images a second", "images", "decoder", "the decoder alone", "Rosenblatt", "share (goal 95 %)"
    )
    with TemporaryDirectory() as folder:
        for side, many in ((224, 1500), (32, 6000)):
            smooth = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3)).astype(np.uint8)
            paths = []
            for k in range(many):
                paths.append(f"{folder}/{side}-{k}.jpg")
                Image.fromarray(np.roll(smooth, k, axis=0)).resize((side, side)).save(paths[-1], quality=90)
            fast = _simplejpeg()

            def alone(path, fast=fast):
                content = Path(path).read_bytes()
                return fast.decode_jpeg(content) if fast else np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

            rates = []
            for _ in range(25):
                started = time.perf_counter()
                with ThreadPoolExecutor(cores()) as pool:
                    deque(pool.map(alone, paths, chunksize=64), maxlen=0)
                middle = time.perf_counter()
                Pictures(paths, side, 3, "resize", "uint8", (0.0,) * 3, (1.0,) * 3)
                rates.append((many / (middle - started), many / (time.perf_counter() - middle)))
            a, b = (float(np.median(one)) for one in zip(*rates, strict=True))
            name = "simplejpeg" if fast else "Pillow"
            table.add_row(f"{side} x {side}", name, f"{a:,.0f}", f"{b:,.0f}", f"{b / a:.0%}")
    console.print(table)


def gpu(device):
    """Stacks on a GPU, beside PyTorch eager, one network at a time, on that GPU."""
    if not torch.cuda.is_available():
        console.print("no GPU is to be had here: stacks are tested with tensors on the CPU only")
        return
    name = torch.cuda.get_device_name()
    table = grid(f"Network-steps a second on {name}", "networks", "Rosenblatt", "one at a time", "ratio", "goal")
    for what, many, goal in (("mlp", 256, "100x"), ("rnn", 64, "20x"), ("cnn", 64, "5x")):
        if what == "mlp":
            rng, n = np.random.default_rng(0), 8 * N
            x, t = rng.normal(size=(n, 32)).astype(np.float32), rng.integers(0, 10, (n, 1)).astype(np.float32)
            rows, array = Rows(x, t, np.ones(n, np.float32)), x
            spec = Spec.of(
                kind="mlp", hidden_sizes=(64, 64), **{**COMMON, "batch_size": 128, "epochs": 20, "dropout": 0.0}
            )
            spec, loss = resolve(spec.replace(device=device), n, 32), "cross_entropy"
            members = [
                new_member(spec, build(spec.network, 32, 10), loss, np.arange(n), np.arange(0), (k, 0), rows)
                for k in range(many)
            ]
        else:
            rows, media, array = data_of(what)
            members = [member_of(what, rows, media, seed, 5) for seed in range(many)]
            for member in members:
                member.spec = member.spec.replace(device=device)
        epochs, size = members[0].epochs, members[0].spec["batch_size"]
        steps = epochs * -(-len(rows.t) // size)
        list(train([members[0].copy(), members[1].copy()], rows))
        started = time.perf_counter()
        list(train(members, rows))
        rate = many * steps / (time.perf_counter() - started)
        alone = _one_on_gpu(what, array, rows.t[:, 0].astype(np.int64), size, device)
        table.add_row(f"{many} {what}", f"{rate:,.0f}", f"{alone:,.0f}", f"{rate / alone:.1f}x", goal)
    console.print(table)


def _one_on_gpu(what, array, labels, size, device):
    """Steps a second of one network, eager; the data are on the device."""
    dense = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model = {"mlp": dense, "cnn": Convolutions(), "rnn": Lstm()}[what].to(device)
    x, y = torch.from_numpy(array).to(device), torch.from_numpy(labels).to(device)
    if what == "cnn":
        x = ((x.float() - 127.5) / 74).permute(0, 3, 1, 2).contiguous()
    optimizer, loss_of = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True), nn.CrossEntropyLoss()
    for timed in (False, True):
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
        if timed:
            return steps / (time.perf_counter() - started)
    return 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="cifar,names,indoor,channels,overhead,population,reading,gpu")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    asked = arguments.only.split(",")
    if any(name in SCORES for name in asked):
        if not DATA.is_dir():
            sys.exit(f"the real data sets are not on this machine ({DATA} is missing)")
        table = grid("Test scores with default hyperparameters", "what", "reached", "goal", "seconds")
        for name in asked:
            if name in SCORES:
                SCORES[name](table)
        console.print(table)
    for name, measure in (("overhead", overhead), ("population", population), ("reading", reading)):
        if name in asked:
            measure()
    if "gpu" in asked:
        gpu(arguments.device)


if __name__ == "__main__":
    main()
