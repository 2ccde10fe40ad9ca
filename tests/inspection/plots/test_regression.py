import numpy as np

from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.plots.regression import (
    errors_by_horizon,
    regression_plots,
    residuals,
    true_against_predicted,
)

TARGET = Target(names=("u", "$v$"), task="regression", center=(0, 0), scale=(1, 1))


def test_each_target_has_its_predictions_and_its_residuals():
    y = np.random.default_rng(0).integers(-9, 9, (100, 2)).astype(float)
    errors = np.tile([0.5, -0.25], (100, 1))
    plots = list(regression_plots(TARGET, y, y + errors))
    assert [plot.title for plot in plots] == [
        "True and predicted values: u",
        "Residuals: u",
        "True and predicted values: $v$",
        "Residuals: $v$",
    ]
    axes = [plot.figure.axes[0] for plot in plots]
    assert [ax.get_xlabel() for ax in axes[::2]] == ["predicted u", "predicted $v$"]
    for k in range(2):
        scatter, histogram = axes[2 * k : 2 * k + 2]
        points = scatter.lines[0].get_xydata()
        np.testing.assert_allclose(np.sort(points[:, 1]), np.sort(y[:, k]))
        np.testing.assert_allclose(points[:, 0] - points[:, 1], errors[:, k])
        assert sum(bar.get_height() for bar in histogram.patches) == 100
        (bar,) = (bar for bar in histogram.patches if bar.get_height())
        assert bar.get_x() - 1e-9 <= errors[0, k] <= bar.get_x() + bar.get_width() + 1e-9


def test_residuals_can_be_equal_up_to_rounding():
    y = np.random.default_rng(0).normal(size=100)
    (histogram,) = residuals("u", y, y + 0.5).figure.axes
    assert sum(bar.get_height() for bar in histogram.patches) == 100


def test_the_band_contains_nine_of_ten_rows_and_the_caption_says_how_it_was_measured():
    rng = np.random.default_rng(0)
    predictions = rng.uniform(0, 10, 2000)
    y = predictions + rng.normal(0, 1 + predictions, 2000)
    plot = true_against_predicted("u", y, predictions)
    (band,) = plot.figure.axes[0].collections
    (path,) = band.get_paths()
    points = np.column_stack([predictions, y])
    assert abs(path.contains_points(points).mean() - 0.9) < 0.02
    assert "in 10 bins of the predicted value" in plot.caption
    assert "covers" in plot.caption


def test_few_rows_have_no_intervals():
    plot = true_against_predicted("u", np.arange(39.0), np.arange(39.0))
    assert not plot.figure.axes[0].collections
    assert "they need 40 rows" in plot.caption


def test_errors_by_horizon_compare_with_the_last_value():
    y = np.array([[1.0, 2.0], [3.0, 6.0]])
    predictions = y + np.array([[1.0, -2.0], [-1.0, 4.0]])
    (ax,) = errors_by_horizon("u", y, predictions, np.array([0.0, 3.0])).figure.axes
    model, last_value, _ = ax.lines
    assert model.get_xydata().tolist() == [[1, 1], [2, 3]]
    assert last_value.get_xydata().tolist() == [[1, 0.5], [2, 2.5]]
