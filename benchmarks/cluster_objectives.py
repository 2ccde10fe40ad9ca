"""What users of the peers in cluster_peers.py train: a table, and functions from hyperparameters to a validation loss.

It imports nothing of Rosenblatt, so that processes of the peers do not either.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

ROWS, FEATURES, N_VALIDATION = 20_000, 20, 4_000
EPOCHS = 10
HIDDEN_SIZES = ((32,), (64,), (128,), (64, 32))
BATCH_SIZES = (64, 128, 256)
LEARNING_RATES, DROPOUTS = (1e-4, 1e-1), (0.0, 0.5)  # bounds; the first on a log scale


def make_rows(rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """A table of random numbers, x (rows, FEATURES) and y (rows,) in {0, 1}."""
    x = np.random.default_rng(0).normal(size=(rows, FEATURES))
    return x, (x[:, 0] * x[:, 1] + x[:, 2] > 0).astype(float)


@cache
def split_rows() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Standardized training and validation rows; each process makes them once, so that none has to send them."""
    x, y = (array.astype(np.float32) for array in make_rows())
    train = slice(N_VALIDATION, None)
    x = (x - x[train].mean(0)) / x[train].std(0)
    return (x[train], y[train]), (x[:N_VALIDATION], y[:N_VALIDATION])


@cache
def _torch_rows() -> Any:
    import torch

    torch.set_num_threads(1)
    return [[torch.from_numpy(array) for array in part] for part in split_rows()]


def train_torch(config: dict[str, Any]) -> float:
    """Train a multilayer perceptron in PyTorch; the lowest validation log loss of an epoch.

    Rows are sliced from tensors, as a DataLoader is many times slower, and the update is fused.
    """
    import torch
    from torch import nn

    (x, y), (x_validation, y_validation) = _torch_rows()
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise((FEATURES, *config["hidden_sizes"])):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(config["dropout"])]
    network = nn.Sequential(*layers, nn.Linear(config["hidden_sizes"][-1], 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(network.parameters(), lr=config["learning_rate"], fused=True)
    loss_function, losses = nn.BCEWithLogitsLoss(), list[float]()
    for _ in range(EPOCHS):
        network.train()
        for batch in torch.randperm(len(x)).split(config["batch_size"]):
            optimizer.zero_grad(set_to_none=True)
            loss_function(network(x[batch]), y[batch]).backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            losses.append(loss_function(network(x_validation), y_validation).item())
    return min(losses)


def train_sklearn(config: dict[str, Any]) -> float:
    """Train scikit-learn's MLPClassifier, which has no dropout; the validation log loss after the last epoch."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    (x, y), (x_validation, y_validation) = split_rows()
    network = MLPClassifier(
        config["hidden_sizes"],
        learning_rate_init=config["learning_rate"],
        batch_size=config["batch_size"],
        max_iter=EPOCHS,
        n_iter_no_change=EPOCHS,
        tol=0.0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(x, y)
    return float(log_loss(y_validation, network.predict_proba(x_validation)))


def evaluate_parabola(config: dict[str, Any]) -> float:
    """A function that takes no time, so that only the orchestration is measured."""
    return (config["dropout"] - 0.25) ** 2


OBJECTIVES = {"PyTorch": train_torch, "scikit-learn": train_sklearn, "a trivial function": evaluate_parabola}
