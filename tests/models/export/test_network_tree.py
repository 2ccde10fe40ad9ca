import numpy as np
import pytest

from rosenblatt.models.export.network_tree import make_network_tree
from rosenblatt.models.export.safetensors_folder import split_arrays
from rosenblatt.models.export.signature import read_signature
from tests.models.export.fitted_models import DEEP, DENSE, make_deep_model, make_dense_model


@pytest.mark.parametrize("model", [make_dense_model(name) for name in DENSE] + [make_deep_model(name) for name in DEEP])
def test_a_tree_has_each_parameter_of_a_network_once(model):
    tensors, _ = split_arrays(make_network_tree(model, read_signature(model)))
    for k, network in enumerate(model.networks):
        place = f"trials.0.networks.{k}."
        arrays = {name: array for name, array in tensors.items() if name.startswith(place)}
        n_parameters = sum(a.size for name, a in arrays.items() if not name.endswith((".center", ".factor")))
        is_kernel = f"{place}support_rows" in arrays  # its biases are not used
        assert n_parameters == network.theta.size - is_kernel * n_biases(network)


def n_biases(network):
    return sum(part.shape[0] for part in network.architecture.parts if part.name == "bias")


def test_names_of_arrays_are_their_places_in_the_tree():
    model = make_dense_model("relu")
    tensors, tree = split_arrays(make_network_tree(model, read_signature(model)))
    layer = tree["trials"][0]["networks"][1]["layers"][0]
    assert layer["weight"] == {"tensor": "trials.0.networks.1.layers.0.weight"}
    weight, _ = model.networks[1].architecture.layers(model.networks[1].theta)[0]
    assert np.array_equal(tensors[layer["weight"]["tensor"]], weight)
