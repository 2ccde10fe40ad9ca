import numpy as np
import pytest

from rosenblatt.data.splits import make_folds, rarest_label, stratified_parts, train_test_split, validation_folds
from rosenblatt.errors import TableError


@pytest.mark.parametrize(("n", "k"), [(100, 8), (7, 7), (33, 2), (5, 4)])
def test_folds_partition_the_rows_evenly(n, k):
    parts = stratified_parts(n, k, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_folds_are_stratified_by_class():
    y = np.repeat([0, 1, 2], [80, 16, 8])
    for part in stratified_parts(104, 8, seed=3, stratify=y):
        np.testing.assert_array_equal(np.bincount(y[part]), [10, 2, 1])


def test_folds_of_values_have_nearly_the_same_mean():
    y = np.random.default_rng(0).normal(size=800)
    assert np.std([y[part].mean() for part in stratified_parts(800, 8, seed=0, stratify=y)]) < 0.01


def test_test_rows_are_the_requested_fraction_of_each_class():
    y = np.repeat([0, 1], [700, 300])
    training, test = train_test_split(1000, 0.2, seed=5, stratify=y)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, test])), np.arange(1000))
    assert abs(len(test) - 200) <= 1
    assert abs((y[test] == 1).sum() - 60) <= 1


def test_a_rare_class_keeps_a_row_for_training():
    y = np.array([0] * 99 + [1])
    for seed in range(20):
        training, _ = train_test_split(100, 0.5, seed, stratify=y)
        assert 99 in training


@pytest.mark.parametrize("n_rare", [2, 3, 5, 9])
def test_a_class_of_two_rows_or_more_has_rows_on_both_sides(n_rare):
    y = np.array([0] * 1000 + [1] * n_rare)
    for seed in range(20):
        training, test = train_test_split(len(y), 0.2, seed, stratify=y)
        assert 0 < (y[test] == 1).sum() < n_rare
        assert abs(len(test) - 0.2 * len(y)) <= 1
        assert len(training) + len(test) == len(y)


def test_rare_classes_of_many_have_test_rows_at_the_cost_of_frequent_ones():
    y = np.concatenate([np.zeros(900), np.repeat(np.arange(1, 31), 3), [31]])
    training, test = train_test_split(len(y), 0.2, 0, stratify=y)
    assert set(y[test]) == set(range(31))
    assert set(y[training]) == set(range(32))
    assert abs(len(test) - 198) <= 1


def test_more_classes_than_test_rows_leave_the_size_of_the_test():
    y = np.repeat(np.arange(100), 2)
    assert abs(len(train_test_split(200, 0.2, 0, stratify=y)[1]) - 40) <= 1


def test_rows_of_several_labels_are_stratified_by_the_rarest():
    y = np.zeros((300, 3))
    y[:200, 0] = y[::2, 1] = 1
    y[[10, 20, 30], 2] = 1
    strata = rarest_label(y)
    np.testing.assert_array_equal(strata[[0, 1, 10, 201]], [1, 0, 2, -1])
    training, test = train_test_split(300, 0.2, 0, stratify=strata)
    assert y[test, 2].sum() > 0
    assert y[training, 2].sum() > 0


def test_other_seeds_give_other_splits():
    assert not np.array_equal(train_test_split(100, 0.2, 0)[1], train_test_split(100, 0.2, 1)[1])
    np.testing.assert_array_equal(train_test_split(100, 0.2, 1)[1], train_test_split(100, 0.2, 1)[1])


def test_groups_stay_together_and_parts_are_of_about_equal_size():
    rng = np.random.default_rng(0)
    groups = rng.integers(40, size=500)
    folds = make_folds(500, 5, 0, groups=groups)
    assert sorted(np.concatenate([fold.validation for fold in folds])) == list(range(500))
    for fold in folds:
        assert not set(groups[fold.train]) & set(groups[fold.validation])
        assert 80 <= fold.validation.size <= 120
    training, test = train_test_split(500, 0.2, 0, groups=groups)
    assert not set(groups[training]) & set(groups[test])
    assert 80 <= test.size <= 130


def test_too_few_groups_are_rejected():
    with pytest.raises(TableError, match=r"4 folds need .* groups .* the rows have 3"):
        make_folds(30, 4, 0, groups=np.arange(30) % 3)


def test_rows_with_an_order_are_validated_on_later_rows():
    order = np.random.default_rng(0).permutation(200)
    folds = make_folds(200, 4, 0, order=order)
    for fold in folds:
        assert order[fold.train].max() < order[fold.validation].min()
    assert [fold.train.size for fold in folds] == [99, 124, 149, 174]
    assert sum(fold.validation.size for fold in folds) == 101
    training, test = train_test_split(200, 0.2, 0, order=order)
    assert order[training].max() < order[test].min()
    assert test.size in (39, 40)


def test_rows_of_one_time_are_not_split():
    order = np.repeat(np.arange(10), 7)
    for fold in make_folds(70, 3, 0, order=order):
        assert not set(order[fold.train]) & set(order[fold.validation])
        assert fold.train.size
        assert fold.validation.size
    training, test = train_test_split(70, 0.25, 0, order=order)
    assert not set(order[training]) & set(order[test])
    with pytest.raises(TableError, match=r"3 folds need 4 different times .* the rows have 3"):
        make_folds(30, 3, 0, order=np.arange(30) % 3)


@pytest.mark.parametrize(("rows_per_time", "n_test"), [([350, 350, 300], 300), ([2, 98], 98), ([100], 0)])
def test_the_last_time_is_for_the_test_even_if_it_has_more_rows_than_the_fraction(rows_per_time, n_test):
    order = np.repeat(np.arange(len(rows_per_time)), rows_per_time)
    assert train_test_split(len(order), 0.2, 0, order=order)[1].size == n_test


def test_every_fold_has_validation_rows_even_if_one_time_has_nearly_all_rows():
    order = np.concatenate([np.arange(10), np.full(90, 5.5)])
    for fold in make_folds(100, 3, 0, order=order):
        assert fold.train.size
        assert fold.validation.size
        assert order[fold.train].max() < order[fold.validation].min()


def test_groups_and_order_exclude_each_other():
    with pytest.raises(TableError, match="not by both"):
        make_folds(10, 2, 0, groups=np.arange(10), order=np.arange(10))


def test_repeated_folds_are_shuffled_anew():
    folds = validation_folds(100, 5, 3, 0, np.zeros(100))
    assert len(folds) == 15
    assert not np.array_equal(folds[0].validation, folds[5].validation)
    assert all(sum(row in fold.validation for fold in folds) == 3 for row in (0, 50, 99))
    assert len(validation_folds(100, 5, 3, 0, np.zeros(100), order=np.arange(100))) == 5
