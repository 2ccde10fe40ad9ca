"""Backpropagation against finite differences, and whole training runs against the same in plain NumPy."""

import itertools

import numpy as np
import pytest

from rosenblatt.networks.activations import ACTIVATIONS, activate, multiply_by_slope
from rosenblatt.networks.architectures import Architecture, first_parameters
from rosenblatt.training import dense
from rosenblatt.training.losses import LOSSES, loss_and_gradient
from rosenblatt.training.population import shape_of

N, F, K = 40, 5, 3


def rows_for(loss, dtype=np.float64):
    rng = np.random.default_rng(1)
    t = rng.integers(0, K, (N, 1)) if loss == "cross_entropy" else rng.normal(size=(N, K))
    if loss == "binary_cross_entropy":
        t = t > 0
    return dense.Rows(rng.normal(size=(N, F)).astype(dtype), t.astype(dtype), rng.uniform(0.5, 1.5, N).astype(dtype))


def member(activation, loss, sizes=(F, 7, 6, K), dtype=np.float64, **changes):
    architecture = Architecture("mlp", sizes, activation)
    theta = first_parameters(architecture, "he_normal", np.random.default_rng(0)).astype(dtype)
    recipe = {
        "optimizer": 0, "learning_rate": 0.05, "schedule": 0, "steps": 100, "beta1": 0.0, "beta2": 0.999,
        "weight_decay": 0.0, "input_dropout": 0.0, "dropout": 0.0, "label_smoothing": 0.0, "clip_norm": 0.0,
        "batch_size": N,
    } | changes  # fmt: skip
    state = dense.State(
        theta, np.zeros_like(theta), np.zeros_like(theta), np.arange(N), np.array([5], np.uint64), np.zeros(1, np.int64)
    )
    return architecture, shape_of(architecture, loss), dense.Recipe(**recipe), state


def train(shape, recipe, state, rows, epochs):
    losses = np.empty(epochs)
    assert dense.train(shape, recipe, state, rows, epochs, losses, np.zeros(1, np.uint8)) == epochs
    return losses


def numpy_gradient(architecture, loss, smoothing, theta, x, t, weight):
    """Loss sum and gradient of the textbook, with NumPy's own products."""
    layers, a, zs, activations = architecture.layers(theta), x, [], [x]
    for W, b in layers:
        z = a @ W + b
        a = np.empty_like(z)
        activate(ACTIVATIONS[architecture.activation], z.ravel(), a.ravel())
        zs.append(z)
        activations.append(a)
    d, gradient = np.empty_like(zs[-1]), np.empty_like(theta)
    total = loss_and_gradient(LOSSES[loss], smoothing, zs[-1], t, weight, d)
    for l in range(len(layers) - 1, -1, -1):
        dW, db = architecture.layers(gradient)[l]
        dW[:], db[:] = activations[l].T @ d, d.sum(axis=0)
        if l:
            d = d @ layers[l][0].T
            multiply_by_slope(ACTIVATIONS[architecture.activation], zs[l - 1].ravel(), d.ravel())
    return total, gradient


@pytest.mark.parametrize(
    ("activation", "loss", "smoothing"),
    [
        *itertools.product(sorted(set(ACTIVATIONS) - {"step"}), ["cross_entropy"], [0.0]),
        *itertools.product(["tanh"], ["binary_cross_entropy", "squared"], [0.0]),
        ("gelu", "binary_cross_entropy", 0.1),
        ("silu", "cross_entropy", 0.1),
    ],
)
def test_one_full_batch_step_goes_down_the_finite_difference_gradient(activation, loss, smoothing):
    architecture, shape, recipe, state = member(activation, loss, label_smoothing=smoothing)
    rows, before = rows_for(loss), state.theta.copy()
    train(shape, recipe, state, rows, 1)
    gradient = (before - state.theta) / recipe.learning_rate

    def mean_loss_at(theta):
        return numpy_gradient(architecture, loss, smoothing, theta, rows.x, rows.t, rows.weight)[0] / N

    h, some = 1e-6, np.random.default_rng(2).permutation(before.size)[:40]
    for i in some:
        up, down = before.copy(), before.copy()
        up[i] += h
        down[i] -= h
        assert gradient[i] == pytest.approx((mean_loss_at(up) - mean_loss_at(down)) / (2 * h), abs=1e-7)


