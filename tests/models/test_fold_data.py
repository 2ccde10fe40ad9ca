"""Rows that are prepared for each fold."""

import numpy as np
import pytest

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.fold_data import FoldDatasets, FoldPreparedData
from rosenblatt.models.prepared import encode_frame
from rosenblatt.spec.spec import Spec

RNG = np.random.default_rng(0)
TARGET = Target(names=("y",), task="binary", labels=(0, 1))


def dataset(matrix):
    return Dataset(matrix, np.arange(len(matrix)) % 2.0, columns=tuple(f"c{i}" for i in range(matrix.shape[1])))


def prepare(matrices, encoding):
    folds = [FoldDatasets(dataset(matrix[:40]), dataset(matrix[40:])) for matrix in matrices]
    prepared = FoldPreparedData(folds, lambda _: TARGET)
    return folds, prepared, prepared.resolve(Spec.from_hyperparameters(numeric_encoding=encoding))


@pytest.mark.parametrize("encoding", ["standard", "piecewise", "quantile"])
def test_each_fold_is_encoded_by_its_training_rows(encoding):
    matrices = [RNG.normal(size=(60, 3)), RNG.integers(4, size=(60, 3)).astype(float), RNG.normal(size=(60, 2))]
    folds, prepared, spec = prepare(matrices, encoding)
    x, encoder = prepared.rows(spec).x, prepared.encoder(spec)
    for k, (train, validation) in enumerate(prepared.splits):
        own = Encoder.fit(folds[k].train.frame, spec.data, columns=folds[k].train.columns)
        for rows, part in ((train, folds[k].train), (validation, folds[k].validation)):
            np.testing.assert_array_equal(x[rows, : own.width], encode_frame(own, part.frame))
            assert not x[rows, own.width :].any()
    assert x.shape == (180, encoder.width)


def test_folds_whose_features_differ_in_structure_have_no_spans():
    continuous, discrete = RNG.normal(size=(60, 3)), RNG.integers(4, size=(60, 3)).astype(float)
    _, regular, spec = prepare([continuous, continuous + 1], "piecewise")
    assert regular.rows(spec).spans[:, 2].any()
    _, irregular, spec = prepare([continuous, discrete], "piecewise")
    assert not irregular.rows(spec).spans.size


def test_values_that_are_chosen_by_the_number_of_rows_are_those_of_the_whole_table():
    _, prepared, spec = prepare([RNG.normal(size=(60, 3))] * 4, "standard")
    assert prepared.data.frame.shape == (60, 3)
    assert len(prepared.y) == len(prepared.weight) == 240
    assert spec["batch_size"] == prepare([RNG.normal(size=(60, 3))], "standard")[2]["batch_size"]
