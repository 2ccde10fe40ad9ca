import numpy as np

from rosenblatt.inspection.prediction_intervals import PredictionIntervals, cross_validated_coverage


def test_intervals_are_quantiles_of_the_residuals_of_similar_predictions():
    predictions = np.repeat([0.0, 10.0], 21)
    y = predictions + np.concatenate([np.arange(-10, 11), 3.0 * np.arange(-10, 11)])
    intervals = PredictionIntervals.fit(y, predictions)
    np.testing.assert_allclose(intervals.lower, [-9.9, -29.7])  # at rank 22 / 20 of 21 residuals
    np.testing.assert_allclose(intervals.upper, [9.9, 29.7])
    lower, upper = intervals.predict(np.array([-5.0, 0.0, 10.0, 99.0]))
    np.testing.assert_allclose(lower, [-14.9, -9.9, -19.7, 69.3])
    np.testing.assert_allclose(upper, [4.9, 9.9, 39.7, 128.7])


def test_few_rows_have_no_intervals():
    assert PredictionIntervals.fit(np.zeros(39), np.zeros(39)) is None
    assert np.isnan(cross_validated_coverage(np.zeros(39), np.zeros(39)))


def test_coverage_is_measured_on_other_rows():
    rng = np.random.default_rng(0)
    predictions = rng.uniform(size=5000)
    y = predictions + rng.normal(size=5000)
    assert abs(cross_validated_coverage(y, predictions) - 0.9) < 0.015
    few = slice(0, 100)
    assert abs(cross_validated_coverage(y[few], predictions[few]) - 0.9) < 0.05


def test_small_bins_cover_as_much_as_they_claim():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(300):
        intervals = PredictionIntervals.fit(rng.normal(size=40), np.zeros(40))
        lower, upper = intervals.predict(np.zeros(40))
        y = rng.normal(size=40)
        inside.append(((y >= lower) & (y <= upper)).mean())
    assert abs(np.mean(inside) - 0.9) < 0.015
