"""Trial of a search: its scores and statistics, before and after its networks are discarded."""

import json

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import predict
from rosenblatt.tuning.space import Space
from rosenblatt.tuning.trial import Proposal, Trial
from rosenblatt.tuning.work_queue import WorkItem, WorkResult

RNG = np.random.default_rng(0)
N, FOLDS = 60, 3
X = RNG.normal(size=(N, 2))
Y = (X[:, 0] > 0).astype(float)
TARGET = Target(names=("y",), task="binary", labels=("no", "yes"))
SMALL = {"hidden_sizes": (4,), "epochs": 3, "batch_size": 16, "numeric_encoding": "standard"}
RUN, STOPPED = np.zeros(1, np.uint8), np.ones(1, np.uint8)


def make_trial(**overrides):
    """A trial without networks, and its folds."""
    spec = Spec.from_hyperparameters(**SMALL | overrides)
    prepared = PreparedData(Dataset(pl.DataFrame(X, schema=["a", "b"]), Y), lambda spec: TARGET.with_loss(spec, Y))
    proposal = Proposal.from_params({"hidden_sizes": (4,)}, Space.from_spec(spec), prepared)
    trial = Trial.new(5, proposal, FOLDS)
    trial.rows = prepared.rows(proposal.resolved_spec)
    return trial, prepared.folds(FOLDS, 1, 0)


def train(trial, folds, n_folds=FOLDS, epochs=3, *, is_last_rung=False, stop=RUN):
    return [WorkItem(trial, k, folds[k], epochs, None, is_last_rung)(stop) for k in range(n_folds)]


def test_the_score_of_a_trial_is_that_of_its_last_rung():
    trial, _ = make_trial()
    assert trial.score == float("inf")
    trial.scores = [0.3, 0.5]
    assert trial.score == 0.5
    assert trial.score_to_maximize == -0.5


def test_a_fold_trains_up_to_the_target_epochs_and_continues_from_there():
    trial, folds = make_trial()
    (result,) = train(trial, folds, 1, epochs=1)
    member = trial.folds.members[0]
    assert (result.trial, result.fold, result.failure) == (5, 0, "")
    assert len(member.history) == 1
    train(trial, folds, 1, epochs=3)
    assert trial.folds.members[0] is member
    assert len(member.history) == 3
    assert trial.folds.n_trained == 1


def test_only_the_last_rung_predicts_the_validation_rows():
    trial, folds = make_trial()
    train(trial, folds, 1, epochs=1)
    assert trial.folds.out_of_fold_predictions == {}
    train(trial, folds, 1, is_last_rung=True)
    architecture, theta = trial.folds.members[0].best_network()
    expected = predict(architecture, trial.proposal.target.loss, theta, trial.rows, folds[0].validation)
    assert list(trial.folds.out_of_fold_predictions) == [0]
    np.testing.assert_allclose(
        trial.folds.out_of_fold_predictions[0], trial.proposal.target.decode(expected), rtol=1e-6
    )


def test_a_stopped_fold_is_neither_trained_nor_used_for_predictions():
    trial, folds = make_trial()
    train(trial, folds, 1, is_last_rung=True, stop=STOPPED)
    assert trial.folds.n_trained == 0
    assert trial.folds.out_of_fold_predictions == {}
    assert np.isnan(trial.folds.scores).all()


def test_hyperparameters_that_do_not_fit_the_network_fail_the_fold_with_the_reason():
    trial, folds = make_trial(layer_lr_multipliers=(1.0, 0.5, 0.1))
    (result,) = train(trial, folds, 1)
    assert "layer_lr_multipliers" in result.failure
    assert trial.folds.members[0] is None


def test_the_mean_score_averages_the_first_folds_that_have_a_finite_score():
    trial, folds = make_trial()
    assert trial.mean_score(FOLDS) == float("inf")
    train(trial, folds)
    scores = [member.best_score for member in trial.folds.members]
    assert trial.folds.scores == scores
    assert trial.mean_score(2) == pytest.approx(np.mean(scores[:2]))
    trial.folds.members[1].best_score = np.nan
    assert trial.mean_score(FOLDS) == pytest.approx((scores[0] + scores[2]) / 2)


@pytest.mark.parametrize(
    ("overrides", "batches"), [({}, 3), ({"batch_size": "full"}, 1), ({"batch_size": 40}, 1), ({"batch_size": 7}, 6)]
)
def test_statistics_count_the_batches_of_all_epochs_of_all_folds(overrides, batches):
    trial, folds = make_trial(**overrides)
    train(trial, folds, 2)
    trial.update_statistics()
    assert trial.statistics.steps == 2 * 3 * batches  # two folds of 40 training rows, three epochs
    assert trial.statistics.epochs == 3
    assert trial.statistics.n_parameters == 2 * 4 + 4 + 4 + 1
    assert trial.folds.n_bytes > 0
    trial.statistics.seconds = 12.0
    assert trial.estimate_seconds(40, 3) == pytest.approx(6.0)


def test_scores_and_curves_outlast_the_networks():
    trial, folds = make_trial()
    train(trial, folds, 2, is_last_rung=True)
    trial.update_statistics()
    scores, curves, steps = trial.folds.scores, trial.folds.curves, trial.statistics.steps
    assert sorted(curves) == [0, 1]
    trial.folds.discard_networks()
    trial.update_statistics()
    assert trial.folds.members == [None] * FOLDS
    assert trial.folds.out_of_fold_predictions == {}
    assert (trial.folds.n_trained, trial.folds.n_bytes, trial.statistics.steps) == (0, 0, steps)
    np.testing.assert_array_equal(trial.folds.scores, scores)
    for fold, (losses, fold_scores) in curves.items():
        np.testing.assert_array_equal(trial.folds.curves[fold][0], losses)
        np.testing.assert_array_equal(trial.folds.curves[fold][1], fold_scores)


def test_a_trial_without_its_training_state_predicts_as_before_in_less_memory():
    trial, folds = make_trial()
    train(trial, folds)
    trial.update_statistics()
    networks, n_bytes = trial.to_trained_trial().networks, trial.folds.n_bytes
    trial.folds.release_training_state()
    assert trial.folds.n_bytes < n_bytes
    for before, after in zip(networks, trial.to_trained_trial(0.25).networks, strict=True):
        np.testing.assert_array_equal(before.theta, after.theta)
    assert trial.to_trained_trial(0.25).weight == 0.25


def test_a_record_is_json_with_null_for_scores_that_are_not_finite():
    trial, folds = make_trial()
    train(trial, folds, 1)
    trial.scores, trial.inherited_from = [float("inf")], [(2, 1)]
    record = trial.record().to_json()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["number"], record["score"], record["scores"], record["folds"]) == (5, None, [None], 1)
    assert (record["params"], record["inherited_from"]) == ({"hidden_sizes": [4]}, [[2, 1]])


def test_work_of_a_failed_trial_trains_nothing_and_returns_the_reason():
    trial, folds = make_trial()
    trial.state, trial.reason = "failed", "the loss is not finite"
    work_item = WorkItem(trial, 1, folds[1], 3, None, is_last_rung=True)
    assert work_item(RUN) == WorkResult(5, 1, 0.0, "the loss is not finite")
    assert work_item.member() is None
    assert trial.folds.members == [None] * FOLDS
