"""What the page Network shows of a model equals what the model computes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from rosenblatt.dashboard import network_views
from rosenblatt.dashboard.network_views import (
    boundary,
    describe_network,
    describe_unit,
    make_frame,
    trace_row,
    weight_map,
)
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import TableError
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.spec.spec import Spec
from tests.serving.people_model import make_model

CELLS = {"age": "39.5", "city": "Oslo", "member": "yes", "since": "2024-02-29"}


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def plane_model():
    """A model of two columns of numbers and two classes."""
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"x": rng.normal(size=50), "y": rng.normal(size=50)})
    spec = Spec.from_hyperparameters(numeric_encoding="standard", bins=8)
    schema = Schema(columns=(Column(name="x", kind="number"), Column(name="y", kind="number")))
    encoder = Encoder.fit(schema.read(table), spec.data)
    target = Target(names=("side",), task="binary", labels=("down", "up"))
    architecture = DenseArchitecture("mlp", (encoder.width, 6, 1), "tanh")
    theta = rng.normal(0, 1, architecture.n_parameters).astype(np.float32)
    network = TrainedNetwork(architecture, theta, 1, (1.0,), ())
    return Model(spec, schema, (TrainedTrial(spec, encoder, target, (network,)),))


def test_the_diagram_has_the_weights_of_the_network(model):
    info = describe_network(model, 2)
    (first, _), (second, _) = model.networks[1].dense.layers(model.networks[1].theta)
    assert (info.network, info.networks, info.kind) == (2, 2, "mlp")
    assert info.sizes == [len(first), 8, 3]
    assert [len(units) for units in info.drawn] == [network_views.MAX_DRAWN_UNITS, 8, 3]
    np.testing.assert_array_equal(info.connections[0], first[info.drawn[0]])
    np.testing.assert_array_equal(info.connections[1], second)
    assert info.names[2] == ["low", "middle", "high"]
    assert [sum(layer.histogram) for layer in info.layers] == [first.size, second.size]
    columns = {column.name: column for column in info.columns}
    assert columns["city"].categories[:1] == [columns["city"].typical]
    assert (columns["member"].categories, columns["member"].typical) == (["no", "yes"], "no")


def test_a_row_is_predicted_as_by_the_model(model):
    trace = trace_row(model, 1, CELLS)
    expected = model.predict_raw(make_frame(model, CELLS))[0]
    assert list(trace.model) == ["low", "middle", "high"]
    np.testing.assert_allclose(list(trace.model.values()), expected, rtol=1e-5)
    assert [len(values) for values in trace.values] == [network_views.MAX_DRAWN_UNITS, 8, 3]


def test_a_neuron_adds_up_to_its_output(model):
    unit = describe_unit(model, 1, 1, 3, CELLS)
    products = [part.value * part.weight for part in unit.contributions]
    np.testing.assert_allclose(products, [part.product for part in unit.contributions], rtol=1e-5, atol=1e-7)
    assert sum(products) + unit.others_sum + unit.bias == pytest.approx(unit.sum, abs=1e-5)
    assert unit.output == pytest.approx(max(unit.sum, 0.0), abs=1e-6)
    np.testing.assert_allclose(unit.curve_output, np.maximum(unit.curve_z, 0), atol=1e-7)
    assert unit.curve_z[0] < unit.sum < unit.curve_z[-1]


@pytest.mark.parametrize(("layer", "unit"), [(0, 0), (3, 0), (1, 8), (2, -1)])
def test_neurons_that_do_not_exist_are_refused(model, layer, unit):
    with pytest.raises(TableError, match="There is no unit"):
        describe_unit(model, 1, layer, unit, CELLS)


def test_other_networks_layers_and_columns_are_refused(model):
    with pytest.raises(TableError, match="There is no network 3; the model has 2"):
        describe_network(model, 3)
    with pytest.raises(TableError, match="Layer 9 has no weights"):
        weight_map(model, 1, 9)
    with pytest.raises(TableError, match="The model has no column 'height'"):
        make_frame(model, {"height": "1"})


def test_large_layers_are_reduced_to_blocks_with_their_largest_weights(model, monkeypatch):
    whole, shape = weight_map(model, 1, 1)
    assert list(whole.shape) == shape
    monkeypatch.setattr(network_views, "MAX_SIDE", 4)
    reduced, shape = weight_map(model, 1, 1)
    assert (reduced.shape, shape) == ((4, 4), list(whole.shape))
    assert np.abs(reduced).max() == np.abs(whole).max()
    assert np.isin(reduced, whole).all()


def test_the_boundary_has_the_predictions_of_the_model(plane_model):
    header, surface = boundary(plane_model)
    assert (header.names, header.shown, header.middle) == (["x", "y"], "score of up", 0.5)
    corners = pl.DataFrame({"x": [header.low[0], header.high[0]], "y": [header.low[1], header.high[1]]})
    expected = plane_model.predict_raw(corners)[:, -1]
    np.testing.assert_allclose([surface[0, 0], surface[-1, -1]], expected, rtol=1e-6)


def test_a_boundary_needs_two_numbers(model):
    assert not describe_network(model, 1).has_boundary
    with pytest.raises(TableError, match="needs two columns of numbers"):
        boundary(model)
