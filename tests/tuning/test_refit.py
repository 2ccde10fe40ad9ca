"""Searches that hold out rows train their best trials again, on all of them."""

import time

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Data
from rosenblatt.data.media.columns import as_medium
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError
from rosenblatt.models.prepared import Prepared
from rosenblatt.spec.dimensions import log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.coordinator import Search
from rosenblatt.tuning.planning import refits
from rosenblatt.tuning.refit import refit, shares
from rosenblatt.tuning.selection import outcome
from rosenblatt.tuning.time_budget import MARGIN, MOST, Clock

RNG = np.random.default_rng(0)
WORDS = ["".join(RNG.choice(list("abc"), 4)) for _ in range(90)]
FRAME = pl.DataFrame([as_medium(pl.Series("text", WORDS), "text")])
Y = np.array([word.count("a") > 1 for word in WORDS], float)
TARGET = Target(names=("y",), task="binary", labels=("few", "many"))


def taught(spec):
    return TARGET.taught_by(spec, Y)


SCHEMA = Schema(columns=(Column(name="text", kind="text", asked=True),))
FAST = {"kind": "rnn", "recurrent_width": 4, "epochs": 4, "folds": 3, "trials": 4, "deterministic": True}


def prepared(validation=None):
    return Prepared(Data(FRAME, Y), taught, validation)


def searched(deadline=None, **changed):
    spec = Spec.of(**{**FAST, "validate_on": "holdout", **changed})
    spec = spec.searching(
        {"learning_rate": log_uniform(1e-3, 0.1)} if "learning_rate" not in changed else {"dropout": uniform(0.0, 0.1)}
    )
    search = Search(spec, prepared())
    search.run(deadline)
    return search, outcome(search, SCHEMA)


@pytest.mark.torch
def test_the_best_trials_learn_again_from_all_rows():
    search, found = searched()
    seen = []
    again = refit(search, found, seen.append)
    networks = again.model.networks
    assert len(networks) == search.prepared.resolved(search.space.base)["members"]
    assert {trial.number for trial in again.model.trials} <= {trial.number for trial in found.model.trials}
    assert sum(trial.weight for trial in again.model.trials) == pytest.approx(1)
    assert all(network.best_epoch == 4 and not network.scores for network in networks)
    assert again.facts["refit"]["rows"] == 90
    assert again.model.facts["members"] == len(networks)
    assert seen[-1].again == (len(networks), len(networks))
    assert again.best is found.best


@pytest.mark.torch
def test_equal_seeds_give_equal_networks_again():
    ours, theirs = (refit(*searched(trials=2)).model.networks for _ in range(2))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.theta, other.theta)


@pytest.mark.torch
def test_a_network_of_all_rows_is_that_of_a_fit_with_its_hyperparameters():
    search, found = searched(trials=1, ensemble=False)
    (first, *_), chosen = refit(search, found).model.networks, search.trials[0].chosen
    rows = search.prepared.rows(chosen)
    trial = search.trials[0]
    trial.members, trial.rows = [None], rows
    trial.work(0, Fold(np.arange(90), np.arange(0)), 4, None, np.zeros(1, np.uint8), last=False)
    np.testing.assert_array_equal(trial.members[0].best, first.theta)


@pytest.mark.torch
@pytest.mark.parametrize("how", [{"patience": 2}, {"schedule": "constant"}])
def test_where_learning_has_no_end_of_its_own_the_best_epochs_are_learnt(how):
    search, found = searched(trials=1, epochs=30, learning_rate=0.3, **how)
    best = search.trials[0].members[0].best_epoch
    assert best < 30
    assert {network.best_epoch for network in refit(search, found).model.networks} == {best}


@pytest.mark.torch
def test_ctrl_c_leaves_what_the_search_found(monkeypatch):
    search, found = searched()

    def stopped(_):
        raise KeyboardInterrupt

    again = refit(search, found, stopped)
    assert again.model.facts["interrupted"]
    assert [network.best_epoch for network in again.model.networks]
    assert again.model.decoded(FRAME).shape == found.model.decoded(FRAME).shape


@pytest.mark.torch
def test_without_time_the_model_stays_as_it_is():
    search, found = searched()
    search.clock.deadline = time.monotonic() - 1
    again = refit(search, found)
    assert again.model.trials == found.model.trials
    assert "refit" not in again.facts


@pytest.mark.torch
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"validate_on": "holdout"}, True),
        ({"validate_on": "holdout", "refit": False}, False),
        ({"validate_on": "folds"}, False),
    ],
)
def test_searches_that_hold_out_rows_refit(changed, expected):
    spec = Spec.of(**FAST, **changed)
    assert Search(spec, prepared()).refits is expected


def test_where_no_rows_are_held_out_there_is_nothing_to_learn_again_from():
    spec = Spec.of(**FAST, refit=True)
    with pytest.raises(SpecError, match="Leave it out, or use validate_on holdout"):
        Search(spec, prepared())
    assert not refits(Spec.of(**FAST), [Fold(np.arange(9), np.arange(9, 12))], prepared(Data(FRAME[:3], Y[:3])))


def test_heavier_trials_get_more_networks():
    assert shares([0.5, 0.3, 0.2], 4) == [2, 1, 1]
    assert shares([0.5, 0.3, 0.2], 1) == [1, 0, 0]
    assert shares([1.0], 8) == [8]
    assert shares([0.6, 0.4], 0) == [0, 0]


@pytest.mark.torch
def test_time_is_kept_for_as_many_networks_as_are_worth_it_and_half_of_it_at_most():
    search, _ = searched(trials=2)
    trial = search.trials[0]
    trial.seconds = 60.0
    one = trial.cost(90, 4)
    trials, folds = [trial], search.folds

    def kept(seconds, threads=2):
        now = time.monotonic()
        return seconds - Clock(now + seconds, threads, trials, folds, again=90).left

    assert kept(1000 * one) == pytest.approx(MARGIN * one * MOST / 2, rel=0.01)
    assert kept(6 * one) == pytest.approx(3 * one, rel=0.01)
    assert kept(1.5 * one) == pytest.approx(0, abs=0.1)  # not enough for one network
    assert Clock(None, 2, trials, folds, again=90).left is None


@pytest.mark.torch
def test_a_trial_that_cannot_end_in_time_is_not_begun():
    search, _ = searched(trials=2)
    trial = search.trials[0]
    trial.seconds, trial.epochs = 60.0, 2
    now, whole = time.monotonic(), trial.cost(60, 4)
    assert Clock(now + 2 * whole, 2, [trial], search.folds).is_enough()
    assert not Clock(now + whole / 2, 2, [trial], search.folds).is_enough()
    assert Clock(now + whole / 4, 2, [trial], search.folds).is_too_late(trial)
    assert not Clock(now + whole, 2, [trial], search.folds).is_too_late(trial)


def test_as_many_networks_are_trained_as_there_is_time_for():
    clock = Clock(time.monotonic() + 100, 2, [], [])
    assert clock.many(lambda many: [40.0] * many) == 4
    assert clock.many(lambda many: [80.0] + [20.0] * (many - 1)) == 5
    assert clock.many(lambda many: [1000.0] * many) == 0
    assert Clock(None, 2, [], []).many(lambda many: [1000.0] * many) == MOST