@pytest.mark.parametrize("optimizer", [0, 1])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_a_whole_run_equals_the_same_run_in_numpy(optimizer, loss):
    changes = {"optimizer": optimizer, "beta1": 0.9, "weight_decay": 0.1, "learning_rate": 0.01}
    architecture, shape, recipe, state = member("tanh", loss, **changes)
    rows, theta = rows_for(loss), state.theta.copy()
    losses = train(shape, recipe, state, rows, 200)
    m, v, decays = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for W, _ in architecture.layers(decays):
        W[:] = 0.1
    for t in range(1, 201):
        total, g = numpy_gradient(architecture, loss, 0.0, theta, rows.x, rows.t, rows.weight / N)
        assert losses[t - 1] == pytest.approx(total * N / rows.weight.sum(), rel=1e-9)
        theta *= 1 - 0.01 * decays
        if optimizer == 0:
            m = 0.9 * m + g
            theta -= 0.01 * m
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            theta -= 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(state.theta, theta, rtol=1e-8, atol=1e-10)


def test_gradient_with_dropout_is_that_of_the_network_without_the_dropped_units():
    """Dropped units and the scaled rest are a network of their own: its finite differences are the gradient."""
    _, shape, recipe, state = member("tanh", "squared", dropout=0.4, input_dropout=0.3)
    rows, before = rows_for("squared"), state.theta.copy()
    train(shape, recipe, state, rows, 1)
    gradient = (before - state.theta) / recipe.learning_rate

    def loss_at(theta):  # the same counter draws the same units
        _, _, _, again = member("tanh", "squared")
        again.theta[:] = theta
        return train(shape, recipe._replace(learning_rate=0.0), again, rows, 1)[0] * rows.weight.sum() / N

    h = 1e-6
    for i in np.random.default_rng(2).permutation(before.size)[:30]:
        up, down = before.copy(), before.copy()
        up[i] += h
        down[i] -= h
        assert gradient[i] == pytest.approx((loss_at(up) - loss_at(down)) / (2 * h), abs=1e-7)


def test_clipping_shortens_a_long_step_and_leaves_its_direction():
    _, shape, recipe, state = member("tanh", "squared")
    _, _, clipped, short = member("tanh", "squared", clip_norm=0.01)
    rows, before = rows_for("squared"), state.theta.copy()
    train(shape, recipe, state, rows, 1)
    train(shape, clipped, short, rows, 1)
    step, small = state.theta - before, short.theta - before
    assert np.linalg.norm(small) == pytest.approx(0.05 * 0.01)
    assert step @ small == pytest.approx(np.linalg.norm(step) * np.linalg.norm(small))


def test_every_row_is_met_once_an_epoch_whatever_the_batch_size():
    """With steps of length 0 the mean loss of an epoch is that of the full batch."""
    rows = rows_for("squared")
    found = []
    for batch_size in (1, 7, 16, N, 1000):
        _, shape, recipe, state = member("tanh", "squared", batch_size=batch_size, learning_rate=0.0)
        found.append(train(shape, recipe, state, rows, 1)[0])
    np.testing.assert_allclose(found, found[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_rows_prediction_is_the_same_whatever_rows_stand_beside_it(dtype):
    _, shape, _, state = member("relu", "cross_entropy", sizes=(33, 50, 20, K), dtype=dtype)
    x = np.random.default_rng(0).normal(size=(301, 33)).astype(dtype)
    together = np.empty((301, K), dtype)
    dense.predict(shape, state.theta, x, np.arange(301), together, 64)
    for index in (np.arange(1), np.arange(300, -1, -1), np.array([5, 200])):
        some = np.empty((index.size, K), dtype)
        dense.predict(shape, state.theta, x, index, some, 64)
        np.testing.assert_array_equal(some, together[index])
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-5)


def test_training_stops_when_told_and_says_how_far_it_came():
    _, shape, recipe, state = member("tanh", "squared")
    before = state.theta.copy()
    assert dense.train(shape, recipe, state, rows_for("squared"), 5, np.empty(5), np.ones(1, np.uint8)) == 0
    np.testing.assert_array_equal(state.theta, before)


def test_a_loss_that_is_no_number_ends_training():
    _, shape, recipe, state = member("identity", "squared", learning_rate=1e6)
    losses = np.empty(200)
    finished = dense.train(shape, recipe, state, rows_for("squared"), 200, losses, np.zeros(1, np.uint8))
    assert finished < 200
    assert not np.isfinite(losses[finished])
