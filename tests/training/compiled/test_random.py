import numpy as np

from rosenblatt.training.compiled.random import apply_dropout, shuffle


def test_shuffle_is_a_permutation_that_depends_only_on_the_counter():
    first, second, counter = np.arange(1000), np.arange(1000), np.array([7], np.uint64)
    shuffle(first, counter)
    shuffle(second, np.array([7], np.uint64))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), np.arange(1000))
    assert not np.array_equal(first, np.arange(1000))
    shuffle(second, counter)
    assert not np.array_equal(first, second)


def test_shuffle_puts_every_row_at_every_position_equally_often():
    counts = np.zeros((5, 5))
    counter = np.zeros(1, np.uint64)
    for _ in range(20_000):
        order = np.arange(5)
        shuffle(order, counter)
        counts[order, np.arange(5)] += 1
    assert np.abs(counts / 4000 - 1).max() < 0.06  # four standard deviations


def test_dropout_keeps_the_mean_and_drops_the_requested_fraction():
    a = np.ones(200_000, np.float32)
    apply_dropout(a, 0.25, np.array([3], np.uint64))
    assert abs((a == 0).mean() - 0.25) < 0.005
    assert abs(a.mean() - 1) < 0.01


def test_equal_counters_drop_the_same_units():
    first, second = np.ones(1000), np.ones(1000)
    apply_dropout(first, 0.5, np.array([3], np.uint64))
    apply_dropout(second, 0.5, np.array([3], np.uint64))
    np.testing.assert_array_equal(first, second)
