"""Which hyperparameters there are to propose, under which conditions, and the spec that values make."""

import numpy as np
import pytest

from rosenblatt.errors import SpecError
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.dimensions import choice, integer, log_uniform, uniform
from rosenblatt.spec.spec import Spec, unused_hyperparameter_error
from rosenblatt.tuning.default_spaces import default_space
from rosenblatt.tuning.population_based import perturb
from rosenblatt.tuning.space import Space


def make_space(dimensions, **fixed):
    return Space.from_spec(Spec.from_hyperparameters(**fixed).with_search_space(dimensions))


def test_conditions_come_from_the_hyperparameters_themselves():
    """beta2 means nothing beside momentum; nobody has to say so."""
    space = make_space({"beta2": uniform(0.9, 0.999), "optimizer": choice("adam", "momentum")})
    assert list(space.dimensions) == ["optimizer", "beta2"]
    assert space.is_active("beta2", {"optimizer": "adam"})
    assert not space.is_active("beta2", {"optimizer": "momentum"})


def test_a_dimension_that_hangs_on_one_that_does_not_hold_does_not_hold():
    space = make_space(
        {
            "optimizer": choice("adam", "momentum"),
            "beta2": choice(0.9, 0.99),
            "clip_norm": uniform(0.5, 2, when={"beta2": [0.9]}),
        }
    )
    assert space.is_active("clip_norm", {"optimizer": "adam", "beta2": 0.9})
    assert not space.is_active("clip_norm", {"optimizer": "momentum"})


def test_layers_and_width_make_hidden_sizes():
    space = make_space({"hidden_layers": integer(0, 3), "hidden_width": choice(8, 16)})
    assert space.spec({"hidden_layers": 3, "hidden_width": 16}).network.hidden_sizes == (16, 16, 16)
    assert space.spec({"hidden_layers": 0, "hidden_width": 16}).network.hidden_sizes == ()
    assert space.params_from_spec(Spec.from_hyperparameters(hidden_sizes=(8, 8))) == {
        "hidden_layers": 2,
        "hidden_width": 8,
    }


def test_what_is_fixed_but_means_nothing_beside_some_values_is_left_out_there():
    space = make_space({"optimizer": choice("adam", "momentum")}, beta2=0.95)
    assert space.spec({"optimizer": "adam"}).training.beta2 == 0.95
    spec = space.spec({"optimizer": "momentum"})
    assert spec.training.beta2 == 0.999
    assert not unused_hyperparameter_error(spec)


def test_whether_values_are_in_the_space():
    space = make_space({"dropout": uniform(0.1, 0.5), "optimizer": choice("adam", "nadam")})
    assert space.contains({"dropout": 0.1, "optimizer": "nadam"})
    assert not space.contains({"dropout": 0.05, "optimizer": "adam"})
    assert not space.contains({"dropout": 0.2, "optimizer": "sgd"})


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ({"beta2": uniform(0.9, 0.99), "optimizer": choice("sgd", "momentum")}, "beta2 has an effect only with"),
        ({"gamma": uniform(0.1, 1)}, "has an effect only with perceptron_rule kernel"),
        ({"dropout": uniform(0, 0.5, when={"optimiser": ["adam"]})}, "Did you mean 'optimizer'"),
        ({"dropout": uniform(0, 0.5, when={"optimizer": ["sgd"]})}, "but optimizer is adam in all trials"),
        ({"dropout": uniform(0, 0.5, when={"l1": [0.1]}), "l1": uniform(0, 1)}, "range of numbers"),
        (
            {"dropout": uniform(0, 0.5, when={"batch_size": [7]}), "batch_size": integer(8, 9)},
            "but batch_size is a whole number",
        ),
        (
            {"dropout": choice(0.1, when={"l1": [0.1]}), "l1": choice(0.1, when={"dropout": [0.1]})},
            "go round in a circle",
        ),
        ({"dropout": uniform(0, 1.5)}, "dropout must be"),
        ({"hidden_width": choice(0)}, "hidden_sizes must be"),
        ({"activation": choice("relu", "rulu")}, "Did you mean 'relu'"),
    ],
)
def test_impossible_conditions_and_values_out_of_limits_are_refused_before_the_search(dimensions, message):
    with pytest.raises(SpecError, match=message):
        make_space(dimensions)


@pytest.mark.parametrize("rows", [100, 1000, 20_000, 500_000])
@pytest.mark.parametrize(
    ("fixed", "task"),
    [
        ({}, "binary"),
        ({}, "regression"),
        ({"activation": "gelu", "hidden_sizes": (8,)}, "multiclass"),
        ({"numeric_encoding": "standard"}, "binary"),
        ({"kind": "perceptron"}, "binary"),
        ({"kind": "perceptron"}, "multiclass"),
        ({"kind": "perceptron", "perceptron_rule": "margin"}, "binary"),
    ],
)
def test_default_spaces_are_valid_and_leave_alone_what_is_fixed(fixed, task, rows):
    spec = Spec.from_hyperparameters(**fixed)
    space = Space.from_spec(spec.model_copy(update={"space": default_space(spec, task, rows)}))
    assert not set(fixed) & set(space.dimensions)
    rng = np.random.default_rng(0)
    for _ in range(30):
        params = {}
        for name, dimension in space.dimensions.items():
            if space.is_active(name, params):
                kind = dimension.kind
                candidates = dimension.values if kind == "choice" else (dimension.low, dimension.high)
                params[name] = candidates[int(rng.integers(len(candidates)))]
        trial_spec = space.spec(params)
        assert not unused_hyperparameter_error(trial_spec)
        for name, value in fixed.items():
            assert trial_spec[name] == Spec.from_hyperparameters(**fixed)[name], value
        resolve_auto(trial_spec, rows, 5)


def test_perturbed_values_change_what_can_change_while_a_network_learns_and_stay_in_their_ranges():
    space = make_space({"learning_rate": log_uniform(1e-3, 1e-1), "hidden_sizes": choice((8,), (16,))})
    params = {"learning_rate": 0.09, "hidden_sizes": (8,)}
    rng = np.random.default_rng(0)
    learning_rates = {perturb(space, params, rng)["learning_rate"] for _ in range(200)}
    assert {0.1, 0.09 * 0.8} <= learning_rates
    assert len(learning_rates) > 20  # drawn anew
    assert all(1e-3 <= value <= 1e-1 for value in learning_rates)
    assert all(perturb(space, params, rng)["hidden_sizes"] == (8,) for _ in range(20))
