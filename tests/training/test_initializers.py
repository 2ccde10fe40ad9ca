import numpy as np
import pytest

from rosenblatt.networks.dense import DenseArchitecture, build_dense
from rosenblatt.spec.spec import Spec
from rosenblatt.training.initializers import BIASES, WEIGHTS, initialize

X = np.random.default_rng(3).normal(2, 5, size=(500, 400)).astype(np.float32)


def first_layer(hidden=(300,), seed=0, **hyperparameters):
    network = Spec.from_hyperparameters(hidden_sizes=hidden, activation="relu", **hyperparameters).network
    architecture = build_dense(network, 400, 2)
    return architecture.layers(initialize(architecture, network, np.random.default_rng(seed), X))[0]


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        ("he_normal", 2 / 400),
        ("he_uniform", 2 / 400),
        ("glorot_normal", 2 / 700),
        ("glorot_uniform", 2 / 700),
        ("lecun_normal", 1 / 400),
        ("lecun_uniform", 1 / 400),
        ("normal", 0.05**2),
        ("uniform", 0.05**2 / 3),
    ],
)
@pytest.mark.parametrize("scale", ["auto", 0.5])
def test_initial_weights_have_the_variance_of_their_paper(initializer, variance, scale):
    W, b = first_layer(initializer=initializer, weight_scale=scale)
    if scale == 0.5:
        variance *= (0.5 / 0.05) ** 2 if initializer in {"normal", "uniform"} else 0.5**2
    assert W.var() == pytest.approx(variance, rel=0.02)
    assert abs(W.mean()) < 4 * np.sqrt(variance / W.size)
    assert not b.any()
    if initializer.endswith("uniform"):
        assert np.abs(W).max() <= np.sqrt(3 * variance) * (1 + 1e-6)


def test_zeros_and_constants_have_the_requested_value():
    assert not first_layer(initializer="zeros")[0].any()
    W, b = first_layer(initializer="constant", weight_scale=0.3, bias_initializer="constant", bias_scale=-2.0)
    np.testing.assert_array_equal(W, np.float32(0.3))
    np.testing.assert_array_equal(b, -2)


@pytest.mark.parametrize("hidden", [(300,), (500,)])
def test_orthogonal_weights_have_orthogonal_rows_or_columns(hidden):
    W, _ = first_layer(hidden, initializer="orthogonal", weight_scale=2.0)
    product = W.T @ W if hidden[0] < 400 else W @ W.T
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-4)


def test_data_dependent_weights_give_all_logits_the_same_variance():
    network = Spec.from_hyperparameters(
        hidden_sizes=(60, 50), activation="relu", initializer="data_dependent", weight_scale=1.5
    ).network
    architecture = build_dense(network, 400, 2)
    theta, a = initialize(architecture, network, np.random.default_rng(0), X), X
    for W, b in architecture.layers(theta):
        z = a @ W + b
        np.testing.assert_allclose(z.std(axis=0), 1.5, rtol=1e-3)
        a = np.maximum(z, 0)


def test_data_dependent_biases_put_the_zero_of_every_unit_among_the_rows():
    W, b = first_layer(bias_initializer="data_dependent")
    above = (X @ W + b > 0).mean(axis=0)
    assert above.min() > 0
    assert above.max() < 1


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("initializer", WEIGHTS)
def test_equal_generators_draw_equal_parameters(initializer, bias):
    first, second = (first_layer((8,), initializer=initializer, bias_initializer=bias) for _ in range(2))
    for actual, expected in zip(first, second, strict=True):
        np.testing.assert_array_equal(actual, expected)
        assert np.isfinite(actual).all()


def test_a_perceptron_starts_at_0():
    architecture = DenseArchitecture("perceptron", (5, 3), "step")
    assert not initialize(
        architecture, Spec.from_hyperparameters(kind="perceptron").network, np.random.default_rng(0), X
    ).any()


def test_gains_scales_and_blends_start_at_1():
    network = Spec.from_hyperparameters(
        hidden_sizes=(3,), activation="relu", normalization="batch", parametric_activation=True, scaling_layer=True
    ).network
    architecture = build_dense(network, 4, 1)
    named = architecture.parameters_by_name(initialize(architecture, network, np.random.default_rng(0), X[:, :4]))
    for name in ("scale", "gain", "variance", "blend"):
        assert (named[0, name] == 1).all()
    for name in ("shift", "mean"):
        assert (named[0, name] == 0).all()
