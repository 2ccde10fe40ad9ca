import math

import numpy as np
import pytest
from numba import njit
from scipy.special import ndtr

from rosenblatt.training.compiled import elementary


@pytest.mark.parametrize(
    ("name", "exact", "low", "high"),
    [
        ("exp", np.exp, -79, 88),
        ("log", np.log, 1e-30, 1e30),
        ("log", np.log, 0.5, 2),
        ("log1p", np.log1p, -0.3, 1),
        ("log1p", np.log1p, -1e-5, 1e-5),
        ("tanh", np.tanh, -10, 10),
        ("tanh", np.tanh, -1e-3, 1e-3),
        ("expm1", np.expm1, -20, 20),
        ("expm1", np.expm1, -1e-4, 1e-4),
    ],
)
def test_formulas_are_accurate_to_the_precision_of_their_type(name, exact, low, high):
    formula = getattr(elementary, name)

    @njit
    def apply(x, out):
        for i in range(x.size):
            out[i] = formula(x[i])

    for dtype, tolerance in ((np.float32, 4e-7), (np.float64, 1e-14)):
        x = np.linspace(low, high, 20_001).astype(dtype)
        out = np.empty_like(x)
        apply(x, out)
        np.testing.assert_allclose(out, exact(x.astype(np.float64)), rtol=tolerance, atol=1e-37)
        assert formula(0.5) == pytest.approx(exact(0.5))


def test_normal_cdf_equals_that_of_scipy():
    cdf = elementary.normal_cdf

    @njit
    def apply(x, out):
        for i in range(x.size):
            out[i] = cdf(x[i], elementary.exp(np.float32(-0.5) * x[i] * x[i]))

    x = np.linspace(-8, 8, 10_001).astype(np.float32)
    out = np.empty_like(x)
    apply(x, out)
    np.testing.assert_allclose(out, ndtr(x.astype(float)), rtol=3e-6)
    assert cdf(1.0, math.exp(-0.5)) == pytest.approx(ndtr(1.0))
