"""Hyperparameters of the network section: how they are parsed, limited and implemented by the engine."""

import pytest

from rosenblatt.errors import SpecError
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.network import NetworkSpec
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.activations import ACTIVATIONS
from rosenblatt.training.compiled.kernel_perceptron import KERNELS
from rosenblatt.training.compiled.normalization import NORMALIZATIONS
from rosenblatt.training.compiled.perceptron import RULES
from rosenblatt.training.initializers import BIASES, WEIGHTS


def test_an_empty_list_of_hidden_sizes_is_a_linear_model():
    assert Spec.from_hyperparameters(hidden_sizes="").network.hidden_sizes == ()


@pytest.mark.parametrize("name", ["hidden_sizes", "channels"])
@pytest.mark.parametrize("value", ["64, 32", "64,32,", "(64, 32)", [64, 32], (64, 32)])
def test_sizes_are_parsed_from_text_and_from_any_sequence(name, value):
    assert getattr(Spec.from_hyperparameters(**{name: value}).network, name) == (64, 32)


def test_activations_become_a_tuple():
    assert Spec.from_hyperparameters(activation="gelu").network.activation == ("gelu",)
    assert Spec.from_hyperparameters(activation="gelu, tanh").network.activation == ("gelu", "tanh")


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"activation": "rleu"}, "activation must be one or more of .*, but it is 'rleu'. Did you mean 'relu'?"),
        ({"activation": ()}, "activation must be one or more of"),
        ({"hidden_sizes": (64, 0)}, "hidden_sizes must be .* at least 1 .*, but item 2 is 0."),
        ({"hidden_sizes": "64,x"}, "item 2 is 'x'"),
        ({"hidden_sizes": "64,,32"}, "item 2 is ''"),
        ({"channels": (8, 5000)}, "channels must be .* item 2 is 5000"),
        ({"kind": "cnnn"}, "kind must be .*, but it is 'cnnn'. Did you mean 'cnn'?"),
        ({"kernel_size": 32}, "kernel_size must be a whole number .*31.*, but it is 32"),
        ({"budget": 1}, "budget must be a whole number .*2.*, but it is 1"),
        ({"gamma": 0}, "gamma must be a number .*0.*, but it is 0"),
    ],
)
def test_a_value_outside_its_limits_is_rejected_with_the_expected_values(hyperparameters, message):
    with pytest.raises(SpecError, match=message):
        Spec.from_hyperparameters(**hyperparameters)


def test_the_engine_implements_every_choice_of_the_network_section():
    assert set(HYPERPARAMETERS["activation"].choices) == set(ACTIVATIONS)
    assert set(HYPERPARAMETERS["perceptron_rule"].choices) == set(RULES)
    assert set(HYPERPARAMETERS["kernel"].choices) == set(KERNELS)
    assert set(HYPERPARAMETERS["initializer"].choices) == set(WEIGHTS)
    assert set(HYPERPARAMETERS["bias_initializer"].choices) == set(BIASES)
    assert set(HYPERPARAMETERS["normalization"].choices) == {*NORMALIZATIONS, "group", "auto"}


def test_the_default_network_is_a_multilayer_perceptron_with_automatic_layers():
    network = NetworkSpec()
    assert (network.kind, network.hidden_sizes) == ("mlp", "auto")
    assert network.activation == ("relu", "silu")
