import numpy as np
import pytest

from rosenblatt.data.splits import deal, folds, train_test, validation_folds
from rosenblatt.errors import TableError


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


def test_groups_stay_together_and_parts_are_of_about_equal_size():
    rng = np.random.default_rng(0)
    groups = rng.integers(40, size=500)
    dealt = deal(500, 5, 0, groups=groups)
    assert sorted(np.concatenate([fold.spared for fold in dealt])) == list(range(500))
    for fold in dealt:
        assert not set(groups[fold.rows]) & set(groups[fold.spared])
        assert 80 <= fold.spared.size <= 120
    training, test = train_test(500, 0.2, 0, groups=groups)
    assert not set(groups[training]) & set(groups[test])
    assert 80 <= test.size <= 130


def test_too_few_groups_are_refused():
    with pytest.raises(TableError, match="3 groups, but 4 folds"):
        deal(30, 4, 0, groups=np.arange(30) % 3)


def test_rows_in_order_are_validated_on_what_comes_after():
    order = np.random.default_rng(0).permutation(200)
    dealt = deal(200, 4, 0, order=order)
    for fold in dealt:
        assert order[fold.rows].max() < order[fold.spared].min()
    assert [fold.rows.size for fold in dealt] == [99, 124, 149, 174]
    assert sum(fold.spared.size for fold in dealt) == 101
    training, test = train_test(200, 0.2, 0, order=order)
    assert order[training].max() < order[test].min()
    assert test.size in (39, 40)


def test_rows_of_one_time_stand_on_one_side():
    order = np.repeat(np.arange(10), 7)
    for fold in deal(70, 3, 0, order=order):
        assert not set(order[fold.rows]) & set(order[fold.spared])
        assert fold.rows.size
        assert fold.spared.size
    training, test = train_test(70, 0.25, 0, order=order)
    assert not set(order[training]) & set(order[test])
    with pytest.raises(TableError, match="3 different times, but 3 folds need 4"):
        deal(30, 3, 0, order=np.arange(30) % 3)


def test_every_fold_spares_rows_also_where_one_time_holds_nearly_all():
    order = np.concatenate([np.arange(10), np.full(90, 5.5)])
    for fold in deal(100, 3, 0, order=order):
        assert fold.rows.size
        assert fold.spared.size
        assert order[fold.rows].max() < order[fold.spared].min()


def test_groups_and_order_are_not_both_taken():
    with pytest.raises(TableError, match="not by both"):
        deal(10, 2, 0, groups=np.arange(10), order=np.arange(10))


def test_repeated_folds_are_dealt_anew():
    dealt = validation_folds(100, 5, 3, 0, np.zeros(100))
    assert len(dealt) == 15
    assert not np.array_equal(dealt[0].spared, dealt[5].spared)
    assert all(sum(row in fold.spared for fold in dealt) == 3 for row in (0, 50, 99))
    assert len(validation_folds(100, 5, 3, 0, np.zeros(100), order=np.arange(100))) == 5
