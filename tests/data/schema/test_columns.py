import datetime as dt

import polars as pl
import pytest

from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.errors import TableError

TRAINING = pl.DataFrame(
    {"n": [str(i * 1.5) for i in range(40)], "c": ["a", "b"] * 20, "d": ["2020-01-01", "2020-01-02"] * 20}
)
SCHEMA = infer_schema(TRAINING, 64)


def test_a_missing_column_is_an_error_that_suggests_the_nearest_name():
    with pytest.raises(TableError, match=r"lacks 'n'.*Did you mean 'N'\?"):
        SCHEMA.read(TRAINING.rename({"n": "N"}))


def test_extra_columns_and_column_order_do_not_matter():
    other = TRAINING.with_columns(extra=pl.lit(1)).select("extra", "d", "c", "n")
    assert SCHEMA.read(other).equals(SCHEMA.read(TRAINING))


def test_typed_values_and_text_read_the_same():
    typed = TRAINING.with_columns(pl.col("n").cast(pl.Float64), pl.col("d").str.to_date())
    assert SCHEMA.read(typed).equals(SCHEMA.read(TRAINING))


def test_words_in_columns_of_numbers_or_dates_are_an_error():
    with pytest.raises(TableError, match="'n' must hold numbers, as in training, but 40 of 40 cells do not"):
        SCHEMA.read(TRAINING.with_columns(n=pl.lit("many")))
    with pytest.raises(TableError, match="'d' must hold dates"):
        SCHEMA.read(TRAINING.with_columns(d=pl.lit("soon")))


def test_one_stray_word_is_missing():
    assert SCHEMA.read(pl.DataFrame({"n": ["1", "oops"], "c": ["a", "new"], "d": ["?", "2020-01-01"]})).row(1) == (
        None, "new", 18262.0, 1.0, 3.0
    )  # fmt: skip


def test_infinite_numbers_are_an_error_in_later_tables_too():
    with pytest.raises(TableError, match="infinite number in row 2"):
        SCHEMA.read(TRAINING[:2].with_columns(n=pl.Series(["1", "-inf"])))


def test_the_kind_of_a_column_follows_from_its_type():
    frame = pl.DataFrame(
        {
            "i": [1, 2],
            "f": [1.5, None],
            "b": [True, False],
            "s": ["1", "2"],
            "c": pl.Series(["a", "b"], dtype=pl.Categorical),
            "d": [dt.date(2020, 1, 1), None],
        }
    )
    assert [column.kind for column in schema_from_dtypes(frame).columns] == [
        "number",
        "number",
        "boolean",
        "category",
        "category",
        "date",
    ]
    (column,) = schema_from_dtypes(pl.DataFrame({"l": [[1, 2], [3]]})).columns
    assert (column.kind, column.include) == ("sequence", True)
    with pytest.raises(TableError, match=r"'o' must hold numbers.* its type is Object"):
        schema_from_dtypes(pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}))


def test_booleans_may_be_words_or_1_and_0():
    schema = infer_schema(pl.DataFrame({"b": [True, False, None]}), 64)
    for cells in (["yes", "no", ""], ["1", "0", "?"], [1, 0, None], [1.0, 0.0, None], ["TRUE", "False", "na"]):
        assert schema.read(pl.DataFrame({"b": cells}))["b"].to_list() == ["true", "false", None]


def test_columns_of_another_kind_than_in_training_are_an_error():
    with pytest.raises(TableError, match="'n' must hold numbers, as in training, but its cells are of type List"):
        SCHEMA.read(TRAINING[:2].with_columns(n=pl.Series([[1], [2]])))
    typed = schema_from_dtypes(pl.DataFrame({"d": [dt.date(2020, 1, 1)]}))
    with pytest.raises(TableError, match=r"'d' must hold dates.*, as in training"):
        typed.read(pl.DataFrame({"d": ["next tuesday", "later"]}))


def test_parts_of_a_date_do_not_collide_with_columns_of_that_name():
    frame = pl.DataFrame({"d": [dt.date(2020, 1, 1), dt.date(2021, 1, 1)], "d (day)": [1.0, 2.0]})
    assert schema_from_dtypes(frame).read(frame).columns == [
        "d (day)'",
        "d (month)",
        "d (weekday)",
        "d (hour)",
        "d (day)",
    ]
