"""Compare the speed of multilayer perceptrons, in training and prediction, with scikit-learn and PyTorch.

    python benchmarks/dense.py              populations, single networks, inference, options, scaling
    python benchmarks/dense.py --quick      less precise, in about a tenth of the time

scikit-learn and PyTorch (with fused Adam) train populations in one process per core with one thread each. They train a
single network on all cores, with the number of threads that is fastest. GFLOP/s counts the multiplications and
additions of the matrix products, forward and backward: 2 B (3 W - W1) per step, for batch size B, W weights, W1 of them
in the first layer. The machine's rate is that of the fastest float32 matrix product of NumPy's BLAS in this run, on all
cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from common import torch_mlp

from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import predict
from rosenblatt.training.member import new_member
from rosenblatt.training.population import train
from rosenblatt.training.rows import DenseRows
from rosenblatt.training.workers import cores

BATCHES = 20  # per epoch


def random_widths(seed):
    """Sizes of a network with 1 to 4 hidden layers of 16 to 512 units, log-uniform."""
    widths = np.exp(np.random.default_rng(seed).uniform(np.log(16), np.log(513), size=1 + seed % 4))
    return 32, *widths.astype(int).tolist(), 10


CASES = {  # sizes of the networks, batch size, goal of the ratio, goal of the fraction of the machine's rate
    "tiny 16-32-32-2": ([(16, 32, 32, 2)] * 64, 32, 30.0, None),
    "small 32-64-64-10": ([(32, 64, 64, 10)] * 64, 128, 6.0, 0.45),
    "mixed 1-4 layers, 16-512 wide": ([random_widths(seed) for seed in range(64)], 128, 3.0, 0.45),
    "wide 784-256-256-10": ([(784, 256, 256, 10)] * 64, 128, 1.3, 0.65),
}
SINGLE = {"tiny 16-32-32-2": 15.0, "small 32-64-64-10": 3.0}


def flops(sizes, B):
    """Floating-point operations of the matrix products of one training step."""
    weights = [a * b for a, b in itertools.pairwise(sizes)]
    return 2 * B * (3 * sum(weights) - weights[0])


def data(sizes, B):
    """Random rows and class indices for one epoch."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCHES * B, sizes[0])).astype(np.float32)
    return x, rng.integers(0, sizes[-1], len(x))


def population(shapes, B, epochs, **changes):
    """Members and their rows, without validation rows."""
    x, y = data(shapes[0], B)
    rows = DenseRows(x, y.astype(np.float32).reshape(-1, 1), np.ones(len(x), np.float32))
    settings = {"activation": "relu", "dropout": 0.0, "clip_norm": 0.0, "batch_size": B, "epochs": epochs, "folds": 1}
    members = []
    for i, sizes in enumerate(shapes):
        spec = resolve_auto(Spec.from_hyperparameters(hidden_sizes=sizes[1:-1], **settings | changes), len(x), sizes[0])
        architecture = build_dense(spec.network, sizes[0], sizes[-1])
        members.append(new_member(spec, architecture, "cross_entropy", np.arange(len(x)), np.arange(0), (i,), rows))
    return members, rows


def rosenblatt_rate(shapes, B, seconds, threads=None, **changes):
    """Network-steps per second of Rosenblatt."""
    for member in population([min(shapes, key=sum)], B, 1, **changes)[:1]:
        list(train(member, population([min(shapes, key=sum)], B, 1)[1]))
    epochs, rate = 1, 0.0
    while True:
        members, rows = population(shapes, B, epochs, **changes)
        started = time.perf_counter()
        list(train(members, rows, threads=threads))
        elapsed = time.perf_counter() - started
        rate = len(shapes) * epochs * BATCHES / elapsed
        if elapsed > seconds / 2:
            return rate
        epochs = max(epochs + 1, int(epochs * seconds / elapsed))


def torch_steps(job):
    """Train networks one after another with PyTorch in this process; returns steps and seconds."""
    import torch

    shapes, B, seconds, threads = job
    torch.set_num_threads(threads)
    x, y = (torch.tensor(array) for array in data(shapes[0], B))
    steps, elapsed = 0, 0.0
    while elapsed < seconds:
        for sizes in shapes:
            network = torch_mlp(sizes)
            optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
            loss = torch.nn.CrossEntropyLoss()
            for _ in range(2):  # the first epoch is a warm-up
                started = time.perf_counter()
                order = torch.randperm(len(x))
                for batch in range(BATCHES):
                    rows = order[batch * B : (batch + 1) * B]
                    optimizer.zero_grad(set_to_none=True)
                    loss(network(x[rows]), y[rows]).backward()
                    optimizer.step()
            elapsed += time.perf_counter() - started
            steps += BATCHES
            if elapsed > seconds:
                break
    return steps, elapsed


