"""Search spaces: dimensions, their conditions, and the spec of proposed values."""

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
    """beta2 has no effect with momentum, which the user need not state."""
    space = make_space({"beta2": uniform(0.9, 0.999), "optimizer": choice("adam", "momentum")})
    assert list(space.dimensions) == ["optimizer", "beta2"]
    assert space.is_active("beta2", {"optimizer": "adam"})
    assert not space.is_active("beta2", {"optimizer": "momentum"})


def test_a_dimension_is_inactive_if_one_in_its_conditions_is():
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


def test_fixed_hyperparameters_are_reset_where_a_proposal_makes_them_unused():
    space = make_space({"optimizer": choice("adam", "momentum")}, beta2=0.95)
    assert space.spec({"optimizer": "adam"}).training.beta2 == 0.95
    spec = space.spec({"optimizer": "momentum"})
    assert spec.training.beta2 == 0.999
    assert not unused_hyperparameter_error(spec)


def test_a_space_contains_values_in_its_ranges():
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
            "depend on each other",
        ),
        ({"dropout": uniform(0, 1.5)}, "dropout must be"),
        ({"hidden_width": choice(0)}, "hidden_sizes must be"),
        ({"activation": choice("relu", "rulu")}, "Did you mean 'relu'"),
    ],
)
def test_impossible_conditions_and_values_out_of_range_are_rejected(dimensions, message):
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
def test_default_spaces_are_valid_and_do_not_search_fixed_hyperparameters(fixed, task, rows):
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


def test_the_default_space_of_a_wide_table_has_no_bins():
    space = default_space(Spec(), "binary", 1000, is_wide=True)
    assert "bins" not in space
    assert space["numeric_encoding"].values == ("robust", "quantile")


def test_perturbation_changes_only_hyperparameters_mutable_during_training_within_their_ranges():
    space = make_space({"learning_rate": log_uniform(1e-3, 1e-1), "hidden_sizes": choice((8,), (16,))})
    params = {"learning_rate": 0.09, "hidden_sizes": (8,)}
    rng = np.random.default_rng(0)
    learning_rates = {perturb(space, params, rng)["learning_rate"] for _ in range(200)}
    assert {0.1, 0.09 * 0.8} <= learning_rates
    assert len(learning_rates) > 20  # resampled
    assert all(1e-3 <= value <= 1e-1 for value in learning_rates)
    assert all(perturb(space, params, rng)["hidden_sizes"] == (8,) for _ in range(20))
