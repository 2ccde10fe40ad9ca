"""Compare the sampler tpe of `rosenblatt.tune` with Optuna's TPE on functions whose minimum is known.

    python benchmarks/samplers.py                 ten functions, 20 seeds, 60 trials, one worker
    python benchmarks/samplers.py --workers 2     two trials at a time, for both
    python benchmarks/samplers.py --seeds 5 --json

The regret is the best value that was found, less the minimum. p is that of the two-sided Mann-Whitney U test between
the seeds of both; below 0.05, their regrets differ. Optuna runs with its defaults, in the same process.

Sources of the functions: Branin, Hartmann6, Rosenbrock and Rastrigin as in Surjanovic and Bingham, "Virtual Library of
Simulation Experiments", https://www.sfu.ca/~ssurjano. The others are ours: a sphere whose minimum is not in the middle,
a sum over whole numbers, and losses with conditions, as of choices of an optimizer.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import optuna
from common import make_parser, make_table
from rich.console import Console
from scipy.stats import mannwhitneyu

import rosenblatt
from rosenblatt.spec.dimensions import Choice, Dimension, Integer, LogUniform, choice, integer, log_uniform, uniform

Params = Mapping[str, Any]


class Function(NamedTuple):
    """A function to minimize."""

    space: dict[str, Dimension]
    evaluate: Callable[[Params], float]
    minimum: float = 0.0


def branin(p: Params) -> float:
    parabola = p["x"] - 5.1 / (4 * math.pi**2) * p["w"] ** 2 + 5 / math.pi * p["w"] - 6
    return parabola**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(p["w"]) + 10


ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
WIDTHS = np.array([
    [10, 3, 17, 3.5, 1.7, 8],
    [0.05, 10, 17, 0.1, 8, 14],
    [3, 3.5, 1.7, 10, 17, 8],
    [17, 8, 0.05, 10, 0.1, 14],
])  # fmt: skip
CENTERS = 1e-4 * np.array([
    [1312, 1696, 5569, 124, 8283, 5886],
    [2329, 4135, 8307, 3736, 1004, 9991],
    [2348, 1451, 3522, 2883, 3047, 6650],
    [4047, 8828, 8732, 5743, 1091, 381],
])  # fmt: skip


def hartmann6(p: Params) -> float:
    x = np.array(list(p.values()))
    return -float(ALPHA @ np.exp(-(WIDTHS * (x - CENTERS) ** 2).sum(axis=1)))


def sphere(p: Params) -> float:
    return sum((x - 1) ** 2 for x in p.values())


def rosenbrock(p: Params) -> float:
    x = list(p.values())
    return math.log1p(sum(100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in pairwise(x)))


def rastrigin(p: Params) -> float:
    return sum(x**2 - 10 * math.cos(2 * math.pi * x) + 10 for x in p.values())


def whole_numbers(p: Params) -> float:
    return sum((k + 1) * (n - best) ** 2 for k, (n, best) in enumerate(zip(p.values(), (3, 5, 1, 6), strict=True))) / 10


def conditional(p: Params) -> float:
    if p["kind"] == "far":
        return 0.5 + (p["x"] - 0.3) ** 2
    return (p["y"] + 0.4) ** 2 + 0.2 * (p["variant"] == "worse") if p["kind"] == "near" else 1.0


def plateau(p: Params) -> float:
    """Most of this space is one point, which repeats."""
    return 0.05 if p["kind"] == "constant" else (p["x"] - 0.7) ** 2


def training(p: Params) -> float:
    rate, decay, width = math.log10(p["learning_rate"]), math.log10(p["decay"]), math.log2(p["width"])
    activation = {"relu": 0.05, "gelu": 0.0, "tanh": 0.2, "silu": 0.02}[p["activation"]]
    loss = 0.2 * (rate + 2.7 + 0.3 * (width - 7)) ** 2 + 0.03 * (decay + 4) ** 2 + 0.02 * (width - 8) ** 2
    return loss + activation + 0.5 * (p["dropout"] - 0.2) ** 2


def optimizers(p: Params) -> float:
    if p["optimizer"] == "sgd":
        loss = 0.3 + (math.log10(p["rate"]) + 1) ** 2 + 0.5 * (p["momentum"] - 0.9) ** 2
    else:
        loss = (math.log10(p["adam_rate"]) + 3) ** 2
    return loss + 0.1 * abs(p["layers"] - 2) + 0.05 * (math.log2(p["units"]) - 6) ** 2


FUNCTIONS = {
    "Branin": Function({"w": uniform(-5, 10), "x": uniform(0, 15)}, branin, 0.397887),
    "Hartmann6": Function({f"x{k}": uniform(0, 1) for k in range(6)}, hartmann6, -3.32237),
    "sphere, 5 numbers": Function({f"x{k}": uniform(-5, 5) for k in range(5)}, sphere),
    "conditions": Function(
        {
            "kind": choice("far", "near", "constant"),
            "x": uniform(-1, 1, when={"kind": ["far"]}),
            "y": uniform(-1, 1, when={"kind": ["near"]}),
            "variant": choice("better", "worse", when={"kind": ["near"]}),
        },
        conditional,
    ),
    "whole numbers": Function({f"n{k}": integer(0, 7) for k in range(4)}, whole_numbers),
    "plateau": Function({"kind": choice("constant", "range"), "x": uniform(0, 1, when={"kind": ["range"]})}, plateau),
    "Rosenbrock, log, 3": Function({f"x{k}": uniform(-2, 2) for k in range(3)}, rosenbrock),
    "Rastrigin, 3": Function({f"x{k}": uniform(-5.12, 5.12) for k in range(3)}, rastrigin),
    "training": Function(
        {
            "learning_rate": log_uniform(1e-5, 1),
            "decay": log_uniform(1e-7, 0.1),
            "width": integer(16, 1024, log=True),
            "activation": choice("relu", "gelu", "tanh", "silu"),
            "dropout": uniform(0, 0.6),
        },
        training,
    ),
    "optimizers": Function(
        {
            "optimizer": choice("sgd", "adam"),
            "rate": log_uniform(1e-4, 1, when={"optimizer": ["sgd"]}),
            "momentum": uniform(0, 0.99, when={"optimizer": ["sgd"]}),
            "adam_rate": log_uniform(1e-5, 0.1, when={"optimizer": ["adam"]}),
            "layers": integer(1, 3),
            "units": integer(8, 512, log=True),
        },
        optimizers,
    ),
}


def tune_regret(name: str, trials: int, workers: int, seed: int) -> float:
    """The regret of `rosenblatt.tune`."""
    function = FUNCTIONS[name]
    result = rosenblatt.tune(
        lambda params, run: function.evaluate(params), function.space, trials=trials, metric="loss", seed=seed,
        workers=workers, store="none", progress=False,
    )  # fmt: skip
    assert len(result.trials) == trials, f"{len(result.trials)} trials were made instead of {trials}"
    return result.best.score - function.minimum


def optuna_regret(name: str, trials: int, workers: int, seed: int) -> float:
    """The regret of Optuna, with as many trials at a time as there are workers."""
    function = FUNCTIONS[name]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    running = deque[tuple[optuna.Trial, float]]()
    for _ in range(trials):
        trial = study.ask()
        running.append((trial, function.evaluate(_suggest(trial, function.space))))
        if len(running) >= workers:
            study.tell(*running.popleft())
    for pair in running:
        study.tell(*pair)
    return study.best_value - function.minimum


def _suggest(trial: optuna.Trial, space: Mapping[str, Dimension]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name, dimension in space.items():
        if any(params.get(other) not in values for other, values in dimension.when.items()):
            continue
        if isinstance(dimension, Choice):
            params[name] = trial.suggest_categorical(name, dimension.values)
        elif isinstance(dimension, Integer):
            params[name] = trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
        else:
            is_log = isinstance(dimension, LogUniform)
            params[name] = trial.suggest_float(name, dimension.low, dimension.high, log=is_log)
    return params


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="number of repetitions")
    parser.add_argument("--trials", type=int, default=60, help="trials of each")
    parser.add_argument("--workers", type=int, default=1, help="trials at a time")
    arguments = parser.parse_args()
    rows = []
    with ProcessPoolExecutor(2) as pool:
        for name in FUNCTIONS:
            ours, theirs = (
                list(pool.map(partial(regret, name, arguments.trials, arguments.workers), range(arguments.seeds)))
                for regret in (tune_regret, optuna_regret)
            )
            p = float(mannwhitneyu(ours, theirs).pvalue) if ours != theirs else 1.0
            rows.append((name, float(np.median(ours)), float(np.median(theirs)), p))
    if arguments.json:
        print(json.dumps([dict(zip(("function", "rosenblatt", "optuna", "p"), row, strict=True)) for row in rows]))
        return
    title = f"median regret of {arguments.seeds} seeds, {arguments.trials} trials, {arguments.workers} at a time"
    table = make_table(title, "function", "rosenblatt", "optuna", "p")
    for name, ours_median, theirs_median, p in rows:
        table.add_row(name, f"{ours_median:.4g}", f"{theirs_median:.4g}", f"{p:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
