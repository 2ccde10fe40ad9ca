import numpy as np
import pytest

from rosenblatt.errors import ExportError
from rosenblatt.models.imports.layers import Activation, Linear, Normalization, Scaling
from rosenblatt.models.imports.reduction import reduce_layers
from rosenblatt.training.compiled.normalization import EPSILON

RNG = np.random.default_rng(1)


def linear(n_in, n_out):
    return Linear(RNG.normal(size=(n_in, n_out)), RNG.normal(size=n_out))


def scaling(n):
    return Scaling(RNG.uniform(0.5, 2, n), RNG.normal(size=n))


def batch(n, epsilon=1e-3):
    return Normalization(RNG.normal(size=n), RNG.normal(size=n), epsilon, RNG.normal(size=n), RNG.uniform(0.5, 2, n))


def layer_norm(n, epsilon=EPSILON):
    return Normalization(RNG.normal(size=n), RNG.normal(size=n), epsilon)


RELU = Activation("relu")


def apply(layers, x):
    """The layers as they are."""
    for layer in layers:
        if isinstance(layer, Linear):
            x = x @ layer.weight + layer.bias
        elif isinstance(layer, Scaling):
            x = x * layer.factor + layer.shift
        elif isinstance(layer, Normalization):
            mean = x.mean(axis=1, keepdims=True) if layer.mean is None else layer.mean
            variance = x.var(axis=1, keepdims=True) if layer.variance is None else layer.variance
            x = (x - mean) / np.sqrt(variance + layer.epsilon) * layer.gain + layer.shift
        elif layer.name == "relu":
            x = np.where(x > 0, x, x * (0 if layer.slope is None else layer.slope))
        elif layer.name == "sigmoid":
            x = 1 / (1 + np.exp(-x))
    return x


def flatten(reduced):
    """The layers of a reduced network, in order."""
    layers = [] if reduced.inputs is None else [reduced.inputs]
    for hidden in reduced.hidden:
        normalization = [] if hidden.normalization is None else [hidden.normalization]
        layers += [hidden.linear, *normalization, hidden.activation]
    return [*layers, reduced.output, Activation(reduced.output_activation)]


NETWORKS = {
    "no hidden layer": [linear(3, 2)],
    "scaled inputs": [scaling(3), scaling(3), linear(3, 5), RELU, linear(5, 2)],
    "negative scales of inputs": [Scaling(np.array([-1.0, 0, 2]), np.ones(3)), linear(3, 5), RELU, linear(5, 2)],
    "batch normalization of all": [linear(3, 5), batch(5), RELU, linear(5, 5), batch(5), RELU, linear(5, 2)],
    "batch normalization of some": [linear(3, 5), batch(5), RELU, linear(5, 5), RELU, linear(5, 2)],
    "small variance": [linear(3, 5), Normalization(np.ones(5), np.ones(5), 1e-7, np.ones(5), np.full(5, 1e-7)), RELU,
                       linear(5, 2)],
    "normalization after the activation": [linear(3, 5), RELU, batch(5), linear(5, 2)],
    "normalization of inputs and outputs": [batch(3), linear(3, 5), RELU, linear(5, 2), batch(2)],
    "two normalizations": [linear(3, 5), batch(5), batch(5), RELU, linear(5, 2)],
    "layer normalization": [linear(3, 5), layer_norm(5), RELU, linear(5, 2)],
    "sums of sums": [linear(3, 5), linear(5, 4), RELU, linear(4, 2), scaling(2)],
    "slopes": [linear(3, 5), Activation("relu", np.array([0.3])), linear(5, 4), RELU, linear(4, 2)],
    "sigmoid at the end": [linear(3, 5), RELU, linear(5, 2), Activation("sigmoid")],
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_reduced_network_computes_the_same(name):
    layers, x = NETWORKS[name], RNG.normal(size=(20, 3))
    np.testing.assert_allclose(apply(flatten(reduce_layers(layers)), x), apply(layers, x), rtol=1e-9, atol=1e-9)


def test_batch_normalization_stays_one_where_an_architecture_has_it():
    reduced = reduce_layers(NETWORKS["batch normalization of all"])
    assert [layer.normalization.is_batch for layer in reduced.hidden] == [True, True]
    assert {layer.normalization.epsilon for layer in reduced.hidden} == {EPSILON}
    assert reduced.notes == ()


def test_what_is_rewritten_is_noted():
    assert "became part of the weights" in reduce_layers(NETWORKS["batch normalization of some"]).notes[0]
    assert "are one layer" in reduce_layers(NETWORKS["sums of sums"]).notes[0]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([linear(3, 5), RELU, linear(5, 5), Activation("tanh"), linear(5, 2)], "the activations relu and tanh"),
        ([RELU, linear(3, 2)], "follows the inputs"),
        ([linear(3, 5), RELU, Activation("tanh"), linear(5, 2)], "follows another activation"),
        ([linear(3, 5), RELU], "ends with the activation relu"),
        ([linear(3, 5), Activation("softmax"), linear(5, 2)], "follows the softmax"),
        ([scaling(3)], "does not end with weighted sums"),
        ([linear(3, 5), layer_norm(5, 1e-3), RELU, linear(5, 2)], "epsilon of 1e-05"),
        ([linear(3, 5), RELU, layer_norm(5), linear(5, 2)], "must follow weighted sums"),
    ],
)
def test_other_networks_are_refused_in_one_sentence(layers, message):
    with pytest.raises(ExportError, match=message):
        reduce_layers(layers)
