"""Architecture of fully connected networks: parameter layout and summary."""

import numpy as np

from rosenblatt.networks.dense import DenseArchitecture, build_dense, drop_unused_units
from rosenblatt.spec.spec import Spec


def test_layers_are_views_of_the_flat_parameters():
    architecture = DenseArchitecture("mlp", (3, 4, 2), "relu")
    theta = np.arange(architecture.n_parameters, dtype=np.float32)
    (w0, b0), (w1, b1) = architecture.layers(theta)
    assert [part.shape for part in (w0, b0, w1, b1)] == [(3, 4), (4,), (4, 2), (2,)]
    np.testing.assert_array_equal(np.concatenate([w0.ravel(), b0, w1.ravel(), b1]), theta)
    b1[:] = 0
    assert theta[-1] == 0


def test_hidden_layers_have_the_configured_parameters_without_gaps():
    architecture = DenseArchitecture("mlp", (3, 4, 2), "relu", "batch", parametric_activation=True, scaling_layer=True)
    names = [(part.layer, part.name) for part in architecture.parts]
    hidden = ["weight", "bias", "gain", "shift", "mean", "variance", "blend"]
    assert names == [(0, "scale"), *((0, name) for name in hidden), (1, "weight"), (1, "bias")]
    ends = [part.end for part in architecture.parts]
    assert [part.start for part in architecture.parts] == [0, *ends[:-1]]
    assert architecture.n_parameters == 3 + 12 + 6 * 4 + 8 + 2


def test_a_perceptron_has_one_layer_of_step_units():
    architecture = build_dense(Spec.from_hyperparameters(kind="perceptron").network, 5, 3)
    assert architecture.sizes == (5, 3)
    assert architecture.activation == "step"


def test_voted_and_kernel_perceptrons_have_a_hidden_layer():
    voted = build_dense(Spec.from_hyperparameters(kind="perceptron", perceptron_rule="voted", budget=20).network, 5, 3)
    assert (voted.sizes, voted.activation) == ((5, 20, 3), "step")
    kernel_perceptron = build_dense(
        Spec.from_hyperparameters(kind="perceptron", perceptron_rule="kernel", kernel="polynomial", budget=20).network,
        5,
        3,
    )
    assert (
        kernel_perceptron.sizes,
        kernel_perceptron.activation,
        kernel_perceptron.gamma,
        kernel_perceptron.degree,
    ) == ((5, 20, 3), "polynomial", 1 / 5, 3)


def test_the_summary_names_each_layer_and_its_activation():
    assert DenseArchitecture("mlp", (20, 64, 64, 2), "relu").summary == "20 inputs -> 64 relu -> 64 relu -> 2 outputs"
    assert DenseArchitecture("perceptron", (1, 1), "step").summary == "1 input -> 1 output"
    assert DenseArchitecture("perceptron", (5, 1000, 3), "rbf").summary == "5 inputs -> 1000 rbf -> 3 outputs"


def test_dropping_unused_units_keeps_the_others_unchanged():
    architecture = DenseArchitecture("perceptron", (3, 4, 2), "step")
    theta = np.arange(architecture.n_parameters, dtype=np.float32)
    smaller, smaller_theta = drop_unused_units(architecture, theta, 2)
    assert smaller.sizes == (3, 2, 2)
    for (key, full), part in zip(
        architecture.parameters_by_name(theta).items(), smaller.parameters_by_name(smaller_theta).values(), strict=True
    ):
        np.testing.assert_array_equal(part, full[tuple(slice(n) for n in part.shape)], err_msg=str(key))
