import time

import numpy as np
import pytest

from rosenblatt.data.tasks.target import Target
from rosenblatt.models.bootstrap import MAX_UNITS, Resampling, Totals, confidence_intervals
from rosenblatt.models.evaluation import score_predictions
from rosenblatt.models.metrics import auc, mean

BINARY = Target(names=("y",), task="binary", labels=("no", "yes"))
N_SIMULATIONS = 200
TOLERANCE = 0.045  # three standard errors of a coverage of 95 % over so many simulations


def simulate_binary(rng, n):
    y = rng.integers(2, size=n).astype(float)
    p = 1 / (1 + np.exp(-(2 * y - 1 + 1.5 * rng.normal(size=n))))
    return y, np.column_stack([1 - p, p])


def intervals_by_name(scores):
    return {score.name: score.interval for score in scores}


def coverage(intervals, truth):
    """Fraction of intervals that contain the true score."""
    return np.mean([low <= truth <= high for low, high in intervals])


def mean_interval(values, resampling=None):
    def compute(rows, sum_resamples):
        return {"mean": mean(values[rows], Totals(None, sum_resamples))}

    scores = {"mean": values.mean()}
    return confidence_intervals(compute, scores, len(values), resampling or Resampling(), 1).get("mean")


def test_intervals_cover_the_true_scores_of_two_classes_as_often_as_they_claim():
    rng = np.random.default_rng(0)
    truth = {score.name: score.model for score in score_predictions(BINARY, *simulate_binary(rng, 400_000), [0.5, 0.5])}
    intervals = [
        intervals_by_name(score_predictions(BINARY, *simulate_binary(rng, 150), [0.5, 0.5], Resampling()))
        for _ in range(N_SIMULATIONS)
    ]
    for name, true_score in truth.items():
        assert coverage([row[name] for row in intervals], true_score) == pytest.approx(0.95, abs=TOLERANCE), name


def test_intervals_of_groups_cover_the_true_mean_and_those_of_single_rows_do_not():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(50), 8)
    samples = [rng.normal(size=50)[groups] + rng.normal(size=400) for _ in range(N_SIMULATIONS)]
    by_group = [mean_interval(sample, Resampling(groups)) for sample in samples]
    assert coverage(by_group, 0.0) == pytest.approx(0.95, abs=TOLERANCE)
    assert coverage([mean_interval(sample) for sample in samples], 0.0) < 0.75


def test_few_groups_and_few_blocks_have_no_interval():
    assert mean_interval(np.arange(100.0), Resampling(np.arange(100) % 9)) is None
    assert mean_interval(np.arange(100.0), Resampling(block_length=11)) is None
    assert mean_interval(np.arange(100.0), Resampling(block_length=10)) is not None


def test_a_score_that_is_constant_has_an_interval_of_width_zero():
    y = np.array([0.0, 1.0] * 20)
    scores = intervals_by_name(score_predictions(BINARY, y, np.full((40, 2), 0.5), [0.5, 0.5], Resampling()))
    assert scores["AUC"] == pytest.approx((0.5, 0.5))
    assert scores["balanced accuracy"] == (0.5, 0.5)
    assert scores["log loss"] == pytest.approx((np.log(2), np.log(2)))
    values = Target.fit_regression(("v",), np.arange(40.0)[:, None], "none")
    scores = intervals_by_name(score_predictions(values, np.ones((40, 1)), np.ones((40, 1)), [0.0], Resampling()))
    assert scores["mean absolute error"] is None  # all predictions are exact, which says nothing about other rows
    assert "R2" not in scores


def test_resamples_of_one_class_are_left_out():
    y = np.zeros(40)
    y[[0, 3]] = 1  # 13 % of the resamples have no positive row
    p = np.linspace(1, 0, 40)
    low, high = intervals_by_name(
        score_predictions(BINARY, y, np.column_stack([1 - p, p]), [0.95, 0.05], Resampling())
    )["AUC"]
    assert 0.85 < low < high <= 1


