import numpy as np
import pytest

from rosenblatt.networks.architectures import Architecture, build, first_parameters
from rosenblatt.spec import Spec


def test_layers_are_views_of_the_flat_parameters():
    architecture = Architecture("mlp", (3, 4, 2), "relu")
    theta = np.arange(architecture.n_parameters, dtype=np.float32)
    (w0, b0), (w1, b1) = architecture.layers(theta)
    assert [part.shape for part in (w0, b0, w1, b1)] == [(3, 4), (4,), (4, 2), (2,)]
    np.testing.assert_array_equal(np.concatenate([w0.ravel(), b0, w1.ravel(), b1]), theta)
    b1[:] = 0
    assert theta[-1] == 0


def test_a_perceptron_has_one_layer_of_step_units_that_starts_at_0():
    architecture = build(Spec.of(kind="perceptron").network, 5, 3)
    assert architecture.sizes == (5, 3)
    assert architecture.activation == "step"
    assert not first_parameters(architecture, "he_normal", np.random.default_rng(0)).any()


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        ("he_normal", 2 / 400),
        ("he_uniform", 2 / 400),
        ("glorot_normal", 2 / 700),
        ("glorot_uniform", 2 / 700),
        ("lecun_normal", 1 / 400),
    ],
)
def test_first_weights_have_the_variance_of_their_paper(initializer, variance):
    architecture = Architecture("mlp", (400, 300), "relu")
    weights, biases = architecture.layers(first_parameters(architecture, initializer, np.random.default_rng(0)))[0]
    assert weights.var() == pytest.approx(variance, rel=0.02)
    assert not biases.any()
    if initializer.endswith("uniform"):
        assert np.abs(weights).max() <= np.sqrt(3 * variance)
