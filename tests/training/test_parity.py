"""The compiled engine and the PyTorch engine train a dense network to the same parameters.

Losses, optimizers and regularizers are implemented in Numba and in PyTorch; this test holds the two together. Cases
step through four lists at once, so that all pairs of loss and optimizer occur.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.losses import LOSSES
from rosenblatt.training.compiled.optimizers import OPTIMIZERS
from rosenblatt.training.member import new_member
from rosenblatt.training.population import record_epoch, train
from rosenblatt.training.recipes import LOSS_PARAMETERS
from rosenblatt.training.rows import DenseRows
from rosenblatt.training.schedules import SCHEDULES
from rosenblatt.training.torch import lanes as torch_lanes
from rosenblatt.training.torch.losses import LOSSES as TORCH_LOSSES
from rosenblatt.training.torch.optimizers import OPTIMIZERS as TORCH_OPTIMIZERS

pytestmark = pytest.mark.torch

N, N_TRAIN, F, K, EPOCHS = 90, 65, 5, 3, 3
MULTICLASS = {"cross_entropy", "focal", "hinge_of_classes", "perceptron_of_classes"}
PER_UNIT = {"binary_cross_entropy", "binary_focal", "hinge", "perceptron"}
PLAIN = {
    "hidden_sizes": (6, 6), "activation": "tanh", "normalization": "none", "residual": False, "dropout": 0.0,
    "clip_norm": 0.0, "weight_decay": 0.0, "batch_order": "in_order", "batch_size": 13, "epochs": EPOCHS,
    "learning_rate": 0.01,
}  # fmt: skip
REGULARIZERS = [
    {"weight_decay": 0.1, "weight_decay_schedule": "flat_cosine", "l1": 0.01},
    {"clip_norm": 0.5, "bias_lr_multiplier": 0.3},
    {"max_norm": 0.7, "layer_lr_multipliers": "0.5,1,2"},
    {"ema_decay": 0.9, "scaling_layer": True},
    {"label_smoothing": 0.1, "parametric_activation": True, "activation": "mish"},
    # Biases before a normalization have gradients of 0 up to rounding, which adaptive optimizers would amplify.
    {"normalization": "layer", "residual": True, "bias_lr_multiplier": 0.0},
    {"normalization": "batch", "bias_lr_multiplier": 0.0},
    {"weight_decay": 0.1, "l1": 0.01, "clip_norm": 0.05, "max_norm": 0.7, "ema_decay": 0.9},
]
SCHEDULE_NAMES = [*SCHEDULES, "plateau"]
CASES = [
    (loss, optimizer, SCHEDULE_NAMES[(i * len(OPTIMIZERS) + j) % len(SCHEDULE_NAMES)], REGULARIZERS[(i + j) % 8])
    for i, loss in enumerate(LOSSES)
    for j, optimizer in enumerate(OPTIMIZERS)
]


def make_rows(loss):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, F)).astype(np.float32)
    if loss in MULTICLASS:
        t = rng.integers(0, K, (N, 1))
    elif loss in PER_UNIT:
        t = rng.integers(0, 2, (N, K))
    else:
        t = rng.poisson(2, (N, K)) if loss == "poisson" else rng.normal(size=(N, K))
    return DenseRows(x, t.astype(np.float32), rng.uniform(0.5, 2, N).astype(np.float32))


def make_member(loss, rows, **hyperparameters):
    name = loss.removeprefix("binary_").removesuffix("_of_classes")
    parametrized = {"loss": name} if name in LOSS_PARAMETERS else {}
    spec = resolve_auto(Spec.from_hyperparameters(**PLAIN | parametrized | hyperparameters), N_TRAIN, F)
    architecture = build_dense(spec.network, F, K)
    return new_member(spec, architecture, loss, np.arange(N_TRAIN), np.arange(N_TRAIN, N), (0,), rows)


def train_in_lanes(member, rows):
    lanes = torch_lanes.LaneStack(member, rows, torch.device("cpu"), 1)

    def on_epoch_end(trained, *result):
        return record_epoch(trained, *result, None).epoch < EPOCHS

    torch_lanes._train(lanes, deque([member]), lambda _: None, on_epoch_end, np.zeros(1, np.uint8))


def test_both_engines_have_the_same_losses_and_optimizers():
    assert list(LOSSES) == list(TORCH_LOSSES)
    assert list(OPTIMIZERS) == list(TORCH_OPTIMIZERS)


@pytest.mark.parametrize(("loss", "optimizer", "schedule", "regularizer"), CASES)
def test_both_engines_train_to_the_same_parameters(loss, optimizer, schedule, regularizer):
    rows = make_rows(loss)
    options = {"optimizer": optimizer, "schedule": schedule, "plateau_patience": 1} | regularizer
    compiled, stacked = (make_member(loss, rows, **options) for _ in range(2))
    initial = compiled.state.theta.copy()
    list(train([compiled], rows))
    train_in_lanes(stacked, rows)
    assert np.abs(compiled.state.theta - initial).max() > 1e-3
    np.testing.assert_allclose(stacked.state.theta, compiled.state.theta, atol=3e-4)
    np.testing.assert_allclose(stacked.state.mean, compiled.state.mean, atol=3e-4)
    scores = [[record.score for record in member.history] for member in (stacked, compiled)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3)
