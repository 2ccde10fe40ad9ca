"""Encoded rows and targets of a fit: encodings, weights, folds, and inputs that are rejected."""

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.columns import sequence_column
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, TableError
from rosenblatt.models.prepared import PreparedData, build_architecture
from rosenblatt.spec.spec import Spec

RNG = np.random.default_rng(0)
N = 60
FRAME = pl.DataFrame({"a": RNG.normal(3, 2, N), "b": RNG.normal(size=N)})
Y = np.arange(N) % 3.0
VALUES = FRAME["a"].to_numpy().reshape(-1, 1)
TARGET = Target(names=("y",), task="multiclass", labels=("x", "y", "z"))
REGRESSION_TARGET = Target.fit_regression(("s",), VALUES, "none")
SMALL = {"hidden_sizes": (4,), "epochs": 3, "members": 2, "numeric_encoding": "standard"}


def make_prepared(data=None, target=TARGET, validation=None, splits=None):
    return PreparedData(data or Dataset(FRAME, Y), lambda _: target, validation, splits)


def encode_rows(data=None, target=TARGET, **overrides):
    prepared = make_prepared(data, target)
    return prepared.rows(prepared.resolve(Spec.from_hyperparameters(**SMALL | overrides)))


def test_rows_are_standardized_by_the_training_rows_alone():
    validation = Dataset(FRAME * 10 + 5, Y)
    prepared = make_prepared(validation=validation)
    x = prepared.rows(prepared.resolve(Spec.from_hyperparameters(**SMALL))).x
    numbers = FRAME.to_numpy()
    center, deviation = numbers.mean(axis=0), numbers.std(axis=0)
    np.testing.assert_allclose(x[:N], (numbers - center) / deviation, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(x[N:], (numbers * 10 + 5 - center) / deviation, rtol=1e-4, atol=1e-4)


def test_weights_have_mean_1_and_respect_class_weights():
    weight = RNG.uniform(1, 9, N)
    np.testing.assert_allclose(encode_rows(Dataset(FRAME, Y, weight)).weight, weight / weight.mean(), rtol=1e-6)
    y = np.repeat([0.0, 1.0, 2.0], [30, 20, 10])
    balanced = encode_rows(Dataset(FRAME, y), class_weight="balanced").weight
    np.testing.assert_allclose(balanced, np.repeat([60 / 90, 60 / 60, 60 / 30], [30, 20, 10]), rtol=1e-6)
    named = np.where(y == 1, 5.0, 1.0)
    np.testing.assert_allclose(
        encode_rows(Dataset(FRAME, y), class_weight={"y": 5.0}).weight, named / named.mean(), rtol=1e-6
    )


def test_class_weights_of_unknown_classes_or_of_values_are_rejected():
    with pytest.raises(SpecError, match=r"class_weight.*'q'.*'x', 'y' and 'z'"):
        encode_rows(class_weight={"x": 2.0, "q": 3.0})
    with pytest.raises(SpecError, match=r"class_weight.*regression"):
        encode_rows(Dataset(FRAME, VALUES), REGRESSION_TARGET, class_weight="balanced")


def test_trials_with_equal_encodings_share_rows():
    prepared = make_prepared()
    spec, same_encoding, other_encoding = (
        prepared.resolve(Spec.from_hyperparameters(**SMALL | changes))
        for changes in ({}, {"learning_rate": 0.5}, {"numeric_encoding": "robust"})
    )
    assert prepared.rows(spec) is prepared.rows(same_encoding)
    assert prepared.rows(other_encoding) is not prepared.rows(spec)
    assert prepared.bytes == prepared.rows(spec).x.nbytes + prepared.rows(other_encoding).x.nbytes
    rows = prepared.rows(spec)
    prepared.evict_except(set())
    assert prepared.bytes == 0
    assert prepared.rows(spec) is not rows
    np.testing.assert_array_equal(prepared.rows(spec).x, rows.x)


def test_folds_are_the_given_splits_the_validation_rows_or_a_partition():
    splits = [Fold(np.arange(5), np.arange(5, 9))]
    assert make_prepared(splits=splits).folds(4, 1, 0) is splits
    (fold,) = make_prepared(validation=Dataset(FRAME[:7], Y[:7])).folds(4, 1, 0)
    np.testing.assert_array_equal(fold.train, np.arange(N))
    np.testing.assert_array_equal(fold.validation, np.arange(N, N + 7))
    folds = make_prepared().folds(4, 2, 0)
    assert len(folds) == 8
    for repeat in (folds[:4], folds[4:]):
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.validation for fold in repeat])), np.arange(N))
        assert all(np.bincount(Y[fold.validation].astype(int)).tolist() == [5, 5, 5] for fold in repeat)
    assert all(np.intersect1d(fold.train, fold.validation).size == 0 for fold in folds)
    groups = np.arange(N) // 10
    grouped = make_prepared(Dataset(FRAME, Y, groups=groups)).folds(3, 1, 0)
    assert all(np.intersect1d(groups[fold.train], groups[fold.validation]).size == 0 for fold in grouped)