def test_perfect_scores_have_an_exact_interval_or_none():
    y = np.array([0.0, 1.0] * 6)
    intervals = intervals_by_name(score_predictions(BINARY, y, np.column_stack([1 - y, y]), [0.5, 0.5], Resampling()))
    assert intervals["accuracy"] == pytest.approx((0.025 ** (1 / 12), 1.0))  # as scipy.stats.binomtest(12, 12)
    assert [intervals[name] for name in ("AUC", "F1 of yes", "balanced accuracy")] == [None] * 3
    intervals = intervals_by_name(score_predictions(BINARY, y, np.column_stack([y, 1 - y]), [0.5, 0.5], Resampling()))
    assert intervals["accuracy"] == pytest.approx((0.0, 1 - 0.025 ** (1 / 12)))


def test_resampled_areas_are_close_to_exact_ones():
    rng = np.random.default_rng(6)
    y, p = simulate_binary(rng, 300)
    counts = np.stack([np.bincount(rng.integers(300, size=300), minlength=300) for _ in range(50)])
    resampled = auc(y == 1, p[:, 1], Totals(None, lambda values: values @ counts.T))
    exact = [auc(np.repeat(y == 1, count), np.repeat(p[:, 1], count)) for count in counts]
    assert np.std(resampled - exact) < 0.1 * np.std(exact)
    weight = rng.integers(1, 5, 300).astype(float)
    weighted = auc(y == 1, p[:, 1], Totals(weight, lambda values: values @ counts.T))
    exact = [auc(y == 1, p[:, 1], Totals(weight * count)) for count in counts]
    assert np.std(weighted - exact) < 0.1 * np.std(exact)


def test_intervals_of_weighted_scores_cover_the_scores_of_the_population():
    def weighted_sample(n):  # rows of class yes are drawn three times as often as they occur in the population
        y, p = simulate_binary(rng, n)
        weight = np.where(y == 1, 1.0, 3.0)
        return score_predictions(BINARY, y, p, [0.5, 0.5], Resampling(), weight)

    rng = np.random.default_rng(2)
    truth = {score.name: score.model for score in weighted_sample(200_000)}
    intervals = [intervals_by_name(weighted_sample(150)) for _ in range(N_SIMULATIONS)]
    for name, true_score in truth.items():
        assert coverage([row[name] for row in intervals], true_score) == pytest.approx(0.95, abs=TOLERANCE), name


def test_the_exact_interval_of_weighted_rows_counts_their_effective_number():
    y, weight = np.array([0.0, 1.0] * 20), np.array([1.0, 0.0001] * 20)
    scores = score_predictions(BINARY, y, np.column_stack([1 - y, y]), [0.5, 0.5], Resampling(), weight)
    assert intervals_by_name(scores)["accuracy"] == pytest.approx((0.025 ** (1 / 20), 1.0), abs=1e-3)


def test_large_tests_are_sampled_and_their_intervals_as_narrow_as_those_of_all_rows():
    values = np.random.default_rng(7).normal(size=4 * MAX_UNITS)
    low, high = mean_interval(values)
    assert high - low == pytest.approx(3.92 / np.sqrt(len(values)), rel=0.15)
    assert low < values.mean() < high


def test_intervals_of_ten_thousand_rows_take_a_fraction_of_a_second():
    y, p = simulate_binary(np.random.default_rng(8), 10_000)
    started = time.process_time()
    score_predictions(BINARY, y, p, [0.5, 0.5], Resampling())
    assert time.process_time() - started < 1  # 0.1 s on one core of 2020; room for slower machines


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1, 1e8])
def test_intervals_of_errors_have_the_scale_of_the_target(scale):
    y = np.random.default_rng(6).normal(size=(60, 1))
    target = Target.fit_regression(("v",), y * scale, "none")
    intervals = intervals_by_name(score_predictions(target, y * scale, 0.9 * y * scale, [0.0], Resampling()))
    low, high = intervals["mean absolute error"]
    assert 0.05 * scale < low < high < 0.2 * scale
