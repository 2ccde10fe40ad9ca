import numpy as np
import pytest

from rosenblatt.inspection.thresholds import best_f1_threshold, count_at_threshold, threshold_table

Y = np.array([1, 0, 1, 1, 0, 0, 0, 1]) == 1
P = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1])


def test_counts_and_rates_at_a_threshold():
    counts = count_at_threshold(Y, P, 0.5)
    assert (counts.true_positives, counts.false_positives) == (3, 1)
    assert (counts.false_negatives, counts.true_negatives) == (1, 3)
    assert (counts.precision, counts.recall, counts.f1) == (0.75, 0.75, 0.75)
    assert (counts.false_positive_rate, counts.predicted_positive) == (0.25, 0.5)
    assert np.isnan(count_at_threshold(Y, P, 0.95).precision)


def test_a_probability_equal_to_the_threshold_is_negative_as_in_the_predictions():
    assert count_at_threshold(Y, P, 0.9).true_positives == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_better_f1(seed):
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=50).round(1)
    y = rng.uniform(size=50) < p
    best = count_at_threshold(y, p, best_f1_threshold(y, p)).f1
    assert best == max(count_at_threshold(y, p, t).f1 for t in np.linspace(0, 1, 1001))


def test_the_best_threshold_is_a_short_number():
    assert best_f1_threshold(Y, P) == 0.5  # between 0.4 and 0.6
    assert best_f1_threshold(np.array([True, False]), np.array([0.51238, 0.51234])) == 0.51236


def test_the_table_marks_the_default_and_the_best_threshold():
    y = np.array([True, True, False, False])
    table = threshold_table(y, np.array([0.9, 0.36, 0.3, 0.2]), "<yes>")
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == ["0.1", "0.2", "0.3", "0.33", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]
    assert rows["0.33"] == ("0.33", "100.0%", "100.0%", "100.0%", "0.0%", "50.0%", "2", "0", "0", "2", "best F1")
    assert rows["0.5"] == ("0.5", "100.0%", "50.0%", "66.7%", "0.0%", "25.0%", "1", "0", "1", "2", "default")
    assert rows["0.9"][1] == "–"
    assert table.highlighted == {3, 5}
    assert table.caption.startswith("<yes> is predicted if")
