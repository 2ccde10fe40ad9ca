"""Compare fits of perceptrons with scikit-learn's, for the same number of epochs, on dense and sparse rows.

    python benchmarks/perceptron.py

The rows are noisy, so that every epoch has mistakes and no fit ends early. Times are the best of three whole fits,
including checks and encoding. The accuracy of the last weights on noisy rows varies by chance; that of averaged weights
does not, so it is printed too.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import Perceptron as Peer

from rosenblatt import Perceptron

EPOCHS = 20
COMMON = {"folds": 1, "epochs": EPOCHS, "numeric_encoding": "none"}


def best_time(make, X, y):
    """Seconds of the fastest of three fits, and the last fitted estimator."""
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        fitted = make().fit(X, y)
        best = min(best, time.perf_counter() - start)
    return best, fitted


def main():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(120_000, 100))
    y_dense = (dense @ rng.normal(size=100) + rng.normal(0, 3, len(dense)) > 0).astype(int)
    columns = np.sort(rng.integers(100_000, size=(24_000, 100), dtype=np.int32), axis=1).ravel()
    starts = np.arange(0, columns.size + 1, 100, dtype=np.int32)
    sparse = sp.csr_matrix((rng.normal(size=columns.size), columns, starts), shape=(24_000, 100_000))
    y_sparse = (sparse @ rng.normal(size=100_000) + rng.normal(0, 5, 24_000) > 0).astype(int)
    cases = {  # rows, targets, number of training rows; the other rows are test rows
        "100,000 x 100 dense": (dense, y_dense, 100_000),
        "20,000 x 100,000 sparse, 0.1 % filled": (sparse, y_sparse, 20_000),
    }
    print(f"{EPOCHS} epochs{'':30}{'seconds':>9}{'ratio':>7}{'train':>8}{'test':>8}")
    for name, (X, y, n) in cases.items():
        warnings.simplefilter("ignore")
        estimators = {
            "scikit-learn": lambda: Peer(max_iter=EPOCHS, tol=None),
            "rosenblatt": lambda: Perceptron(**COMMON),
            "rosenblatt, averaged": lambda: Perceptron(perceptron_rule="averaged", **COMMON),
            "rosenblatt, scaled": lambda: Perceptron(**COMMON | {"numeric_encoding": "standard"}),
        }
        print(name)
        first = None
        for label, make in estimators.items():
            if label != "scikit-learn":
                make().fit(X[:50], y[:50])  # compiles
            seconds, fitted = best_time(make, X[:n], y[:n])
            first = first or seconds
            scores = fitted.score(X[:n], y[:n]), fitted.score(X[n:], y[n:])
            print(f"  {label:37}{seconds:9.2f}{first / seconds:6.1f}x{scores[0]:8.3f}{scores[1]:8.3f}", flush=True)


if __name__ == "__main__":
    main()
