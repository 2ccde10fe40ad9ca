import numpy as np
import pytest

from rosenblatt.networks.activations import ACTIVATIONS, activate, multiply_by_slope

SMOOTH = sorted(set(ACTIVATIONS) - {"step"})
Z = np.linspace(-4, 4, 33) + 0.01  # no point lies where relu and its kind have a corner


def f(name, z):
    a = np.empty_like(z)
    activate(ACTIVATIONS[name], z, a)
    return a


@pytest.mark.parametrize("name", SMOOTH)
def test_slope_is_the_derivative(name):
    d = np.ones_like(Z)
    multiply_by_slope(ACTIVATIONS[name], Z, d)
    h = 1e-6
    np.testing.assert_allclose(d, (f(name, Z + h) - f(name, Z - h)) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_is_finite_for_any_sum(name):
    z = np.array([-1e4, -100, 0, 100, 1e4], np.float32)
    d = np.ones_like(z)
    multiply_by_slope(ACTIVATIONS[name], z, d)
    assert np.isfinite(f(name, z)).all()
    assert np.isfinite(d).all()


def test_values_are_those_of_the_textbook():
    z = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(f("sigmoid", z), 1 / (1 + np.exp(-z)))
    np.testing.assert_allclose(f("relu", z), [0, 0, 2])
    np.testing.assert_allclose(f("step", z), [0, 0, 1])
    np.testing.assert_allclose(f("silu", z), z / (1 + np.exp(-z)))
    np.testing.assert_allclose(f("gelu", z), [-0.15865525, 0, 1.95449974], atol=1e-8)  # z times the normal's CDF
    np.testing.assert_allclose(f("mish", z), z * np.tanh(np.log1p(np.exp(z))))
