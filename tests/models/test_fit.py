from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from rosenblatt.data.dataset import Data
from rosenblatt.data.media.columns import steps_column
from rosenblatt.data.schema.columns import of_types
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, SpecError, StoppedEarlyError, TableError
from rosenblatt.models.fit import learn
from rosenblatt.models.incremental import Stream
from rosenblatt.models.prepared import Prepared, architecture_of
from rosenblatt.spec.spec import Spec

RNG = np.random.default_rng(0)
N = 60
FRAME = pl.DataFrame({"a": RNG.normal(3, 2, N), "b": RNG.normal(size=N)})
SCHEMA = of_types(FRAME)
Y = np.arange(N) % 3.0
VALUES = FRAME["a"].to_numpy().reshape(-1, 1)
TARGET = Target(names=("y",), task="multiclass", labels=("x", "y", "z"))
OF_VALUES = Target.of_values(("s",), VALUES, "none")
SMALL = {"hidden_sizes": (4,), "epochs": 3, "members": 2, "numbers": "standard"}


def prepared(data=None, target=TARGET, validation=None, splits=None):
    return Prepared(data or Data(FRAME, Y), lambda _: target, validation, splits)


def rows_of(data=None, target=TARGET, **changes):
    ready = prepared(data, target)
    return ready.rows(ready.resolved(Spec.of(**SMALL | changes)))


def fit(data=None, target=TARGET, **arguments):
    changes = arguments.pop("changes", {})
    return learn(Spec.of(**SMALL | changes), SCHEMA, target, data or Data(FRAME, Y), **arguments)


def test_the_fingerprint_changes_with_any_part_of_the_rows():
    weight, groups = np.ones(N), np.arange(N) % 4
    data = Data(FRAME, Y, weight, groups)
    same = Data(FRAME.clone(), Y.copy(), weight.copy(), groups.copy())
    assert data.fingerprint() == same.fingerprint()
    others = [
        replace(data, frame=FRAME.with_columns(b=-pl.col("b"))),
        replace(data, y=np.roll(Y, 1)),
        replace(data, weight=None),
        replace(data, weight=2 * weight),
        replace(data, groups=groups % 2),
        replace(data, order=np.arange(N)),
    ]
    assert len({other.fingerprint() for other in [data, *others]}) == 7
    sparse = csr_array(np.eye(3))
    assert Data(sparse, Y[:3]).fingerprint() != Data(csr_array(np.eye(3)[::-1]), Y[:3]).fingerprint()


def test_rows_are_standardized_by_the_training_rows_alone():
    other = Data(FRAME * 10 + 5, Y)
    ready = prepared(validation=other)
    x = ready.rows(ready.resolved(Spec.of(**SMALL))).x
    numbers = FRAME.to_numpy()
    center, deviation = numbers.mean(axis=0), numbers.std(axis=0)
    np.testing.assert_allclose(x[:N], (numbers - center) / deviation, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(x[N:], (numbers * 10 + 5 - center) / deviation, rtol=1e-4, atol=1e-4)


def test_weights_have_the_mean_1_and_classes_their_share_of_it():
    weight = RNG.uniform(1, 9, N)
    np.testing.assert_allclose(rows_of(Data(FRAME, Y, weight)).weight, weight / weight.mean(), rtol=1e-6)
    y = np.repeat([0.0, 1.0, 2.0], [30, 20, 10])
    balanced = rows_of(Data(FRAME, y), class_weight="balanced").weight
    np.testing.assert_allclose(balanced, np.repeat([60 / 90, 60 / 60, 60 / 30], [30, 20, 10]), rtol=1e-6)
    named = np.where(y == 1, 5.0, 1.0)
    np.testing.assert_allclose(rows_of(Data(FRAME, y), class_weight={"y": 5.0}).weight, named / named.mean(), rtol=1e-6)


def test_class_weights_of_unknown_classes_or_of_values_are_refused():
    with pytest.raises(SpecError, match=r"class_weight.*'q'.*'x', 'y' and 'z'"):
        rows_of(class_weight={"x": 2.0, "q": 3.0})
    with pytest.raises(SpecError, match=r"class_weight.*regression"):
        rows_of(Data(FRAME, VALUES), OF_VALUES, class_weight="balanced")


def test_trials_share_the_rows_they_encode_alike():
    ready = prepared()
    one, two, other = (
        ready.resolved(Spec.of(**SMALL | changes)) for changes in ({}, {"learning_rate": 0.5}, {"numbers": "robust"})
    )
    assert ready.rows(one) is ready.rows(two)
    assert ready.rows(other) is not ready.rows(one)
    assert ready.bytes == ready.rows(one).x.nbytes + ready.rows(other).x.nbytes
    before = ready.rows(one)
    ready.keep_only(set())
    assert ready.bytes == 0
    assert ready.rows(one) is not before
    np.testing.assert_array_equal(ready.rows(one).x, before.x)


def test_folds_are_the_given_splits_the_validation_rows_or_a_partition():
    splits = [Fold(np.arange(5), np.arange(5, 9))]
    assert prepared(splits=splits).folds(4, 1, 0) is splits
    (only,) = prepared(validation=Data(FRAME[:7], Y[:7])).folds(4, 1, 0)
    np.testing.assert_array_equal(only.rows, np.arange(N))
    np.testing.assert_array_equal(only.spared, np.arange(N, N + 7))
    folds = prepared().folds(4, 2, 0)
    assert len(folds) == 8
    for repeat in (folds[:4], folds[4:]):
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.spared for fold in repeat])), np.arange(N))
        assert all(np.bincount(Y[fold.spared].astype(int)).tolist() == [5, 5, 5] for fold in repeat)
    assert all(np.intersect1d(fold.rows, fold.spared).size == 0 for fold in folds)
    groups = np.arange(N) // 10
    grouped = prepared(Data(FRAME, Y, groups=groups)).folds(3, 1, 0)
    assert all(np.intersect1d(groups[fold.rows], groups[fold.spared]).size == 0 for fold in grouped)


