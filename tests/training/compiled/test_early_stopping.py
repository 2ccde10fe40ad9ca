"""Training with validation in one call gives the same result as a call for each epoch."""

import numpy as np
import pytest

from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import make_trainer
from rosenblatt.training.compiled.early_stopping import epochs_to_wait
from rosenblatt.training.member import new_member
from rosenblatt.training.population import train, train_member
from rosenblatt.training.rows import DenseRows

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6)).astype(np.float32)
ROWS = DenseRows(X, (X[:, :1] * X[:, 1:2] > 0).astype(np.float32), np.ones(200, np.float32))


def member(**changes):
    spec = resolve_auto(
        Spec.from_hyperparameters(**{"epochs": 25, "hidden_sizes": (16,), "batch_size": 20} | changes), 150, 6
    )
    rows, validation = np.arange(150), np.arange(150, 200)
    return new_member(spec, build_dense(spec.network, 6, 1), "binary_cross_entropy", rows, validation, (0,), ROWS)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patience": 2, "learning_rate": 0.05},
        {"ema_decay": 0.9, "schedule": "cosine"},
        {"normalization": "batch", "dropout": 0.3},
        {"focal_gamma": 1.0, "loss": "focal"},
        {"tol": 0.02, "patience": 3},
        {"patience_factor": 1.0, "learning_rate": 0.05},
    ],
)
def test_scores_best_epoch_and_end_are_those_of_separate_epochs(changes):
    together, step_by_step = member(**changes), member(**changes)
    list(train([together], ROWS))
    trainer = make_trainer(step_by_step, ROWS)

    def score(_, rows):  # with a scorer, there is a call for each epoch
        assert rows is step_by_step.validation
        return trainer.validate()[1]

    list(train([step_by_step], ROWS, score))
    assert len(together.history) == len(step_by_step.history)
    np.testing.assert_array_equal([r.loss for r in together.history], [r.loss for r in step_by_step.history])
    np.testing.assert_allclose([r.score for r in together.history], [r.score for r in step_by_step.history], rtol=1e-6)
    assert together.best_epoch == step_by_step.best_epoch
    assert together.finished == step_by_step.finished
    np.testing.assert_array_equal(together.best, step_by_step.best)


@pytest.mark.parametrize(
    ("factor", "improved", "epochs"), [(0, 1, 16), (2, 1, 5), (2, 4, 11), (2, 7, 16), (0.5, 3, 4.5)]
)
def test_a_factor_limits_patience_early_in_training(factor, improved, epochs):
    assert epochs_to_wait(improved, 16, factor) == epochs


def test_an_early_best_epoch_ends_training_soon():
    trained = member(epochs=200, learning_rate=0.05, patience_factor=2.0)
    list(train([trained], ROWS))
    assert trained.n_epochs == trained.best_epoch + min(16, 3 + 2 * trained.best_epoch)


def test_a_stopped_member_keeps_its_best_epoch_so_far():
    trained = member()
    stop = np.zeros(1, np.uint8)
    records = train_member(trained, ROWS, None, stop)
    next(records)
    stop[0] = 1
    list(records)
    assert 1 <= len(trained.history) < 25
    assert trained.is_trained
    assert not trained.finished
    assert not trained.failure


@pytest.mark.parametrize("message", ["training loss", "finite"])
def test_a_member_that_diverges_fails(message):
    wild = member(learning_rate=1000.0, clip_norm=0, optimizer="sgd", hidden_sizes=(32, 32, 32))
    if message == "finite":
        wild.state.theta[-1] = np.inf
    list(train([wild], ROWS))
    assert wild.failure
    assert wild.finished


def test_predictions_that_are_not_finite_end_training():
    trained = member(learning_rate=1e-6)
    rows = ROWS._replace(x=X.copy())
    rows.x[160, 0] = np.nan  # a validation row
    list(train([trained], rows))
    assert trained.failure == "predictions are not finite numbers after epoch 1"
    assert not trained.is_trained
