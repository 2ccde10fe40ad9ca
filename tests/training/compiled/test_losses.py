import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_pinball_loss

from rosenblatt.training.compiled.losses import LOSSES, apply_output_activation

N, K = 6, 4
WEIGHT = np.random.default_rng(1).uniform(0.5, 2, N)
PARAMETER = {"huber": 0.7, "quantile": 0.3, "focal": 2.0, "binary_focal": 2.0, "hinge": 1.0, "hinge_of_classes": 1.0}
OF_CLASSES = {"cross_entropy", "focal", "hinge_of_classes", "perceptron_of_classes"}
OF_UNITS = {"binary_cross_entropy", "binary_focal", "hinge", "perceptron"}


def case(name, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(N, K))
    if name in OF_CLASSES:
        return z, rng.integers(0, K, (N, 1)).astype(float)
    if name in OF_UNITS:
        return z, rng.integers(0, 2, (N, K)).astype(float)
    return z, rng.poisson(2, (N, K)).astype(float) if name == "poisson" else rng.normal(size=(N, K))


def compute_loss(name, z, t, weight=WEIGHT, smoothing=0.0, d=None):
    return LOSSES[name](z, t, weight, np.empty_like(z) if d is None else d, smoothing, PARAMETER.get(name, 0.0))


@pytest.mark.parametrize(
    ("name", "smoothing"), [*((name, 0.0) for name in LOSSES), ("cross_entropy", 0.1), ("binary_cross_entropy", 0.1)]
)
def test_gradients_equal_finite_differences(name, smoothing):
    (z, t), d = case(name), np.empty((N, K))
    compute_loss(name, z, t, smoothing=smoothing, d=d)
    h, gradient = 1e-6, np.empty((N, K))
    for i, k in np.ndindex(N, K):
        up, down = z.copy(), z.copy()
        up[i, k] += h
        down[i, k] -= h
        gradient[i, k] = (
            compute_loss(name, up, t, smoothing=smoothing) - compute_loss(name, down, t, smoothing=smoothing)
        ) / (2 * h)
    np.testing.assert_allclose(d, gradient, atol=1e-7)


def test_cross_entropy_equals_that_of_scikit_learn():
    z, t = case("cross_entropy")
    total = compute_loss("cross_entropy", z, t, np.ones(N))
    apply_output_activation("cross_entropy", z)
    assert total / N == pytest.approx(log_loss(t[:, 0], z, labels=np.arange(K)))


def test_quantile_loss_equals_that_of_scikit_learn():
    z, t = case("quantile")
    loss = mean_pinball_loss(t, z, alpha=0.3) * K
    assert compute_loss("quantile", z, t, np.ones(N)) / N == pytest.approx(loss)


def test_the_quantile_minimizes_the_quantile_loss():
    t = np.random.default_rng(0).normal(size=(1001, 1))
    guesses = np.linspace(-1, 0, 101)
    losses = [compute_loss("quantile", np.full_like(t, guess), t, np.ones(1001)) for guess in guesses]
    assert guesses[np.argmin(losses)] == pytest.approx(np.quantile(t, 0.3), abs=0.02)


def test_the_focal_loss_with_gamma_0_is_the_cross_entropy():
    z, t = case("focal")
    plain = LOSSES["cross_entropy"](z, t, WEIGHT, np.empty_like(z), 0.0, 0.0)
    assert LOSSES["focal"](z, t, WEIGHT, np.empty_like(z), 0.0, 0.0) == pytest.approx(plain)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"poisson"}))
def test_losses_of_extreme_logits_are_finite(name):
    z = np.array([[-1e4, 1e4], [1e4, -1e4]], np.float32)
    t = np.zeros((2, 1 if name in OF_CLASSES else 2), np.float32)
    d = np.empty_like(z)
    assert np.isfinite(compute_loss(name, z, t, np.ones(2, np.float32), d=d))
    assert np.isfinite(d).all()
    apply_output_activation(name, z)
    assert np.isfinite(z).all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_a_nan_logit_is_not_finite(name):
    """Members that diverge are detected by their loss."""
    z, t = case(name)
    z[2, 1] = np.nan
    assert not np.isfinite(compute_loss(name, z, t))
    assert not np.isfinite(compute_loss(name, z.astype(np.float32), t.astype(np.float32), WEIGHT.astype(np.float32)))


def test_output_activations_turn_logits_into_predictions():
    z = np.array([[0.0, np.log(3.0)]])
    for loss, expected in (
        ("cross_entropy", [0.25, 0.75]),
        ("binary_cross_entropy", [0.5, 0.75]),
        ("poisson", [1, 3]),
        ("squared", [0, np.log(3)]),
    ):
        p = z.copy()
        apply_output_activation(loss, p)
        np.testing.assert_allclose(p[0], expected)
