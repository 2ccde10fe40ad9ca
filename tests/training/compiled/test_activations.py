import numpy as np
import pytest

from rosenblatt.training.compiled.activations import ACTIVATIONS

SMOOTH = sorted(set(ACTIVATIONS) - {"step"})
Z = np.linspace(-4, 4, 33) + 0.01  # no point lies at a kink


def f(name, z):
    """Values and slopes."""
    slope, a = z.copy(), np.empty_like(z)
    ACTIVATIONS[name](slope, a)
    return a, slope


@pytest.mark.parametrize("name", SMOOTH)
def test_slopes_are_the_derivatives(name):
    h = 1e-6
    np.testing.assert_allclose(f(name, Z)[1], (f(name, Z + h)[0] - f(name, Z - h)[0]) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_of_any_logit_are_finite_and_nan_stays_nan(name):
    z = np.array([-1e4, -100, 0, 100, 1e4, np.nan], np.float32)
    a, slope = f(name, z)
    assert np.isfinite(a[:-1]).all()
    assert np.isfinite(slope[:-1]).all()
    assert name == "step" or np.isnan(a[-1])


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_accurate_to_the_precision_of_float32(name):
    z = np.concatenate([np.linspace(-12, 12, 10_007), np.linspace(-1e-2, 1e-2, 1001)])
    for ours, exact in zip(f(name, z.astype(np.float32)), f(name, z.astype(np.float32).astype(float)), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=2e-6, atol=3e-7)


def test_values_equal_the_textbook_formulas():
    z = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(f("sigmoid", z)[0], 1 / (1 + np.exp(-z)))
    np.testing.assert_allclose(f("relu", z)[0], [0, 0, 2])
    np.testing.assert_allclose(f("step", z)[0], [0, 0, 1])
    np.testing.assert_allclose(f("silu", z)[0], z / (1 + np.exp(-z)))
    np.testing.assert_allclose(f("gelu", z)[0], [-0.15865525, 0, 1.95449974], atol=1e-8)  # z times the normal's CDF
    np.testing.assert_allclose(f("mish", z)[0], z * np.tanh(np.log1p(np.exp(z))))
