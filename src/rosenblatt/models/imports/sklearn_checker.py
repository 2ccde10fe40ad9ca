"""Predict rows with an estimator in a file of skops; run as a script, with scikit-learn and skops alone."""

import sys

import numpy as np
import skops.io

TRUSTED = [  # attributes of fitted networks
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
]


def main(file: str, rows: str, predictions: str) -> None:
    """Load an estimator and rows, and write its probabilities, decisions or values."""
    estimator = skops.io.load(file, trusted=TRUSTED)
    names = ("predict_proba", "decision_function", "predict")
    predict = next(getattr(estimator, name) for name in names if hasattr(estimator, name))
    np.save(predictions, predict(np.load(rows)["x"].astype(np.float64)))


if __name__ == "__main__":
    main(*sys.argv[1:])
