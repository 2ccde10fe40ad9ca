"""Tests of networks that are trained in small steps: they equal the engine's training."""

from __future__ import annotations

import numpy as np
import pytest

from rosenblatt import Perceptron
from rosenblatt.dashboard import plane_network
from rosenblatt.dashboard.plane_network import PlaneNetwork, make_spec
from rosenblatt.dashboard.point_sets import POINT_SETS
from rosenblatt.errors import SpecError
from rosenblatt.spec.fields import Rule
from rosenblatt.training.compiled.perceptron import CONVERGED
from rosenblatt.training.member import new_member
from rosenblatt.training.population import train

RULES = Rule.__args__
KERNEL_RULES = {"voted": {"budget": 40}, "kernel": {"budget": 40}}


@pytest.fixture(autouse=True)
def _unlimited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane_network, "MAX_STEP_S", 60.0)


def make_network(name: str = "nearly separable", n: int = 60, previous: PlaneNetwork | None = None, **settings):
    points, classes = POINT_SETS[name](n, np.random.default_rng(1))
    return PlaneNetwork(points, classes, make_spec(settings), previous)


@pytest.mark.parametrize("rule", RULES)
def test_rows_one_at_a_time_train_as_epochs_of_the_engine_to_the_last_bit(rule: str):
    network = make_network(kind="perceptron", perceptron_rule=rule, **KERNEL_RULES.get(rule, {}))
    network.train("row", 60 * 3 if rule != "pocket" else 3)
    assert network.epochs == 3
    member, index = network.member, np.arange(60)
    other = new_member(member.spec, member.architecture, member.loss, index, index[:0], (0,), network._rows)
    other.epochs = 3
    records = list(train([other], network._rows))
    for state in (member.state, other.state):
        state.step[CONVERGED] = 0  # whether the last call made no update, which was for a row or for an epoch
    assert all(map(np.array_equal, member.state, other.state))
    assert network.mistakes == round(sum(record.loss for record in records) * 60)


@pytest.mark.parametrize("rule", ["rosenblatt", "averaged", "margin", "passive_aggressive", "adaline", "delta"])
def test_an_epoch_has_the_weights_of_the_classifier(rule: str):
    network = make_network(kind="perceptron", perceptron_rule=rule, batch_order="in_order")
    network.train("epoch", 1)
    classifier = Perceptron(
        perceptron_rule=rule, batch_order="in_order", epochs=1, numeric_encoding="standard", folds=1
    ).fit(network.points, network.classes)
    expected = classifier.decision_function(network.points)
    assert np.allclose(network.predict(network.points), np.ravel(expected), atol=1e-5)


def test_rosenblatts_rule_adds_the_row_to_the_weights_at_a_mistake():
    network = make_network("separable", kind="perceptron", learning_rate=0.5, batch_order="in_order")
    weights, bias = np.zeros(2), 0.0
    x = (network.points - network.points.mean(0)) / network.points.std(0)
    for row in range(60):
        sign, is_mistake = 2 * network.classes[row] - 1, (weights @ x[row] + bias > 0) != (network.classes[row] == 1)
        if is_mistake:
            weights, bias = weights + 0.5 * sign * x[row], bias + 0.5 * sign
        network.train("row", 1)
        assert network.last_row is not None
        assert (network.last_row.row, network.last_row.is_mistake) == (row, is_mistake)
        assert np.allclose(network.member.state.theta, [*weights, bias], atol=1e-5)


def test_a_step_to_the_next_update_ends_at_it_or_with_the_training():
    network = make_network("separable", kind="perceptron")
    while not network.is_finished:
        n_updates = network.updates
        network.train("update", 1)
        assert network.updates == n_updates + (not network.is_finished)
    assert network.accuracy == 1.0
    assert network.separation is not None
    assert 0 < network.mistakes <= network.separation.max_mistakes


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"perceptron_rule": "adaline"}, "at mistakes only"),
        ({"perceptron_rule": "rosenblatt"}, "No line separates"),
    ],
)
def test_a_missing_bound_is_explained(settings: dict[str, str], words: str):
    assert words in make_network("xor", kind="perceptron", **settings).bound_note


def test_the_output_of_a_multilayer_perceptron_is_that_of_its_weights():
    network = make_network("xor", kind="mlp", hidden_sizes="5,4", activation="tanh", dropout=0)
    network.train("epoch", 3)
    a = (network.points - network.points.mean(0)) / network.points.std(0)
    *hidden, (weights, bias) = network.architecture.layers(network.member.state.theta)
    for layer_weights, layer_bias in hidden:
        a = np.tanh(a @ layer_weights + layer_bias)
    expected = 1 / (1 + np.exp(-(a @ weights + bias)[:, 0]))
    assert np.allclose(network.predict(network.points), expected, atol=1e-5)


def test_other_hyperparameters_continue_with_the_weights_of_equal_shape():
    first = make_network("xor", kind="mlp", hidden_sizes="5,4", dropout=0)
    first.train("epoch", 2)
    same = make_network("xor", previous=first, kind="mlp", hidden_sizes="5,4", dropout=0.2, learning_rate=0.1)
    assert np.array_equal(same.member.state.theta, first.member.state.theta)
    assert np.array_equal(same.member.state.m, first.member.state.m)
    assert (same.epochs, same.n_reused) == (2, 6)
    wider = make_network("xor", previous=first, kind="mlp", hidden_sizes="5,6", dropout=0)
    old, new = (n.architecture.parameters_by_name(n.member.state.theta) for n in (first, wider))
    assert np.array_equal(old[0, "weight"], new[0, "weight"])
    assert wider.n_reused == 3  # weights and biases of the first layer, and the bias of the output
    assert make_network("xor", previous=first, kind="perceptron").n_reused == 0


def test_training_that_diverges_ends_with_a_sentence():
    network = make_network("xor", kind="mlp", hidden_sizes="8", activation="identity", optimizer="sgd", dropout=0,
                           learning_rate=1000, clip_norm=0)  # fmt: skip
    network.train("epoch", 100)
    assert network.is_finished
    assert "diverged" in network.failure


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "mlp", "hidden_sizes": "65"},
        {"kind": "mlp", "hidden_sizes": "2,2,2,2,2,2,2"},
        {"kind": "perceptron", "perceptron_rule": "voted", "budget": 501},
        {"kind": "perceptron", "margin": 2.0},
        {"kind": "mlp", "learning_rate": -1},
    ],
)
def test_settings_that_are_too_large_or_have_no_effect_are_refused(settings: dict[str, object]):
    with pytest.raises(SpecError):
        make_spec(settings)


def test_a_step_ends_in_time_and_goes_on_where_it_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plane_network, "MAX_STEP_S", 0.0)
    network = make_network(kind="perceptron")
    network.train("epoch", 5)
    assert (network.epochs, network.position) == (0, 1)
    network.train("epoch", 5)
    assert network.rows_seen == 2
