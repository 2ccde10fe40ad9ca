import numpy as np
import pytest

from rosenblatt.data.splits import folds, train_test


@pytest.mark.parametrize(("n", "k"), [(100, 8), (7, 7), (33, 2), (5, 4)])
def test_folds_share_out_every_row_once_and_evenly(n, k):
    parts = folds(n, k, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_folds_have_the_same_mix_of_classes():
    y = np.repeat([0, 1, 2], [80, 16, 8])
    for part in folds(104, 8, seed=3, like=y):
        np.testing.assert_array_equal(np.bincount(y[part]), [10, 2, 1])


def test_folds_of_values_have_nearly_the_same_mean():
    y = np.random.default_rng(0).normal(size=800)
    assert np.std([y[part].mean() for part in folds(800, 8, seed=0, like=y)]) < 0.01


def test_test_rows_are_the_share_asked_for_of_each_class():
    y = np.repeat([0, 1], [700, 300])
    training, test = train_test(1000, 0.2, seed=5, like=y)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, test])), np.arange(1000))
    assert abs(len(test) - 200) <= 1
    assert abs((y[test] == 1).sum() - 60) <= 1


def test_a_rare_class_keeps_a_row_for_training():
    y = np.array([0] * 99 + [1])
    for seed in range(20):
        training, _ = train_test(100, 0.5, seed, like=y)
        assert 99 in training


def test_other_seeds_give_other_splits():
    assert not np.array_equal(train_test(100, 0.2, 0)[1], train_test(100, 0.2, 1)[1])
    np.testing.assert_array_equal(train_test(100, 0.2, 1)[1], train_test(100, 0.2, 1)[1])
