import numpy as np
import pytest

from rosenblatt.training.compiled.optimizers import OPTIMIZERS


def steps(optimizer, n, beta1=0.9):
    """Return the parameter after each of n steps that minimize (theta - 3)^2."""
    theta, m, v, path = np.zeros(1), np.zeros(1), np.zeros(1), []
    for step in range(1, n + 1):
        OPTIMIZERS[optimizer](theta, 2 * (theta - 3), m, v, 0.1, 1.0, beta1, 0.999, step)
        path.append(theta[0])
    return path


def test_adam_follows_its_paper():
    theta, m, v = 0.0, 0.0, 0.0
    for t, actual in enumerate(steps("adam", 50), 1):  # algorithm 1
        g = 2 * (theta - 3)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theta -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert actual == pytest.approx(theta, rel=1e-9)


def test_momentum_follows_its_formula():
    theta, m = 0.0, 0.0
    for actual in steps("momentum", 20, beta1=0.5):
        m = 0.5 * m + 2 * (theta - 3)
        theta -= 0.1 * m
        assert actual == pytest.approx(theta)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_minimizes_a_quadratic_function(optimizer):
    path = steps(optimizer, 500)
    assert abs(path[-1] - 3) < abs(path[0] - 3)
    assert abs(path[-1] - 3) < 0.5 or optimizer == "adagrad"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weight_decay_is_decoupled_from_the_gradient(optimizer):
    theta, m, v = np.full(1, 2.0), np.zeros(1), np.zeros(1)
    OPTIMIZERS[optimizer](theta, np.zeros(1), m, v, 0.1, 1 - 0.1 * 0.5, 0.9, 0.999, 1)
    assert theta[0] == pytest.approx(2.0 * (1 - 0.1 * 0.5))
