import polars as pl
import pytest

from rosenblatt.errors import TableError
from rosenblatt.inspection.column_effects import column_effects
from tests.inspection.models import linear_model
from tests.serving.people_model import ROW, make_model, people


def test_the_effect_of_a_column_of_a_linear_model_is_its_weight_times_the_distance_to_the_median():
    model = linear_model([2.0, -3.0])  # fitted to 0 and 1, whose median is 0.5
    result = column_effects(model, pl.DataFrame({"a": [2.5], "b": [1.5]}))
    assert result.value == pytest.approx(2 * 2.5 - 3 * 1.5)
    assert {effect.column: effect.effect for effect in result.effects} == pytest.approx({"a": 4.0, "b": -3.0})
    assert [effect.column for effect in result.effects] == ["a", "b"]  # the largest first
    assert result.effects[0].typical == "0.5, the training median"


def test_the_effect_of_a_category_and_a_date_is_that_of_a_missing_cell_and_of_median_parts():
    model, row = make_model(), people()[1:2]
    result = column_effects(model, row, "high")
    assert result.output == "probability of high"
    effects = {effect.column: effect for effect in result.effects}
    assert effects.keys() == ROW.keys()
    missing = row.with_columns(pl.lit(None, pl.String).alias("city"))
    change = (model.predict_proba(row) - model.predict_proba(missing))[0, 2]
    assert effects["city"].effect == pytest.approx(change)
    assert effects["since"].typical == "the training medians of its parts"


def test_an_unknown_answer_is_refused_with_the_nearest_one():
    with pytest.raises(TableError, match="Did you mean 'high'"):
        column_effects(make_model(), people()[:1], "highh")
