"""Compare default fits of wide tables of numbers with scikit-learn's MLP, by time and accuracy.

    python benchmarks/wide.py
    python benchmarks/wide.py --shapes 5000x500 --seeds 3 --json
    python benchmarks/wide.py --set numeric_encoding=piecewise --shapes 20x2000

The peer is MLPClassifier with early stopping on standardized columns, with its other defaults; it trains one network
with all cores. Two classes depend on products of columns; one column in ten is informative. Accuracy is that on 2,000
new rows. A small fit goes before, so that reading machine code from disk is not measured. A method that takes longer
than --limit seconds is ended, and has no score.
"""

from __future__ import annotations

import json
import multiprocessing
import time
import warnings
from queue import Empty
from typing import Any

import numpy as np
from common import make_parser, make_table
from rich.console import Console
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rosenblatt

SHAPES = "20x2000,5000x500,150x4000,100000x200"
TEST_ROWS = 2_000


def make_rows(n: int, n_columns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make rows (n + TEST_ROWS, n_columns) and their classes: signs of a sum of values and of products of neighbors."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + TEST_ROWS, n_columns))
    informative = x[:, : max(n_columns // 10, 4)]
    weight = rng.normal(size=informative.shape[1])
    score = informative @ weight + 0.5 * (informative[:, 1:] * informative[:, :-1]) @ weight[1:]
    x[:, ::3] = np.exp(x[:, ::3])  # a third of the columns is skewed
    return x.astype(np.float32), (score + 0.3 * rng.normal(size=len(x)) > 0).astype(int)


def make_estimator(method: str, hyperparameters: dict[str, Any]) -> Any:
    """Make an estimator of a method."""
    if method == "rosenblatt":
        return rosenblatt.MLPClassifier(random_state=0, **hyperparameters)
    return make_pipeline(StandardScaler(), MLPClassifier(early_stopping=True, random_state=0))


def measure(queue: Any, method: str, shape: tuple[int, int], seed: int, hyperparameters: dict[str, Any]) -> None:
    """Put the seconds of a fit and its accuracy into a queue."""
    warnings.simplefilter("ignore")
    x, y = make_rows(*shape, seed)
    small, labels = make_rows(100, 120, seed)
    make_estimator(method, hyperparameters).fit(small[:100], labels[:100])
    estimator, n = make_estimator(method, hyperparameters), shape[0]
    started = time.perf_counter()
    estimator.fit(x[:n], y[:n])
    seconds = time.perf_counter() - started
    queue.put((seconds, float(estimator.score(x[n:], y[n:]))))


def run_limited(limit: float, *arguments: Any) -> tuple[float, float]:
    """Measure in a process of its own; (limit, NaN) if it takes longer than the limit."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=measure, args=(queue, *arguments))
    process.start()
    try:
        return queue.get(timeout=limit)
    except Empty:
        return limit, float("nan")
    finally:
        process.kill()
        process.join()


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--shapes", default=SHAPES, help="rows x columns of the tables")
    parser.add_argument("--seeds", type=int, default=1, help="number of tables of each shape")
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a fit is ended")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="hyperparameter to set")
    arguments = parser.parse_args()
    hyperparameters = {name: json.loads(value) if value[:1] in "0123456789[" else value
                       for name, _, value in (text.partition("=") for text in arguments.set)}  # fmt: skip
    rows = []
    for name in arguments.shapes.split(","):
        shape = tuple(int(size) for size in name.split("x"))
        values = {
            method: np.median(
                [run_limited(arguments.limit, method, shape, seed, hyperparameters) for seed in range(arguments.seeds)],
                axis=0,
            )
            for method in ("rosenblatt", "scikit-learn")
        }
        (seconds, accuracy), (peer_seconds, peer_accuracy) = values.values()
        rows.append({"table": name, "seconds": seconds, "peer seconds": peer_seconds, "ratio": seconds / peer_seconds,
                     "accuracy": accuracy, "peer accuracy": peer_accuracy})  # fmt: skip
    if arguments.json:
        print(json.dumps(rows))
        return
    table = make_table("default fits of wide tables", *rows[0])
    for row in rows:
        table.add_row(row["table"], *(f"{value:.3g}" for value in list(row.values())[1:]))
    Console().print(table)


if __name__ == "__main__":
    main()
