"""Refit of the best trials on all rows, after a search that held out rows."""

import time

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.columns import to_media_column
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.dimensions import log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.plan import should_refit
from rosenblatt.tuning.refit import allocate_networks, refit
from rosenblatt.tuning.selection import select_model
from rosenblatt.tuning.time_budget import MAX_REFIT_NETWORKS, SAFETY_FACTOR, TimeBudget
from rosenblatt.tuning.work_queue import WorkItem

RNG = np.random.default_rng(0)
WORDS = ["".join(RNG.choice(list("abc"), 4)) for _ in range(90)]
FRAME = pl.DataFrame([to_media_column(pl.Series("text", WORDS), "text")])
Y = np.array([word.count("a") > 1 for word in WORDS], float)
TARGET = Target(names=("y",), task="binary", labels=("few", "many"))


def target_with_loss(spec):
    return TARGET.with_loss(spec, Y)


SCHEMA = Schema(columns=(Column(name="text", kind="text", include=True),))
FAST = {"kind": "rnn", "recurrent_width": 4, "epochs": 4, "folds": 3, "trials": 4, "deterministic": True}


def make_prepared(validation=None):
    return PreparedData(Dataset(FRAME, Y), target_with_loss, validation)


def run_search(deadline=None, **overrides):
    spec = Spec.from_hyperparameters(**{**FAST, "validate_on": "holdout", **overrides})
    spec = spec.with_search_space(
        {"learning_rate": log_uniform(1e-3, 0.1)}
        if "learning_rate" not in overrides
        else {"dropout": uniform(0.0, 0.1)}
    )
    search = SearchCoordinator(spec, make_prepared())
    search.run(deadline)
    return search, select_model(search, SCHEMA)


@pytest.mark.torch
def test_the_best_trials_are_refitted_on_all_rows():
    search, result = run_search()
    updates = []
    refitted = refit(search, result, updates.append)
    networks = refitted.model.networks
    assert len(networks) == search.prepared.resolve(search.plan.space.base)["members"]
    assert {trial.number for trial in refitted.model.trials} <= {trial.number for trial in result.model.trials}
    assert sum(trial.weight for trial in refitted.model.trials) == pytest.approx(1)
    assert all(network.best_epoch == 4 and not network.scores for network in networks)
    assert refitted.metadata.refit.rows == 90
    assert refitted.model.metadata.members == len(networks)
    assert updates[-1].refit_progress == (len(networks), len(networks))
    assert refitted.best is result.best


@pytest.mark.torch
def test_equal_seeds_give_equal_refitted_networks():
    first_networks, second_networks = (refit(*run_search(trials=2)).model.networks for _ in range(2))
    for first_network, second_network in zip(first_networks, second_networks, strict=True):
        np.testing.assert_array_equal(first_network.theta, second_network.theta)


@pytest.mark.torch
def test_a_refitted_network_equals_a_fit_with_its_hyperparameters():
    search, result = run_search(trials=1, ensemble=False)
    (first_network, *_), resolved_spec = (
        refit(search, result).model.networks,
        search.history.trials[0].proposal.resolved_spec,
    )
    rows = search.prepared.rows(resolved_spec)
    trial = search.history.trials[0]
    trial.folds.members, trial.rows = [None], rows
    WorkItem(trial, 0, Fold(np.arange(90), np.arange(0)), 4, None, is_last_rung=False)(np.zeros(1, np.uint8))
    np.testing.assert_array_equal(trial.folds.members[0].best, first_network.theta)


@pytest.mark.torch
@pytest.mark.parametrize("options", [{"patience": 2}, {"schedule": "constant"}])
def test_trials_without_a_fixed_end_are_refitted_for_their_best_number_of_epochs(options):
    search, result = run_search(trials=1, epochs=30, learning_rate=0.3, **options)
    best = search.history.trials[0].folds.members[0].best_epoch
    assert best < 30
    assert {network.best_epoch for network in refit(search, result).model.networks} == {best}


@pytest.mark.torch
def test_ctrl_c_during_the_refit_keeps_the_result_of_the_search(monkeypatch):
    search, result = run_search()

    def interrupt(_):
        raise KeyboardInterrupt

    refitted = refit(search, result, interrupt)
    assert refitted.model.metadata.interrupted
    assert [network.best_epoch for network in refitted.model.networks]
    assert refitted.model.predict_raw(FRAME).shape == result.model.predict_raw(FRAME).shape


