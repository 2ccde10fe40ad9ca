import numpy as np

from rosenblatt.inspection.prediction_intervals import PredictionIntervals, cross_validated_coverage


def test_intervals_are_quantiles_of_the_residuals_of_similar_predictions():
    predictions = np.repeat([0.0, 10.0], 21)
    y = predictions + np.concatenate([np.arange(-10, 11), 3.0 * np.arange(-10, 11)])
    intervals = PredictionIntervals.fit(y, predictions)
    np.testing.assert_allclose(intervals.lower, [-9, -27])
    np.testing.assert_allclose(intervals.upper, [9, 27])
    lower, upper = intervals.predict(np.array([-5.0, 0.0, 10.0, 99.0]))
    np.testing.assert_allclose(lower, [-14, -9, -17, 72])
    np.testing.assert_allclose(upper, [4, 9, 37, 126])


def test_few_rows_have_no_intervals():
    assert PredictionIntervals.fit(np.zeros(39), np.zeros(39)) is None
    assert np.isnan(cross_validated_coverage(np.zeros(39), np.zeros(39)))


def test_coverage_is_measured_on_other_rows():
    rng = np.random.default_rng(0)
    predictions = rng.uniform(size=5000)
    y = predictions + rng.normal(size=5000)
    assert abs(cross_validated_coverage(y, predictions) - 0.9) < 0.015
    few = slice(0, 100)
    intervals = PredictionIntervals.fit(y[few], predictions[few])
    lower, upper = intervals.predict(predictions[few])
    inside = ((y[few] >= lower) & (y[few] <= upper)).mean()
    assert cross_validated_coverage(y[few], predictions[few]) < inside  # which is optimistic