def test_answers_of_steps_are_filled_up_to_the_longest_row():
    def tagged(lengths):
        column = steps_column("s", [np.ones((length, 1), np.float32) for length in lengths], 1)
        y = np.full((len(lengths), max(lengths)), -1.0)
        for row, length in enumerate(lengths):
            y[row, :length] = row
        return Data(pl.DataFrame([column]), y)

    target = Target(names=("y",), task="tagging", labels=("x", "y"))
    ready = prepared(tagged([1, 2]), target, validation=tagged([3]))
    np.testing.assert_array_equal(ready.y, [[0, -1, -1], [1, 1, -1], [0, 0, 0]])


def test_rows_that_cannot_be_learnt_from_are_refused():
    sparse = Data(csr_array(np.eye(N)), Y)
    with pytest.raises(SpecError, match=r"(?i)sparse matrices.*multilayer"):
        prepared(sparse).resolved(Spec.of(**SMALL))
    with pytest.raises(SpecError, match=r"(?i)sparse matrices.*kernel"):
        prepared(sparse).resolved(Spec.of(kind="perceptron", rule="kernel"))
    assert prepared(sparse).resolved(Spec.of(kind="perceptron")).network.kind == "perceptron"
    with pytest.raises(TableError, match="No column"):
        prepared(Data(FRAME.select([]), Y)).resolved(Spec.of(**SMALL))
    words = Data(pl.DataFrame({"id": [f"n{row}" for row in range(N)]}), Y)
    with pytest.raises(TableError, match=r"(?i)no .*column"):  # every word occurs once
        rows_of(words)


def test_members_have_the_inputs_of_the_encoder_and_take_turns_with_activations():
    ready = prepared()
    chosen = ready.resolved(Spec.of(**SMALL | {"activation": ("relu", "tanh")}))
    encoder = ready.encoder(chosen)
    members = [architecture_of(chosen, encoder, TARGET, member) for member in range(3)]
    assert [member.sizes for member in members] == [(2, 4, 3)] * 3
    assert [member.activation for member in members] == ["relu", "tanh", "relu"]
    assert architecture_of(chosen, encoder, OF_VALUES, 0).n_outputs == 1


def test_every_epoch_of_every_member_is_reported_and_scored_by_the_given_score():
    records, announced, answers = [], [], []
    epochs = iter(range(100))

    def watch(chosen, members):
        announced.append((chosen.network.hidden_sizes, chosen["batch_size"] != "auto", members))
        return records.append

    def score(target, y):
        answers.append((target, y))
        return lambda outputs, rows: -float(next(epochs))  # the first epoch is the best

    model = fit(watch=watch, score=score, threads=1, validation=Data(FRAME[:9], Y[:9]))
    assert announced == [((4,), True, 2)]
    assert [(record.member, record.epoch) for record in records] == [(m, e) for m in range(2) for e in (1, 2, 3)]
    assert [record.score for record in records] == [-0.0, -1, -2, -3, -4, -5]
    assert [record.last for record in records] == [False, False, True] * 2
    assert answers[0][0] == TARGET
    np.testing.assert_array_equal(answers[0][1], np.concatenate([Y, Y[:9]]))
    assert [network.best_epoch for network in model.networks] == [1, 1]
    assert [network.losses for network in model.networks] == [
        tuple(record.loss for record in records if record.member == member) for member in range(2)
    ]
    assert model.facts == {"rows": N, "interrupted": False, "members": 2, "failures": []}


def test_an_interruption_keeps_the_epochs_so_far_or_says_that_there_are_none():
    def interrupt(record):
        raise KeyboardInterrupt

    model = fit(
        watch=lambda chosen, members: interrupt, threads=1, changes={"members": 1, "epochs": 10**6, "patience": 10**6}
    )
    assert model.facts["interrupted"] is True
    assert 1 <= len(model.networks[0].losses) < 10**6

    def score(target, y):
        def interrupt(outputs, rows):
            raise KeyboardInterrupt

        return interrupt

    with pytest.raises(StoppedEarlyError, match=r"(?i)stopped before the first epoch"):
        fit(score=score, threads=1)


def test_a_batch_that_diverges_leaves_the_stream_as_it_was():
    def stream():
        constant = {"members": 1, "learning_rate": 0.1, "optimizer": "sgd", "clip_norm": 0.0}
        return Stream(Spec.of(**SMALL | constant), SCHEMA, OF_VALUES, Data(FRAME, VALUES))

    one, other = stream(), stream()
    one.learn(Data(FRAME[:30], VALUES[:30]))
    with pytest.raises(DivergedError, match=r"learning_rate.*0\.1"):
        one.learn(Data(FRAME * 1e30, VALUES))
    other.learn(Data(FRAME[:30], VALUES[:30]))
    after, expected = (s.learn(Data(FRAME[30:], VALUES[30:])) for s in (one, other))
    np.testing.assert_array_equal(after.networks[0].theta, expected.networks[0].theta)
    assert after.facts["rows"] == N
    assert len(after.networks[0].losses) == 2
