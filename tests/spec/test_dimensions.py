"""Search spaces in Python and in TOML."""

import pytest

from rosenblatt.errors import SpecError
from rosenblatt.spec.dimensions import Integer, choice, integer, log_uniform, parse_dimension, uniform
from rosenblatt.spec.spec import Spec


def test_toml_and_python_give_equal_spaces(tmp_path):
    path = tmp_path / "search.toml"
    path.write_text(
        """
        [training]
        epochs = 7
        [space]
        hidden_sizes = { choice = [[64], [128, 64]] }
        learning_rate = { log_uniform = [1e-4, 1e-1] }
        dropout = { uniform = [0, 0.5] }
        batch_size = { integer = [8, 64], log = true }
        beta1 = { uniform = [0.8, 0.99], when = { optimizer = ["momentum"] } }
        optimizer = { choice = ["adam", "momentum"] }
        label_smoothing = 0.1
        """
    )
    spec = Spec.from_toml(path)
    assert spec.space == {
        "hidden_sizes": choice((64,), (128, 64)),
        "learning_rate": log_uniform(1e-4, 1e-1),
        "dropout": uniform(0, 0.5),
        "batch_size": integer(8, 64, log=True),
        "beta1": uniform(0.8, 0.99, when={"optimizer": ["momentum"]}),
        "optimizer": choice("adam", "momentum"),
    }
    assert (spec.training.epochs, spec.training.label_smoothing, spec.has_search) == (7, 0.1, True)


def test_a_spec_with_a_space_round_trips_through_toml_and_json(tmp_path):
    spec = Spec.from_hyperparameters(trials=5).with_search_space(
        {"hidden_sizes": choice((8,), (8, 8)), "dropout": uniform(0, 0.5)}
    )
    path = tmp_path / "spec.toml"
    path.write_text(spec.to_toml())
    assert Spec.from_toml(path) == spec
    assert Spec.from_dict(spec.model_dump(mode="json")) == spec
    assert spec.without_search() == Spec()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (choice, "at least one value"),
        (lambda: choice(1, 2, 1), "twice"),
        (lambda: uniform(1, 0), "1 is above 0. Swap them"),
        (lambda: log_uniform(0, 1), "above 0, but its range starts at 0"),
        (lambda: integer(1.5, 3), "whole numbers, but got 1.5"),
        (lambda: integer(0, 8, log=True), "bounds of at least 1"),
        (lambda: uniform("a", 1), "finite numbers, but one is 'a'"),
        (lambda: uniform(0, float("inf")), "finite numbers, but one is inf"),
        (lambda: choice(1, when=["adam"]), "when must map hyperparameters"),
    ],
)
def test_empty_ranges_and_invalid_bounds_are_rejected(make, message):
    with pytest.raises(SpecError, match=message):
        make()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learning_rat": uniform(0, 1)}, "no hyperparameter 'learning_rat' to search. Did you mean 'learning_rate'"),
        ({"trials": integer(1, 5)}, "no hyperparameter 'trials' to search"),
        ({"dropout": {"unifrom": [0, 1]}}, "Did you mean 'uniform'"),
        ({"dropout": {"uniform": [0]}}, "a low and a high bound"),
        ({"dropout": {"uniform": [0.5, 0.1]}}, r"dropout in \[space\]: uniform needs a low and a high bound"),
        ({"hidden_sizes": choice((8,)), "hidden_width": choice(8)}, "either hidden_sizes or hidden_layers"),
        ({"hidden_layers": 3}, "hidden_layers must be"),
    ],
)
def test_impossible_spaces_are_rejected_by_name(space, message):
    with pytest.raises(SpecError, match=message):
        Spec().with_search_space(space)


def test_fixed_values_are_not_dimensions():
    assert parse_dimension("dropout", 0.3) is None
    assert parse_dimension("batch_size", {"integer": [1, 9]}) == Integer(low=1, high=9)
    assert Spec().with_search_space({"dropout": 0.3}).space == {}
