"""Promises of training: members do not affect each other, equal seeds give equal runs, and resumed runs equal
uninterrupted ones."""

from contextlib import closing

import numpy as np
import pytest

from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training import rows as rows_module
from rosenblatt.training.backend import logits
from rosenblatt.training.compiled.perceptron import RULES
from rosenblatt.training.member import last_improvement, new_member
from rosenblatt.training.population import train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.float32)
ROWS = rows_module.DenseRows(X, Y.reshape(-1, 1), np.ones(200, np.float32))
SPECS = [
    {"hidden_sizes": (16,), "dropout": 0.2},
    {"hidden_sizes": (8, 8, 8), "activation": "gelu", "optimizer": "momentum", "learning_rate": 0.05, "batch_size": 7},
    {"hidden_sizes": (8, 8), "normalization": "batch", "residual": True, "scaling_layer": True,
     "parametric_activation": True,
     "schedule": "plateau", "plateau_patience": 1, "ema_decay": 0.9, "l1": 1e-3, "max_norm": 1.0},
    {"hidden_sizes": (8,), "normalization": "layer", "batch_order": "stratified", "schedule": "one_cycle"},
    {"hidden_sizes": (8,), "batch_order": "in_order", "batch_size": "full", "optimizer": "nadam"},
    {"hidden_sizes": (), "schedule": "cosine"},
    {"hidden_sizes": (32, 4), "activation": "tanh", "weight_decay": 0.1, "input_dropout": 0.1, "label_smoothing": 0.1},
    *({"kind": "perceptron", "perceptron_rule": rule} for rule in RULES if rule != "kernel"),
    {"kind": "perceptron", "perceptron_rule": "voted", "budget": 5},
    {"kind": "perceptron", "perceptron_rule": "kernel", "budget": 20},
]  # fmt: skip


def member(changes, seed=0, epochs=12, validates=True):
    spec = resolve_auto(Spec.from_hyperparameters(epochs=epochs, **changes), 150, 6)
    loss = "perceptron" if spec.network.kind == "perceptron" else "binary_cross_entropy"
    validation = np.arange(150, 200) if validates else np.arange(0)
    return new_member(spec, build_dense(spec.network, 6, 1), loss, np.arange(150), validation, (seed,), ROWS)


def equal(a, b):
    assert [record[1:] for record in a.history] == [
        record[1:] for record in b.history
    ]  # the first field is the index of the member
    np.testing.assert_array_equal(a.best, b.best)
    for actual, expected in zip(a.state, b.state, strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_member_trained_with_others_equals_one_trained_alone(threads):
    members = [member(changes) for changes in SPECS]
    list(train(members, ROWS, threads=threads))
    for changes, pool_member in zip(SPECS, members, strict=True):
        single = member(changes)
        list(train([single], ROWS))
        equal(single, pool_member)


def test_equal_seeds_give_equal_runs_and_different_seeds_do_not():
    first, second, third = member(SPECS[0]), member(SPECS[0]), member(SPECS[0], seed=1)
    list(train([first, second, third], ROWS))
    equal(first, second)
    assert not np.array_equal(first.best, third.best)


@pytest.mark.parametrize("validates", [True, False])
@pytest.mark.parametrize("changes", SPECS)
def test_a_resumed_run_equals_an_uninterrupted_one(changes, validates):
    uninterrupted, resumed = (member(changes, validates=validates) for _ in range(2))
    list(train([uninterrupted], ROWS))
    for epochs in (3, 7, 12):
        resumed.epochs = epochs
        list(train([resumed], ROWS))
    equal(uninterrupted, resumed)


def test_a_member_that_diverges_is_recorded_and_the_others_continue():
    wild = member(
        {
            "hidden_sizes": (16,),
            "activation": "identity",
            "optimizer": "sgd",
            "learning_rate": 1000.0,
            "clip_norm": 0.0,
            "loss": "squared",
        }
    )
    wild.loss = "squared"
    calm, single = member(SPECS[0]), member(SPECS[0])
    list(train([wild, calm], ROWS, threads=1))
    list(train([single], ROWS))
    assert "epoch" in wild.failure
    assert not calm.failure
    equal(calm, single)


def test_the_best_epoch_is_kept_and_training_ends_if_patience_is_exhausted():
    single = member({"hidden_sizes": (64,), "patience": 3}, epochs=500)
    records = list(train([single], ROWS))
    scores = [record.score for record in records]
    assert single.best_score == min(scores)
    assert single.best_epoch == len(scores) - 3  # the last three were no better
    assert len(scores) < 500
    sums = logits(single.architecture, single.best, ROWS, np.arange(150, 200))[:, 0].astype(float)
    p = 1 / (1 + np.exp(-sums))
    loss = -np.mean(np.log(np.where(Y[150:] > 0, p, 1 - p)))
    assert single.best_score == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(("scores", "tol", "expected"), [
    ([], 0.1, 0),
    ([1.0, 1.0, 0.5], 0.0, 2),  # a tie counts
    ([0.0, 0.05, 0.1, 0.15], 0.1, 1),  # as each is compared with the best of all before
    ([0.0, 0.25, 0.5, 0.5], 0.25, 3),
    ([np.nan, np.nan], 0.1, 2),
    ([np.nan, 0.5, np.nan], 0.1, 2),
])  # fmt: skip
def test_an_improvement_counts_from_tol_on(scores, tol, expected):
    assert last_improvement(scores, tol) == expected


@pytest.mark.parametrize("scorer", [None, lambda outputs, rows: -float(np.abs(outputs[:, 0] - Y[rows]).mean())])
def test_training_ends_if_improvements_stay_below_tol(scorer):
    scoring = {} if scorer is None else {"scoring": "neg_mean_absolute_error"}
    strict, exact = (
        member({"hidden_sizes": (8,), "patience": 5, "tol": tol, **scoring}, epochs=60) for tol in (1e9, 0.0)
    )
    list(train([strict, exact], ROWS, scorer))
    assert len(strict.history) == 6 < len(exact.history)
    assert strict.best_epoch == 6  # the best epoch is kept nevertheless
    assert strict.finished


def test_without_validation_rows_tol_ends_training_by_the_training_loss():
    strict, resumed, exact = (
        member({"hidden_sizes": (8,), "patience": 5, "tol": tol}, validates=False, epochs=60) for tol in (0.01, 0.01, 0)
    )
    list(train([strict, exact], ROWS))
    assert len(exact.history) == 60
    losses = [record.loss for record in strict.history]
    assert last_improvement([-loss for loss in losses], 0.01) == len(losses) - 5 < 55
    for epochs in (3, 60):
        resumed.epochs = epochs
        list(train([resumed], ROWS))
    equal(strict, resumed)


def test_training_stops_if_the_caller_stops_iterating():
    single = member(SPECS[0], epochs=1_000_000)
    single.patience = 1_000_000
    with closing(train([single], ROWS)) as records:
        for record in records:
            if record.epoch == 3:
                break
    assert single.is_trained
    assert len(single.history) < 1_000_000


def test_an_exception_in_a_scorer_reaches_the_caller():
    def score(outputs, rows):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(train([member(SPECS[0])], ROWS, score))


def test_a_scorer_chooses_the_best_epoch():
    seen = []

    def worse_each_time(outputs, rows):
        seen.append((outputs.shape, rows.shape))
        return -len(seen)

    single = member(SPECS[0] | {"scoring": "accuracy"})
    list(train([single], ROWS, worse_each_time))
    assert single.best_epoch == 1
    assert set(seen) == {((50, 1), (50,))}