@pytest.mark.torch
def test_without_time_the_model_is_not_refitted():
    search, result = run_search()
    search.time_budget.deadline = time.monotonic() - 1
    refitted = refit(search, result)
    assert refitted.model.trials == result.model.trials
    assert refitted.metadata.refit is None


@pytest.mark.torch
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"validate_on": "holdout"}, True),
        ({"validate_on": "holdout", "refit": False}, False),
        ({"validate_on": "folds"}, False),
    ],
)
def test_searches_that_hold_out_rows_refit(overrides, expected):
    spec = Spec.from_hyperparameters(**FAST, **overrides)
    assert SearchCoordinator(spec, make_prepared()).plan.refits is expected


def test_a_refit_without_held_out_rows_is_rejected():
    spec = Spec.from_hyperparameters(**FAST, refit=True)
    with pytest.raises(SpecError, match="Remove it, or set validate_on to holdout"):
        SearchCoordinator(spec, make_prepared())
    assert not should_refit(
        Spec.from_hyperparameters(**FAST),
        [Fold(np.arange(9), np.arange(9, 12))],
        make_prepared(Dataset(FRAME[:3], Y[:3])),
    )


def test_trials_of_larger_weight_get_more_networks():
    assert allocate_networks([0.5, 0.3, 0.2], 4) == [2, 1, 1]
    assert allocate_networks([0.5, 0.3, 0.2], 1) == [1, 0, 0]
    assert allocate_networks([1.0], 8) == [8]
    assert allocate_networks([0.6, 0.4], 0) == [0, 0]


@pytest.mark.torch
def test_at_most_half_of_the_time_is_reserved_for_the_refit():
    search, _ = run_search(trials=2)
    trial = search.history.trials[0]
    trial.statistics.seconds = 60.0
    network_time = trial.estimate_seconds(90, 4)
    trials, folds = [trial], search.plan.folds

    def reserved_time(seconds, threads=2):
        now = time.monotonic()
        return seconds - TimeBudget(now + seconds, threads, trials, folds, refit_rows=90).remaining

    assert reserved_time(1000 * network_time) == pytest.approx(
        SAFETY_FACTOR * network_time * MAX_REFIT_NETWORKS / 2, rel=0.01
    )
    assert reserved_time(6 * network_time) == pytest.approx(3 * network_time, rel=0.01)
    assert reserved_time(1.5 * network_time) == pytest.approx(0, abs=0.1)  # not enough for one network
    assert TimeBudget(None, 2, trials, folds, refit_rows=90).remaining is None


@pytest.mark.torch
def test_a_trial_that_cannot_finish_in_time_is_not_started():
    search, _ = run_search(trials=2)
    trial = search.history.trials[0]
    trial.statistics.seconds, trial.statistics.epochs = 60.0, 2
    now, training_time = time.monotonic(), trial.estimate_seconds(60, 4)
    assert TimeBudget(now + 2 * training_time, 2, [trial], search.plan.folds).allows_new_trial()
    assert not TimeBudget(now + training_time / 2, 2, [trial], search.plan.folds).allows_new_trial()
    assert TimeBudget(now + training_time / 4, 2, [trial], search.plan.folds).cannot_finish(trial)
    assert not TimeBudget(now + training_time, 2, [trial], search.plan.folds).cannot_finish(trial)


def test_as_many_networks_are_refitted_as_the_time_allows():
    time_budget = TimeBudget(time.monotonic() + 100, 2, [], [])
    assert time_budget.max_refit_networks(lambda n: [40.0] * n) == 4
    assert time_budget.max_refit_networks(lambda n: [80.0] + [20.0] * (n - 1)) == 5
    assert time_budget.max_refit_networks(lambda n: [1000.0] * n) == 0
    assert TimeBudget(None, 2, [], []).max_refit_networks(lambda n: [1000.0] * n) == MAX_REFIT_NETWORKS


@pytest.mark.torch
def test_ctrl_c_while_the_workers_of_a_refit_start_keeps_the_result_of_the_search(monkeypatch):
    search, result = run_search()

    def start_workers():
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "start_workers", start_workers)
    refitted = refit(search, result)
    assert refitted.model.metadata.interrupted
    assert refitted.model.networks == result.model.networks
