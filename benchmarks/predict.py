"""Measure the time of predictions, and compare it with scikit-learn's MLPClassifier.

    python benchmarks/predict.py [--rounds 50] [--json]

The table is scikit-learn's breast cancer data (569 tumors, 30 numeric columns), repeated up to 10,000 rows. Networks
are those of the default hyperparameters, and 16 with two hidden layers of 64 units, which scikit-learn's network has,
too. Printed are medians in milliseconds of `predict_proba` of the estimator and of its `Model`, for arrays and pandas
frames, and how many times longer the estimator takes for an array than scikit-learn. "words" is a pandas frame with a
column of ten words, in which numbers fall into tenths, for every third column of numbers.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from common import make_parser, make_table
from rich.console import Console
from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier as ScikitLearnMLP

from rosenblatt import MLPClassifier

ROWS = (1, 100, 10_000)
SMALL = (64, 64)  # units of the hidden layers
GOALS_MS = {("array", 1): 0.3, ("frame", 1): 1.0, ("words", 1): 1.0, ("array", 10_000): 100.0}


def median_ms(predict: Callable[[], Any], rounds: int) -> float:
    """The median time of a call in milliseconds; calls that take long are made less often."""
    started = time.perf_counter()
    predict()
    rounds = max(3, min(rounds, int(10 / (time.perf_counter() - started))))
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        predict()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def with_words(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with words in every third column."""
    return frame.assign(
        **{
            name: pd.cut(frame[name], 10, labels=[f"tenth {i}" for i in range(10)]).astype(str)
            for name in frame.columns[::3]
        }
    )


def measure(rounds: int) -> list[dict[str, Any]]:
    """Time the predictions of each network for each number of rows."""
    X, y = load_breast_cancer(return_X_y=True)
    names = [f"column {i}" for i in range(X.shape[1])]
    peer = ScikitLearnMLP(SMALL, max_iter=20, random_state=0).fit(X, y)
    results = []
    for network, arguments in (("default", {}), ("16 x 64-64", {"hidden_sizes": SMALL, "members": 16})):
        on_array = MLPClassifier(**arguments).fit(X, y)
        table = pd.DataFrame(X, columns=names)
        on_frame, on_words = (MLPClassifier(**arguments).fit(train, y) for train in (table, with_words(table)))
        for n in ROWS:
            rows = np.tile(X, (n // len(X) + 1, 1))[:n]
            frame = pd.DataFrame(rows, columns=names)
            words = with_words(table).iloc[np.arange(n) % len(X)]
            result = {
                "network": network,
                "rows": n,
                "array": median_ms(lambda: on_array.predict_proba(rows), rounds),  # noqa: B023 - called at once
                "frame": median_ms(lambda: on_frame.predict_proba(frame), rounds),  # noqa: B023
                "words": median_ms(lambda: on_words.predict_proba(words), rounds),  # noqa: B023
                "model, array": median_ms(lambda: on_array.model_.predict_proba(rows), rounds),  # noqa: B023
                "model, frame": median_ms(lambda: on_frame.model_.predict_proba(frame), rounds),  # noqa: B023
                "scikit-learn": median_ms(lambda: peer.predict_proba(rows), rounds),  # noqa: B023
            }
            results.append(result | {"ratio": result["array"] / result["scikit-learn"]})
    return results


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="number of calls")
    arguments = parser.parse_args()
    results = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(results))
        return
    goals = ", ".join(f"{kind} of {n:,} {goal:g}" for (kind, n), goal in GOALS_MS.items())
    title = f"Milliseconds on {os.cpu_count()} cores (goals: {goals})"
    table = make_table(title, *results[0])
    for result in results:
        table.add_row(*(f"{value:,.3g}" if isinstance(value, float) else f"{value}" for value in result.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