def sklearn_steps(job):
    """Train networks one after another with scikit-learn in this process; returns steps and seconds."""
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore")
    shapes, B, seconds, _ = job
    x, y = data(shapes[0], B)
    y[: shapes[0][-1]] = np.arange(shapes[0][-1])  # all classes
    steps, elapsed = 0, 0.0
    while elapsed < seconds:
        for sizes in shapes:
            network = MLPClassifier(sizes[1:-1], batch_size=B, max_iter=10, tol=0, n_iter_no_change=99, alpha=0)
            started = time.perf_counter()
            network.fit(x, y)
            elapsed += time.perf_counter() - started
            steps += 10 * BATCHES
            if elapsed > seconds:
                break
    return steps, elapsed


def peer(function, shapes, B, seconds, processes, threads):
    """Network-steps per second, summed over processes that each train a part of the networks."""
    jobs = [(shapes[i::processes], B, seconds, threads) for i in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        return sum(steps / spent for steps, spent in pool.map(function, jobs))


def matrix_rate(seconds):
    """GFLOP/s of the fastest float32 matrix product, in one process per core."""
    with ProcessPoolExecutor(cores(), mp_context=multiprocessing.get_context("spawn")) as pool:
        return sum(pool.map(_products, [seconds] * cores()))


def _products(seconds):
    best = 0.0
    for n in (256, 512, 1024, 2048):
        a = np.random.default_rng(0).normal(size=(n, n)).astype(np.float32)
        n_products, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds / 4:
            a @ a
            n_products += 1
        best = max(best, 2 * n**3 * n_products / (time.perf_counter() - started) / 1e9)
    return best


def populations(seconds, machine, table):
    """Print and record the training speed of populations of 64 networks."""
    print(f"\n{'population of 64, Adam':32}{'steps/s':>10}{'GFLOP/s':>9}{'of machine':>11}{'goal':>6}"
          f"{'sklearn':>9}{'torch':>8}{'ratio':>7}{'goal':>6}")  # fmt: skip
    for name, (shapes, B, goal, machine_fraction) in CASES.items():
        rate = rosenblatt_rate(shapes, B, seconds)
        gflops = rate * np.mean([flops(sizes, B) for sizes in shapes]) / 1e9
        peer_rates = [peer(function, shapes, B, seconds, cores(), 1) for function in (sklearn_steps, torch_steps)]
        table[name] = {"steps": rate, "gflops": gflops, "of_machine": gflops / machine, "sklearn": peer_rates[0],
                       "torch": peer_rates[1], "ratio": rate / max(peer_rates)}  # fmt: skip
        print(f"{name:32}{rate:10,.0f}{gflops:9.0f}{gflops / machine:11.0%}"
              f"{f'{machine_fraction:.0%}' if machine_fraction else '':>6}"
              f"{peer_rates[0]:9,.0f}{peer_rates[1]:8,.0f}"
              f"{rate / max(peer_rates):6.1f}x{goal:5.1f}x", flush=True)  # fmt: skip


def singles(seconds, table):
    """Print and record the training speed of one network on all cores."""
    print(f"\n{'one network, all cores':32}{'steps/s':>10}{'':26}{'sklearn':>9}{'torch':>8}{'ratio':>7}{'goal':>6}")
    for name, goal in SINGLE.items():
        shapes, B, *_ = CASES[name]
        rate = rosenblatt_rate(shapes[:1], B, seconds)
        peer_rates = [
            max(peer(function, shapes[:1], B, seconds, 1, threads) for threads in {1, cores()})
            for function in (sklearn_steps, torch_steps)
        ]
        table[f"one {name}"] = {
            "steps": rate,
            "sklearn": peer_rates[0],
            "torch": peer_rates[1],
            "ratio": rate / max(peer_rates),
        }
        print(
            f"{name:32}{rate:10,.0f}{'':26}{peer_rates[0]:9,.0f}{peer_rates[1]:8,.0f}"
            f"{rate / max(peer_rates):6.1f}x{goal:5.0f}x"
        )


def inference(seconds, table):
    """Print and record the prediction speed on one core."""
    import torch
    from sklearn.neural_network import MLPClassifier

    print(f"\n{'rows predicted per second, 1 core':32}{'batch':>7}{'ours':>13}{'sklearn':>13}{'torch':>13}{'ratio':>7}")
    torch.set_num_threads(1)
    for name, (shapes, B, *_) in CASES.items():
        if name.startswith("mixed"):
            continue
        sizes = shapes[0]
        ((member,), _), (x, y) = population(shapes[:1], B, 1), data(sizes, B)
        y[: sizes[-1]] = np.arange(sizes[-1])
        x = np.resize(x, (10_000, sizes[0]))
        network = torch.nn.Sequential(torch_mlp(sizes), torch.nn.Softmax(dim=1))
        with warnings.catch_warnings(action="ignore"):  # one epoch is enough to predict
            sklearn_network = MLPClassifier(sizes[1:-1], max_iter=1).fit(x[: len(y)], y)
        for batch in (1, 10_000):
            inputs = x[:batch]
            table_rows = DenseRows(inputs, np.empty((0, 1), np.float32), np.empty(0, np.float32))
            tensor, index = torch.tensor(inputs), np.arange(batch)
            predictors = [
                lambda: predict(member.architecture, "cross_entropy", member.state.theta, table_rows, index),  # noqa: B023
                lambda: sklearn_network.predict_proba(inputs),  # noqa: B023
                lambda: network(tensor),  # noqa: B023
            ]
            with torch.inference_mode():
                rates = [batch * _calls_per_second(predictor, seconds / 4) for predictor in predictors]
            table[f"inference {name}, {batch}"] = dict(zip(("ours", "sklearn", "torch"), rates, strict=True))
            print(
                f"{name:32}{batch:7,}"
                + "".join(f"{rate:13,.0f}" for rate in rates)
                + f"{rates[0] / max(rates[1:]):6.1f}x"
            )


def _calls_per_second(function, seconds):
    function()
    n_calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        function()
        n_calls += 1
    return n_calls / (time.perf_counter() - started)


def options(seconds, table):
    """Print and record the cost of options for small networks on one core."""
    shapes, B, *_ = CASES["small 32-64-64-10"]
    print("\ncost of options, small networks on one core")
    rosenblatt_rate(shapes[:4], B, seconds, threads=1)
    base = None
    for changes in (
        {}, {"dropout": 0.1}, {"input_dropout": 0.1}, {"clip_norm": 1.0}, {"weight_decay": 0.01}, {"l1": 1e-4},
        {"max_norm": 2.0}, {"ema_decay": 0.99}, {"normalization": "batch"}, {"normalization": "layer"},
        {"residual": True}, {"scaling_layer": True}, {"parametric_activation": True}, {"label_smoothing": 0.1},
        {"batch_order": "stratified"},
        {"optimizer": "sgd"}, {"optimizer": "nadam"},
        *({"activation": name} for name in ("sigmoid", "tanh", "elu", "selu", "gelu", "silu", "mish", "softplus")),
    ):  # fmt: skip
        rate = rosenblatt_rate(shapes[:4], B, seconds, threads=1, **changes)
        base = base or rate
        table[f"option {changes}"] = {"steps": rate, "cost": base / rate - 1}
        label = ", ".join(f"{key} {value}" for key, value in changes.items()) or "plain: ReLU, Adam"
        print(f"{label:32}{rate:10,.0f} steps/s{base / rate - 1:+8.0%}")


def scaling(seconds, table):
    """Print and record the time of a step for growing batches, widths, depths and populations."""
    print("\nscaling, relative to the previous line: 1.0 is linear in the number of operations")
    families = {
        "rows of a batch": [([(64, 128, 128, 10)], B) for B in (64, 128, 256, 512, 1024)],
        "width": [([(64, n, n, n, n, 10)], 128) for n in (32, 64, 128, 256, 512)],
        "hidden layers": [([(64, *[128] * n, 10)], 128) for n in (1, 2, 4, 8, 16)],
        "members": [([(32, 64, 64, 10)] * n, 128) for n in (4, 16, 64, 256)],
    }
    for family, cases in families.items():
        previous = None
        for shapes, B in cases:
            seconds_per_step = len(shapes) / rosenblatt_rate(shapes, B, seconds)
            work = sum(flops(sizes, B) for sizes in shapes)
            linear = "" if previous is None else f"{(seconds_per_step / previous[0]) / (work / previous[1]):8.2f}"
            size = {"rows of a batch": B, "width": shapes[0][1], "hidden layers": len(shapes[0]) - 2}.get(
                family, len(shapes)
            )
            table[f"{family} {size}"] = {"seconds": seconds_per_step}
            print(f"{family:20}{size:6}{seconds_per_step * 1e6:12,.0f} us{linear}")
            previous = seconds_per_step, work


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less precise, in about a tenth of the time")
    parser.add_argument(
        "--only", choices=["populations", "singles", "inference", "options", "scaling"], help="run only one part"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the results to this file")
    arguments = parser.parse_args()
    seconds, table = 0.6 if arguments.quick else 4.0, {}
    machine = matrix_rate(seconds)
    print(f"{platform.machine()}, {cores()} cores; fastest matrix product {machine:.0f} GFLOP/s")
    table["machine"] = {"gflops": machine, "cores": cores()}
    parts = {
        "populations": lambda: populations(seconds, machine, table),
        "singles": lambda: singles(seconds, table),
        "inference": lambda: inference(seconds, table),
        "options": lambda: options(seconds / 4, table),
        "scaling": lambda: scaling(seconds / 4, table),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            part()
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
