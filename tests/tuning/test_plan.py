"""Plan of a search: its folds, rungs and limits."""

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.dimensions import choice, log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.plan import make_folds, make_plan, make_rungs, max_trials, memory_limit

RNG = np.random.default_rng(0)
FRAME = pl.DataFrame({name: RNG.normal(size=150) for name in "abc"})
Y = (RNG.random(150) < 0.4).astype(float)
TARGET = Target(names=("y",), task="binary", labels=("no", "yes"))
SPACE = {"learning_rate": log_uniform(1e-4, 1e-1), "dropout": uniform(0.0, 0.5)}
BASE = {"epochs": 9, "folds": 3, "repeats": 1, "trials": 4}


def make_prepared(frame=FRAME, y=Y, **options):
    return PreparedData(Dataset(frame, y, **options), lambda spec: TARGET.with_loss(spec, y))


def plan(space=SPACE, **overrides):
    return make_plan(Spec.from_hyperparameters(**BASE | overrides).with_search_space(space), make_prepared())


def test_without_a_space_the_default_space_is_searched_from_the_default_hyperparameters():
    default = plan({})
    assert default.uses_default_space
    assert "learning_rate" in default.spec.space
    assert default.first_params == default.default_params


def test_the_first_trial_has_the_default_hyperparameters_only_if_the_space_contains_them():
    assert plan({"dropout": uniform(0.0, 0.9)}).first_params is not None
    assert plan({"learning_rate": log_uniform(1e-9, 1e-8)}).first_params is None


def test_rungs_multiply_the_epochs_by_the_reduction_factor():
    rungs = plan(min_epochs=1).rungs
    assert [rung.epochs(Spec.from_hyperparameters(epochs=9)) for rung in rungs] == [1, 3, 9]
    assert [rung.epochs(Spec.from_hyperparameters(epochs=90)) for rung in rungs] == [10, 30, 90]
    assert [rung.fraction for rung in plan(stopping="none").rungs] == [1.0]


def test_rungs_compare_on_as_many_folds_as_hold_enough_rows(monkeypatch):
    monkeypatch.setattr("rosenblatt.tuning.plan.MIN_COMPARISON_ROWS", 80)
    spec, folds = Spec.from_hyperparameters(**BASE), plan().folds
    assert [rung.folds for rung in make_rungs(spec, folds, 9)] == [2, 2, 2, 3]


def test_small_data_repeats_its_folds_and_large_data_holds_out_one(monkeypatch):
    spec = Spec.from_hyperparameters(trials=2)
    assert len(make_folds(spec, make_prepared())) == 16
    monkeypatch.setattr("rosenblatt.tuning.plan.REPEAT_MAX_ROWS", 100)
    assert len(make_folds(spec, make_prepared())) == 8
    monkeypatch.setattr("rosenblatt.tuning.plan.HOLDOUT_MIN_ROWS", 100)
    assert len(make_folds(spec, make_prepared())) == 1


def test_recurrent_networks_are_compared_on_one_fold():
    prepared = make_prepared(pl.DataFrame({"text": ["a"] * 2_000}), np.arange(2_000) % 2)
    assert len(make_folds(Spec.from_hyperparameters(kind="rnn", trials=2), prepared)) == 1
    assert len(make_folds(Spec.from_hyperparameters(kind="rnn", trials=2, validate_on="folds"), prepared)) == 8


def test_there_are_at_most_as_many_folds_as_groups_or_time_steps():
    spec = Spec.from_hyperparameters(trials=1, repeats=1)
    assert len(make_folds(spec, make_prepared(groups=np.arange(150) % 4))) == 4
    assert len(make_folds(spec, make_prepared(order=np.arange(150) % 4))) == 3


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, 100),
        ({"trials": 7, "minutes": 1.0}, 7),
        ({"minutes": 1.0}, None),
        ({"stopping": "pbt", "minutes": 1.0}, 16),
        ({"stopping": "pbt", "trials": 5}, 5),
    ],
)
def test_the_number_of_trials(overrides, expected):
    assert max_trials(Spec.from_hyperparameters(**overrides).search) == expected


def test_the_memory_limit_is_given_in_gib_or_half_of_the_free_memory():
    assert memory_limit(Spec.from_hyperparameters(trials=1, memory_gib=0.5).search) == 2**29
    assert memory_limit(Spec.from_hyperparameters(trials=1).search) > 2**20


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"folds": 151}, "folds is 151, but the rarest class has only"),
        ({"folds": 1}, "folds must be at least 2, but it is 1"),
        ({"members": 4}, "members has no effect in a search"),
        ({"space": {"loss": choice("cross_entropy", "focal")}}, "different losses, which cannot be compared"),
    ],
)
def test_settings_that_contradict_each_other_are_rejected(overrides, message):
    with pytest.raises(SpecError, match=message):
        plan(**{"space": SPACE} | overrides)
