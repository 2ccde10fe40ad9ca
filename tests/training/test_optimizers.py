import numpy as np
import pytest

from rosenblatt.training.optimizers import OPTIMIZERS, update


def steps(optimizer, n, decay=0.0, beta1=0.9):
    """The parameters after each of n steps down the valley (theta - 3)^2."""
    theta, m, v, path = np.zeros(1), np.zeros(1), np.zeros(1), []
    for step in range(1, n + 1):
        update(OPTIMIZERS[optimizer], 0.1, decay, beta1, 0.999, step, theta, 2 * (theta - 3), m, v)
        path.append(theta[0])
    return path


def test_adam_takes_the_steps_of_its_paper():
    theta, m, v = 0.0, 0.0, 0.0
    for t, ours in enumerate(steps("adam", 50), 1):  # algorithm 1, letter by letter
        g = 2 * (theta - 3)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theta -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert ours == pytest.approx(theta, rel=1e-9)


def test_sgd_with_momentum_takes_the_steps_of_its_formula():
    theta, m = 0.0, 0.0
    for ours in steps("sgd", 20, beta1=0.5):
        m = 0.5 * m + 2 * (theta - 3)
        theta -= 0.1 * m
        assert ours == pytest.approx(theta)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_decay_pulls_towards_0_apart_from_the_gradient(optimizer):
    theta, m, v = np.full(1, 2.0), np.zeros(1), np.zeros(1)
    update(OPTIMIZERS[optimizer], 0.1, 0.5, 0.9, 0.999, 1, theta, np.zeros(1), m, v)
    assert theta[0] == pytest.approx(2.0 * (1 - 0.1 * 0.5))
