"""Forecasts of time series with recurrent networks."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from rosenblatt.errors import TableError
from rosenblatt.estimators.forecaster import RNNForecaster

pytestmark = pytest.mark.torch

FAST = {"members": 1, "folds": 1, "n_jobs": 1}


def test_series_are_forecast():
    series = [abs(step % 8 - 4) for step in range(160)]
    network = RNNForecaster(horizon=4, epochs=40, recurrent_width=16, learning_rate=0.01, **FAST).fit(series)
    assert abs(network.predict() - [4, 3, 2, 1]).max() < 0.7
    several = network.predict([series[:50], series[:53]])
    assert several.shape == (2, 4)
    assert network.score([series[:50], series[:51]], [series[50:54], series[51:55]]) > 0.5


def test_series_may_be_frames_with_or_without_times(tmp_path):
    config = {"horizon": 2, "epochs": 2, "recurrent_width": 4, "random_state": 1, **FAST}
    first_series, second_series = [float(step % 5) for step in range(40)], [float(step % 3) for step in range(30)]
    column_forecaster = RNNForecaster(**config).fit(pd.DataFrame({"a": first_series, "b": first_series}))
    np.testing.assert_array_equal(
        RNNForecaster(**config).fit([first_series, first_series]).predict(), column_forecaster.predict()
    )
    series_forecaster = RNNForecaster(**config).fit(pd.Series(first_series))
    np.testing.assert_array_equal(
        series_forecaster.predict(), RNNForecaster(**config).fit(np.array(first_series)).predict()
    )
    series_forecaster.save(tmp_path / "s.rosenblatt")
    loaded = clone(RNNForecaster.load(tmp_path / "s.rosenblatt")).fit(first_series)
    np.testing.assert_array_equal(loaded.predict(), series_forecaster.predict())
    days = pd.date_range("2024-01-01", periods=40).to_list()
    table = pd.DataFrame(
        {
            "day": days + days[:32],
            "shop": ["x"] * 40 + ["y"] * 32,
            "sold": [*first_series, *second_series, None, None],
            "open": [True, False] * 36,
        }
    )
    forecaster = RNNForecaster(time="day", series="shop", known_covariates=("open",), **config).fit(table[:-2], "sold")
    with pytest.raises(TableError, match="'open' is known in advance, but series 'x' has only 0 of 2 rows"):
        forecaster.predict()
    future_rows = table[40:]
    assert forecaster.predict(future_rows).shape == (1, 2)
    forecaster.save(tmp_path / "m.rosenblatt")
    restored = RNNForecaster.load(tmp_path / "m.rosenblatt")
    assert restored.known_covariates == ("open",)
    np.testing.assert_array_equal(restored.predict(future_rows), forecaster.predict(future_rows))
    assert restored.score(table) == forecaster.score(table)
    with pytest.raises(TableError, match="not saved in the model file"):
        restored.predict()
    with pytest.raises(TableError, match="X must be a frame and y the name of the column"):
        forecaster.fit(table)


def test_forecasts_are_scored_by_r2_and_epochs_are_chosen_by_the_given_scorer():
    series = [float(step % 4) for step in range(60)]
    config = {"horizon": 2, "epochs": 3, "recurrent_width": 4, **FAST}
    network = RNNForecaster(scoring="neg_mean_absolute_error", **config).fit(series)
    assert network.model_.resolved_spec.training.scoring == "neg_mean_absolute_error"
    assert network.n_iter_ == 3
    predictions = network.predict([series[:50]])
    assert network.score([series[:50]], predictions) == 1
    assert -10 < network.score(series[:50], series[50:52]) < 1
    with pytest.raises(TableError, match="holds one value only"):
        RNNForecaster(**config).fit([7.0] * 40)
    with pytest.raises(TableError, match=r"too short to forecast: '1'\. Remove them"):
        network.predict([series, [1.0]])


@pytest.mark.parametrize(
    ("network", "X", "message"),
    [
        (RNNForecaster(horizon=9, **FAST), [1.0, 2.0, 3.0], "No series is longer"),
        (RNNForecaster(**FAST), [], "X holds no series"),
        (RNNForecaster(**FAST), ["a", "b"], "X must be a series of numbers"),
        (RNNForecaster(**FAST), np.zeros((9, 4, 2)), "X must be a series of numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_unusable_series_are_rejected_with_the_reason(network, X, message):
    with pytest.raises(TableError, match=message):
        network.fit(X)
