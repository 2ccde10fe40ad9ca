"""Result of a search: its best trial, an ensemble, the Pareto front, and the error if all trials failed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, TrainingInterruptedError
from rosenblatt.models.metadata import EnsembleMember, TrialCounts
from rosenblatt.models.model import Model
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.dimensions import choice, log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.selection import select_model

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
FRAME = pl.DataFrame({name: X[:, k] for k, name in enumerate("abc")})
Y = (X[:, 0] * X[:, 1] + 0.3 * RNG.normal(size=120) > 0).astype(float)
TARGET = Target(names=("y",), task="binary", labels=("no", "yes"))
SCHEMA = schema_from_dtypes(FRAME)
SPACE = {"hidden_sizes": choice((2,), (8, 8)), "learning_rate": log_uniform(1e-3, 1e-1)}
FAST = {
    "epochs": 8, "folds": 3, "repeats": 1, "numeric_encoding": "standard", "trials": 8, "stopping": "none",
    "deterministic": True, "seed": 1,
}  # fmt: skip
DIVERGING = {"clip_norm": 0, "hidden_sizes": (16, 16), "activation": "relu", "optimizer": "sgd", "epochs": 30}


def run_search(space=SPACE, **overrides):
    prepared = PreparedData(Dataset(FRAME, Y), lambda spec: TARGET.with_loss(spec, Y))
    search = SearchCoordinator(
        Spec.from_hyperparameters(**FAST | overrides).with_search_space(space), prepared, None, 2
    )
    search.run()
    return search


def out_of_fold_probabilities(search, trained_trial):
    """Probabilities (n, 2) of rows by the network of a trial that did not train on them."""
    probabilities = np.full((len(Y), 2), np.nan)
    for fold, network in zip(search.plan.folds, trained_trial.networks, strict=True):
        single_network = Model(search.plan.spec, SCHEMA, (replace(trained_trial, networks=(network,), weight=1.0),))
        probabilities[fold.validation] = single_network.predict_raw(FRAME[fold.validation])
    return probabilities


def fold_losses(search, trained_trial):
    probabilities = out_of_fold_probabilities(search, trained_trial)
    return [log_loss(Y[fold.validation], probabilities[fold.validation], labels=[0, 1]) for fold in search.plan.folds]


@pytest.fixture(scope="module")
def search():
    """Eight finished trials of three folds."""
    return run_search()


@pytest.fixture(scope="module")
def result(search):
    """The result of this search."""
    return select_model(search, SCHEMA)


def test_the_best_trial_has_the_least_validation_loss_of_all(search, result):
    losses = {trial.number: np.mean(fold_losses(search, trial.to_trained_trial())) for trial in search.history.trials}
    assert result.best.trials[0].number == min(losses, key=losses.get)
    assert result.metadata.best.score == pytest.approx(min(losses.values()), rel=1e-4)
    assert [trial.number for trial in result.metadata.top] == sorted(losses, key=losses.get)[:5]


def test_the_ensemble_loses_no_more_out_of_fold_than_the_best_trial(search, result):
    weights = [trained_trial.weight for trained_trial in result.model.trials]
    assert len(weights) > 1
    assert sum(weights) == pytest.approx(1)
    assert weights == sorted(weights, reverse=True)
    mean = sum(
        trained_trial.weight * out_of_fold_probabilities(search, trained_trial) for trained_trial in result.model.trials
    )
    best_trial = out_of_fold_probabilities(search, result.best.trials[0])
    assert log_loss(Y, mean) <= log_loss(Y, best_trial) + 1e-6
    weights_by_trial = {entry.trial: entry.weight for entry in result.metadata.ensemble}
    assert weights_by_trial == {trained_trial.number: trained_trial.weight for trained_trial in result.model.trials}


def test_the_ensemble_of_the_default_space_has_the_default_trial_unless_it_is_clearly_better():
    search = run_search({}, trials=4, epochs=3)  # three epochs of noisy rows prove nothing
    ensemble = select_model(search, SCHEMA).metadata.ensemble
    default = search.history.trials[0]
    assert search.plan.uses_default_space
    assert default.proposal.params == search.plan.first_params
    assert default.number in [member.trial for member in ensemble]
    assert sum(member.weight for member in ensemble) == pytest.approx(1)


def test_of_trials_with_equal_scores_the_one_with_the_smallest_loss_is_chosen():
    prepared = PreparedData(Dataset(FRAME, Y), lambda spec: TARGET.with_loss(spec, Y))
    spec = Spec.from_hyperparameters(**FAST | {"scoring": "accuracy"}).with_search_space(SPACE)
    search = SearchCoordinator(spec, prepared, lambda *_: lambda outputs, rows: 0.5, 2)  # every score is 0.5
    search.run()
    best = select_model(search, SCHEMA).best.trials[0]
    losses = {trial.number: np.mean(fold_losses(search, trial.to_trained_trial())) for trial in search.history.trials}
    assert losses[best.number] == min(losses.values())
    assert best.number != 0


def test_a_model_has_a_network_for_each_fold_of_each_trial(search, result):
    assert [len(trained_trial.networks) for trained_trial in result.model.trials] == [3] * len(result.model.trials)
    assert result.model.metadata.members == len(result.model.networks)
    assert (result.model.metadata.rows, result.model.metadata.interrupted) == (120, False)
    assert len(result.best.networks) == 3


def test_the_metadata_has_all_trials_and_their_cost(search, result):
    metadata = result.metadata
    assert metadata.trials == TrialCounts(proposed=8, finished=8, stopped=0, failed=0)
    batches = [-(-80 // trial.proposal.resolved_spec["batch_size"]) for trial in search.history.trials]
    epochs = [sum(len(member.history) for member in trial.folds.members) for trial in search.history.trials]
    assert metadata.network_steps == sum(b * e for b, e in zip(batches, epochs, strict=True))
    assert [number for number, _ in metadata.history] == list(range(8))
    assert min(score for _, score in metadata.history) == metadata.best.score
    assert (metadata.folds, metadata.refused, metadata.front) == (3, 0, ())
    assert 0 <= metadata.optimism < 1


def test_without_an_ensemble_the_model_is_the_best_trial():
    result = select_model(run_search(ensemble=False), SCHEMA)
    assert [trained_trial.number for trained_trial in result.model.trials] == [result.best.trials[0].number]
    assert result.metadata.ensemble == (EnsembleMember(trial=result.best.trials[0].number, weight=1.0),)


def test_the_smallest_trial_within_one_standard_error_is_chosen_on_request():
    space = {"hidden_sizes": choice((28, 28), (32, 32), (36, 36)), "dropout": uniform(0.0, 0.1)}
    search = run_search(space, one_standard_error=True, learning_rate=0.01)
    result = select_model(search, SCHEMA)
    rows = np.arange(len(Y))
    losses = {
        t.number: -np.log(out_of_fold_probabilities(search, t.to_trained_trial())[rows, Y.astype(int)])
        for t in search.history.trials
    }
    best = min(losses, key=lambda number: losses[number].mean())
    candidates = []
    for trial in search.history.trials:
        difference = losses[trial.number] - losses[best]
        if difference.mean() <= difference.std() / np.sqrt(len(Y)):
            candidates.append(trial)
    smallest = min(candidates, key=lambda trial: (trial.statistics.n_parameters, losses[trial.number].mean()))
    assert [trained_trial.number for trained_trial in result.model.trials] == [smallest.number]
    assert result.best.trials[0].number == smallest.number != best


def test_the_pareto_front_holds_the_trials_that_no_other_dominates():
    space = SPACE | {"hidden_sizes": choice((2,), (4,), (8, 8))}
    search = run_search(space, goal="score_and_size", sampler="nsga2", seed=2)
    points = {trial.number: (trial.score, trial.statistics.n_parameters) for trial in search.history.trials}
    front = {
        number
        for number, (loss, size) in points.items()
        if not any(other != (loss, size) and other[0] <= loss and other[1] <= size for other in points.values())
    }
    pareto_front = select_model(search, SCHEMA).metadata.front
    assert {trial.number for trial in pareto_front} == front
    assert 1 < len(front) < 8
    assert [trial.score for trial in pareto_front] == sorted(points[number][0] for number in front)


def test_a_search_that_was_interrupted_before_an_epoch_has_no_model():
    prepared = PreparedData(Dataset(FRAME, Y), lambda spec: TARGET.with_loss(spec, Y))
    search = SearchCoordinator(Spec.from_hyperparameters(**FAST).with_search_space(SPACE), prepared)
    search.interrupted = True
    with pytest.raises(TrainingInterruptedError, match="before the end of its first epoch"):
        select_model(search, SCHEMA)


def test_the_hyperparameter_that_made_all_trials_diverge_is_named():
    space = {"learning_rate": log_uniform(900.0, 1000.0), "dropout": uniform(0.0, 0.1)}
    search = run_search(space, **DIVERGING | {"trials": 2})
    with pytest.raises(DivergedError, match=r"^All 2 trials ended in numbers that are not finite") as error:
        select_model(search, SCHEMA)
    assert "'learning_rate'" in str(error.value)
    assert f"learning_rate {search.history.trials[0].proposal.params['learning_rate']}" in str(error.value)
    assert "dropout" not in str(error.value)


def test_without_a_single_cause_of_divergence_all_hyperparameters_are_listed():
    search = run_search({"dropout": uniform(0.0, 0.1)}, **DIVERGING | {"trials": 2, "learning_rate": 1000.0})
    with pytest.raises(DivergedError, match="No single hyperparameter is the cause") as error:
        select_model(search, SCHEMA)
    assert f"dropout {search.history.trials[0].proposal.params['dropout']}" in str(error.value)


def test_trials_that_could_not_start_are_reported_with_the_reason():
    search = run_search({"dropout": uniform(0.0, 0.1)}, trials=2, hidden_sizes=(4,), layer_lr_multipliers="1,2,3")
    with pytest.raises(DivergedError, match=r"^All 2 trials failed: layer_lr_multipliers has 3 values"):
        select_model(search, SCHEMA)