def test_step_targets_are_padded_to_the_longest_row():
    def make_tagged_dataset(lengths):
        column = sequence_column("s", [np.ones((length, 1), np.float32) for length in lengths], 1)
        y = np.full((len(lengths), max(lengths)), -1.0)
        for row, length in enumerate(lengths):
            y[row, :length] = row
        return Dataset(pl.DataFrame([column]), y)

    target = Target(names=("y",), task="tagging", labels=("x", "y"))
    prepared = make_prepared(make_tagged_dataset([1, 2]), target, validation=make_tagged_dataset([3]))
    np.testing.assert_array_equal(prepared.y, [[0, -1, -1], [1, 1, -1], [0, 0, 0]])


def test_tables_that_a_network_cannot_be_trained_on_are_rejected():
    sparse = Dataset(csr_array(np.eye(N)), Y)
    with pytest.raises(SpecError, match=r"(?i)sparse matrices.*multilayer"):
        make_prepared(sparse).resolve(Spec.from_hyperparameters(**SMALL))
    with pytest.raises(SpecError, match=r"(?i)sparse matrices.*kernel"):
        make_prepared(sparse).resolve(Spec.from_hyperparameters(kind="perceptron", perceptron_rule="kernel"))
    assert make_prepared(sparse).resolve(Spec.from_hyperparameters(kind="perceptron")).network.kind == "perceptron"
    with pytest.raises(TableError, match="No usable input column"):
        make_prepared(Dataset(FRAME.select([]), Y)).resolve(Spec.from_hyperparameters(**SMALL))
    words = Dataset(pl.DataFrame({"id": [f"n{row}" for row in range(N)]}), Y)
    with pytest.raises(TableError, match=r"(?i)no .*column"):  # every value is unique
        encode_rows(words)


def test_members_have_the_inputs_of_the_encoder_and_alternate_activations():
    prepared = make_prepared()
    resolved_spec = prepared.resolve(Spec.from_hyperparameters(**SMALL | {"activation": ("relu", "tanh")}))
    encoder = prepared.encoder(resolved_spec)
    members = [build_architecture(resolved_spec, encoder, TARGET, member) for member in range(3)]
    assert [member.sizes for member in members] == [(2, 4, 3)] * 3
    assert [member.activation for member in members] == ["relu", "tanh", "relu"]
    assert build_architecture(resolved_spec, encoder, REGRESSION_TARGET, 0).n_outputs == 1


def test_auto_is_resolved_for_the_training_rows():
    spec = Spec.from_hyperparameters(batch_size=7)
    prepared = make_prepared(validation=Dataset(FRAME, Y))
    resolved_spec = prepared.resolve(spec)
    assert resolved_spec["batch_size"] == 7
    assert isinstance(resolved_spec["epochs"], int)
    assert isinstance(resolved_spec["label_smoothing"], float)
    few_rows = make_prepared(Dataset(FRAME[:19], Y[:19]), validation=Dataset(FRAME, Y))
    assert (resolved_spec["folds"], few_rows.resolve(spec)["folds"]) == (16, 1)  # validation rows are not counted


def test_the_target_is_made_once_for_each_loss():
    calls = []

    def make_target(spec):
        calls.append(spec.training.loss)
        return TARGET

    prepared = PreparedData(Dataset(FRAME, Y), make_target)
    for loss, seed in (("cross_entropy", 0), ("cross_entropy", 1), ("hinge", 0)):
        prepared.target(Spec.from_hyperparameters(loss=loss, seed=seed))
    assert calls == ["cross_entropy", "hinge"]


def test_validation_rows_follow_the_training_rows_with_their_weights():
    validation = Dataset(FRAME[:2], Y[1:3], weight=np.array([3.0, 5.0]))
    prepared = make_prepared(validation=validation)
    np.testing.assert_array_equal(prepared.y, [*Y, 1.0, 2.0])
    np.testing.assert_array_equal(prepared.weight, [*np.ones(N), 3.0, 5.0])
    assert prepared.frame.rows() == FRAME.rows() + FRAME[:2].rows()
    sparse = make_prepared(Dataset(csr_array(np.eye(3)), Y[:3]), validation=Dataset(csr_array(2 * np.eye(3)), Y[:3]))
    np.testing.assert_array_equal(sparse.frame.toarray(), np.vstack([np.eye(3), 2 * np.eye(3)]))


@pytest.mark.parametrize("overrides", [{"kind": "cnn"}, {"device": "cuda"}])
def test_networks_that_need_pytorch_are_rejected_without_it(overrides, monkeypatch):
    monkeypatch.setattr("rosenblatt.models.prepared.find_spec", lambda name: None)
    name, value = next(iter(overrides.items()))
    with pytest.raises(SpecError, match=rf"{name} {value} needs PyTorch.*pip install 'rosenblatt\[torch\]'"):
        make_prepared().resolve(Spec.from_hyperparameters(**overrides))
