"""What a search hands over: its best trial, an ensemble, the Pareto front, and why all trials failed if they did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss

from rosenblatt.data.dataset import Data
from rosenblatt.data.schema.columns import of_types
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, StoppedEarlyError
from rosenblatt.models.model import Model
from rosenblatt.models.prepared import Prepared
from rosenblatt.spec.dimensions import choice, log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.coordinator import Search
from rosenblatt.tuning.selection import outcome

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
FRAME = pl.DataFrame({name: X[:, k] for k, name in enumerate("abc")})
Y = (X[:, 0] * X[:, 1] + 0.3 * RNG.normal(size=120) > 0).astype(float)
TARGET = Target(names=("y",), task="binary", labels=("no", "yes"))
SCHEMA = of_types(FRAME)
SPACE = {"hidden_sizes": choice((2,), (8, 8)), "learning_rate": log_uniform(1e-3, 1e-1)}
FAST = {
    "epochs": 8, "folds": 3, "repeats": 1, "numbers": "standard", "trials": 8, "stopping": "none",
    "deterministic": True, "seed": 1,
}  # fmt: skip
DIVERGING = {"clip_norm": 0, "hidden_sizes": (16, 16), "activation": "relu", "optimizer": "sgd", "epochs": 30}


def searched(space=SPACE, **changed):
    prepared = Prepared(Data(FRAME, Y), lambda spec: TARGET.taught_by(spec, Y))
    search = Search(Spec.of(**FAST | changed).searching(space), prepared, None, 2)
    search.run()
    return search


def out_of_fold(search, trained):
    """Probabilities (n, 2) of rows by the network of a trial that did not train on them."""
    probabilities = np.full((len(Y), 2), np.nan)
    for fold, network in zip(search.folds, trained.networks, strict=True):
        alone = Model(search.spec, SCHEMA, (replace(trained, networks=(network,), weight=1.0),))
        probabilities[fold.spared] = alone.decoded(FRAME[fold.spared])
    return probabilities


def fold_losses(search, trained):
    probabilities = out_of_fold(search, trained)
    return [log_loss(Y[fold.spared], probabilities[fold.spared], labels=[0, 1]) for fold in search.folds]


@pytest.fixture(scope="module")
def search():
    """Eight finished trials of three folds."""
    return searched()


@pytest.fixture(scope="module")
def chosen(search):
    """The outcome of these."""
    return outcome(search, SCHEMA)


def test_the_best_trial_has_the_least_validation_loss_of_all(search, chosen):
    losses = {trial.number: np.mean(fold_losses(search, trial.network())) for trial in search.trials}
    assert chosen.best.trials[0].number == min(losses, key=losses.get)
    assert chosen.facts["best"]["score"] == pytest.approx(min(losses.values()), rel=1e-4)
    assert [trial["number"] for trial in chosen.facts["top"]] == sorted(losses, key=losses.get)[:5]


def test_the_ensemble_loses_no_more_out_of_fold_than_the_best_trial(search, chosen):
    weights = [trained.weight for trained in chosen.model.trials]
    assert len(weights) > 1
    assert sum(weights) == pytest.approx(1)
    assert weights == sorted(weights, reverse=True)
    mean = sum(trained.weight * out_of_fold(search, trained) for trained in chosen.model.trials)
    alone = out_of_fold(search, chosen.best.trials[0])
    assert log_loss(Y, mean) <= log_loss(Y, alone) + 1e-6
    shares = {one["trial"]: one["weight"] for one in chosen.facts["ensemble"]}
    assert shares == {trained.number: trained.weight for trained in chosen.model.trials}


def test_a_model_has_a_network_for_each_fold_of_each_trial(search, chosen):
    assert [len(trained.networks) for trained in chosen.model.trials] == [3] * len(chosen.model.trials)
    assert chosen.model.facts["members"] == len(chosen.model.networks)
    assert (chosen.model.facts["rows"], chosen.model.facts["interrupted"]) == (120, False)
    assert len(chosen.best.networks) == 3


def test_an_outcome_reports_all_trials_and_their_cost(search, chosen):
    facts = chosen.facts
    assert facts["trials"] == {"proposed": 8, "finished": 8, "stopped": 0, "failed": 0}
    batches = [-(-80 // trial.chosen["batch_size"]) for trial in search.trials]
    epochs = [sum(len(member.history) for member in trial.members) for trial in search.trials]
    assert facts["network_steps"] == sum(b * e for b, e in zip(batches, epochs, strict=True))
    assert [number for number, _ in facts["history"]] == list(range(8))
    assert min(score for _, score in facts["history"]) == facts["best"]["score"]
    assert (facts["folds"], facts["refused"], facts["front"]) == (3, 0, [])
    assert 0 <= facts["optimism"] < 1


def test_without_an_ensemble_the_model_is_the_best_trial():
    chosen = outcome(searched(ensemble=False), SCHEMA)
    assert [trained.number for trained in chosen.model.trials] == [chosen.best.trials[0].number]
    assert chosen.facts["ensemble"] == [{"trial": chosen.best.trials[0].number, "weight": 1.0}]


def test_the_smallest_trial_within_one_standard_error_is_chosen_on_request():
    close = {"hidden_sizes": choice((28, 28), (32, 32), (36, 36)), "dropout": uniform(0.0, 0.1)}
    search = searched(close, simplest=True, learning_rate=0.01)
    chosen = outcome(search, SCHEMA)
    rows = np.arange(len(Y))
    losses = {t.number: -np.log(out_of_fold(search, t.network())[rows, Y.astype(int)]) for t in search.trials}
    best = min(losses, key=lambda number: losses[number].mean())
    near = []
    for trial in search.trials:
        difference = losses[trial.number] - losses[best]
        if difference.mean() <= difference.std() / np.sqrt(len(Y)):
            near.append(trial)
    smallest = min(near, key=lambda trial: (trial.size, losses[trial.number].mean()))
    assert [trained.number for trained in chosen.model.trials] == [smallest.number]
    assert chosen.best.trials[0].number == smallest.number != best


def test_the_front_of_two_goals_are_the_trials_that_no_other_dominates():
    space = SPACE | {"hidden_sizes": choice((2,), (4,), (8, 8))}
    search = searched(space, goal="score_and_size", sampler="nsga2", seed=2)
    points = {trial.number: (-trial.score, trial.size) for trial in search.trials}
    front = {
        number
        for number, (loss, size) in points.items()
        if not any(other != (loss, size) and other[0] <= loss and other[1] <= size for other in points.values())
    }
    found = outcome(search, SCHEMA).facts["front"]
    assert {trial["number"] for trial in found} == front
    assert 1 < len(front) < 8
    assert [trial["score"] for trial in found] == sorted(points[number][0] for number in front)


def test_a_search_that_was_stopped_before_an_epoch_has_nothing_to_choose_from():
    prepared = Prepared(Data(FRAME, Y), lambda spec: TARGET.taught_by(spec, Y))
    search = Search(Spec.of(**FAST).searching(SPACE), prepared)
    search.interrupted = True
    with pytest.raises(StoppedEarlyError, match="before the first epoch"):
        outcome(search, SCHEMA)


def test_the_hyperparameter_that_made_all_trials_diverge_is_named():
    space = {"learning_rate": log_uniform(900.0, 1000.0), "dropout": uniform(0.0, 0.1)}
    search = searched(space, **DIVERGING | {"trials": 2})
    with pytest.raises(DivergedError, match=r"^All 2 trials ended in numbers that are not finite") as error:
        outcome(search, SCHEMA)
    assert "'learning_rate'" in str(error.value)
    assert f"learning_rate {search.trials[0].values['learning_rate']}" in str(error.value)
    assert "dropout" not in str(error.value)


def test_where_no_single_hyperparameter_made_all_trials_diverge_all_are_listed():
    search = searched({"dropout": uniform(0.0, 0.1)}, **DIVERGING | {"trials": 2, "learning_rate": 1000.0})
    with pytest.raises(DivergedError, match="Not one hyperparameter alone") as error:
        outcome(search, SCHEMA)
    assert f"dropout {search.trials[0].values['dropout']}" in str(error.value)


def test_trials_that_could_not_begin_are_reported_with_the_reason():
    search = searched({"dropout": uniform(0.0, 0.1)}, trials=2, hidden_sizes=(4,), layer_rates="1,2,3")
    with pytest.raises(DivergedError, match=r"^All 2 trials failed: layer_rates holds 3 factors"):
        outcome(search, SCHEMA)
