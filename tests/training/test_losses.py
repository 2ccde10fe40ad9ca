import numpy as np
import pytest
from sklearn.metrics import log_loss

from rosenblatt.training.losses import LOSSES, loss_and_gradient, mean_loss, predict_from_sums

RNG = np.random.default_rng(0)
N, K = 6, 4
WEIGHT = RNG.uniform(0.5, 2, N)


def targets(name):
    if name == "cross_entropy":
        return RNG.integers(0, K, (N, 1)).astype(float)
    if name == "binary_cross_entropy":
        return RNG.integers(0, 2, (N, K)).astype(float)
    return RNG.normal(size=(N, K))


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "squared"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_is_that_of_the_loss(name, smoothing):
    z, t, d = RNG.normal(size=(N, K)), targets(name), np.empty((N, K))
    loss_and_gradient(LOSSES[name], smoothing, z, t, WEIGHT, d)
    h, found = 1e-6, np.empty((N, K))
    for i, k in np.ndindex(N, K):
        up, down = z.copy(), z.copy()
        up[i, k] += h
        down[i, k] -= h
        scratch = np.empty((N, K))
        high = loss_and_gradient(LOSSES[name], smoothing, up, t, WEIGHT, scratch)
        low = loss_and_gradient(LOSSES[name], smoothing, down, t, WEIGHT, scratch)
        found[i, k] = (high - low) / (2 * h)
    np.testing.assert_allclose(d, found, atol=1e-7)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "squared"])
def test_mean_loss_of_predictions_is_the_loss_of_their_sums(name):
    z, t, d = RNG.normal(size=(N, K)), targets(name), np.empty((N, K))
    total = loss_and_gradient(LOSSES[name], 0.0, z, t, WEIGHT, d)
    predict_from_sums(LOSSES[name], z)
    assert mean_loss(LOSSES[name], z, t, WEIGHT) == pytest.approx(total / WEIGHT.sum())


def test_cross_entropy_is_that_of_scikit_learn():
    z, t, d = RNG.normal(size=(N, K)), targets("cross_entropy"), np.empty((N, K))
    total = loss_and_gradient(LOSSES["cross_entropy"], 0.0, z, t, np.ones(N), d)
    predict_from_sums(LOSSES["cross_entropy"], z)
    assert total / N == pytest.approx(log_loss(t[:, 0], z, labels=np.arange(K)))


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_extreme_sums_stay_finite(name):
    z = np.array([[-1e4, 1e4], [1e4, -1e4]], np.float32)
    t = np.zeros((2, 1 if name == "cross_entropy" else 2), np.float32)
    d = np.empty_like(z)
    assert np.isfinite(loss_and_gradient(LOSSES[name], 0.0, z, t, np.ones(2, np.float32), d))
    assert np.isfinite(d).all()
    predict_from_sums(LOSSES[name], z)
    assert np.isfinite(mean_loss(LOSSES[name], z, t, np.ones(2)))


def test_a_perceptrons_loss_is_its_share_of_mistakes():
    t = np.array([[0.0], [1.0], [2.0]])
    sums = np.array([[3.0, 1, 0], [2.0, 1, 0], [0.0, 1, 2]])
    assert mean_loss(LOSSES["perceptron_classes"], sums, t, np.ones(3)) == pytest.approx(1 / 3)
    assert mean_loss(LOSSES["perceptron"], np.array([[-1.0], [2.0]]), np.array([[1.0], [1.0]]), np.ones(2)) == 0.5
