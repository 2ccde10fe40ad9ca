import numpy as np
import polars as pl

from rosenblatt.data.table import Table
from rosenblatt.inspection.partial_dependence import MAX_GRID_POINTS, MAX_ROWS, partial_dependence
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from tests.inspection.models import linear_model


def test_a_linear_model_has_its_slope():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.normal(size=1000), "b": rng.normal(size=1000)})
    (result,) = partial_dependence(linear_model([2.0, -1.0]), frame, ["a"])
    assert result.values.shape == (MAX_ROWS, MAX_GRID_POINTS, 1)
    np.testing.assert_allclose(np.diff(result.mean[:, 0]) / np.diff(result.grid), 2, rtol=1e-3)
    low, high = np.quantile(frame["a"].to_numpy(), [0.05, 0.95])
    np.testing.assert_allclose(result.grid[[0, -1]], [low, high])


def test_columns_with_one_value_are_left_out():
    frame = pl.DataFrame({"a": [1.0, 1.0], "b": [0.0, None]})
    assert partial_dependence(linear_model([2.0, -1.0]), frame, ["a", "b"]) == []


def test_categories_are_tried_one_by_one(people):
    spec = Spec.from_hyperparameters(members=1, epochs=20, hidden_sizes=(16,), bins=8)
    model = fit(Table(people, "t"), ["rich"], spec, notify=lambda _: None).model
    (city,) = partial_dependence(model, people, ["city"])
    assert city.grid.tolist() == ["Lima", "Oslo", "Rome"]
    assert city.outputs == ("probability of yes",)
    assert city.mean[1, 0] > city.mean[[0, 2], 0].max()  # people of Oslo are richer
    everyone = people[np.sort(np.random.default_rng(0).permutation(300)[:MAX_ROWS]).tolist()]
    oslo = model.predict_raw(everyone.with_columns(city=pl.lit("Oslo")))[:, 1]
    np.testing.assert_allclose(city.values[:, 1, 0], oslo)
