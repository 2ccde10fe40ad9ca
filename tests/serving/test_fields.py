import numpy as np
import polars as pl
import pytest

from rosenblatt.serving.fields import make_fields
from rosenblatt.web.errors import RequestError
from tests.inspection.models import linear_model
from tests.serving.people_model import ROW, make_model


@pytest.fixture(scope="module")
def fields():
    return make_fields(make_model())


def test_fields_are_the_inputs_of_the_model_and_other_columns_are_ignored(fields):
    assert [(field.name, field.kind) for field in fields.fields] == [
        ("age", "number"), ("city", "category"), ("member", "boolean"), ("since", "date"),
    ]  # fmt: skip
    assert {"id", "income"} <= fields.ignored
    assert not fields.check_rows([{**ROW, "id": 7, "income": "low"}]).notes


def test_a_row_has_a_value_for_each_field(fields):
    row = {name: cell for name, cell in ROW.items() if name != "city"}
    with pytest.raises(RequestError, match=r"Row 2 lacks the field 'city', .* Give null if it is unknown"):
        fields.check_rows([ROW, row])
    with pytest.raises(RequestError, match="Did you mean 'citty'") as error:
        fields.check_rows([{**row, "citty": "Oslo"}])
    assert error.value.place == {"field": "city", "row": 1}


def test_a_wrong_cell_is_named_by_row_and_field(fields):
    with pytest.raises(RequestError, match=r"Row 2: 'age' must be a finite number or null, but holds 'x'\.") as error:
        fields.check_rows([ROW, {**ROW, "age": "x"}])
    assert (error.value.status, error.value.place) == (422, {"row": 2, "field": "age"})


def test_columns_must_be_equally_long(fields):
    with pytest.raises(RequestError, match="'age' has 2 and 'city' has 1"):
        fields.check_columns({"age": [1, 2], "city": ["Oslo"], "member": [None], "since": [None]})


def test_rows_columns_and_arrow_give_the_same_frame(fields):
    rows = fields.check_rows([ROW, dict.fromkeys(ROW)]).values
    columns = fields.check_columns({name: [cell, None] for name, cell in ROW.items()}).values
    arrow = pl.DataFrame({name: [cell, None] for name, cell in ROW.items()})
    assert rows.equals(columns)
    assert rows.equals(fields.check_frame(arrow).values)


def test_unseen_categories_far_numbers_and_unused_fields_are_noted(fields):
    notes = fields.check_rows([{**ROW, "age": 1e6, "city": "Paris", "hight": 1}]).notes
    assert [note.split(" (")[0] for note in notes] == [
        "age: numbers far outside the range in training",
        "city: categories not seen in training",
        "fields that the model does not use: 'hight'",
    ]
    assert not fields.check_rows([{**ROW, "city": " Oslo "}, {**ROW, "city": ""}]).notes


def test_rows_of_plain_numbers_are_a_matrix():
    fields = make_fields(linear_model([1.0, 2.0]))
    rows = fields.check_rows([{"a": 1, "b": None}, {"b": 2.5, "a": -1}])
    np.testing.assert_array_equal(rows.values, [[1, np.nan], [-1, 2.5]])
    arrow = fields.check_frame(pl.DataFrame({"b": [2.5], "a": [1]}))
    np.testing.assert_array_equal(arrow.values, [[1, 2.5]])


def test_a_form_gives_one_row(fields):
    row = fields.check_form({"age": "39.5", "city": "Oslo", "member": "true", "since": "2024-02-29"})
    assert row.values.equals(fields.check_rows([ROW]).values)
    assert fields.check_form({**dict.fromkeys(ROW, ""), "since": "2024-02-29"}).values["age"][0] is None
    with pytest.raises(RequestError, match="'age' must be a finite number or null, but holds 'x'"):
        fields.check_form({"age": "x", "city": "Oslo", "member": "true", "since": "2024-02-29"})
