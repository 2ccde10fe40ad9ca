import polars as pl
import pytest

from rosenblatt.data.schema.decimal_marks import adapt_formats, count_marks, detect_marks
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.schema.numbers import NumberFormat
from rosenblatt.data.table import TableFormat
from rosenblatt.errors import TableError


@pytest.mark.parametrize(
    ("cell", "mark"),
    [
        ("37,25", ","), ("0,644", ","), ("00,5", ","), ("1.234,5", ","), ("12,3456", ","), (",5", ","),
        ("1234,567", ","),
        ("1.234.567", ","), ("1 234,567", ","), ("1,2e5", ","), ("12,5 %", ","), ("R$ 1.234,50", ","), ("-0,125", ","),
        ("37.25", "."), ("0.644", "."), ("1,234.5", "."), ("1,234,567", "."), ("12.3456", "."), (".5", "."),
        ("12,34,567.00", "."), ("1'234.567", "."), ("$5.5", "."), ("1234.567", "."),
        ("719,125", None), ("1.234", None), ("12", None), ("1 234", None), ("31.12.2020", None), ("a,b", None),
        ("1.2.3", None), ("1e5", None),
    ],
)  # fmt: skip
def test_a_number_proves_a_decimal_mark_if_it_has_one_reading(cell, mark):
    assert count_marks(pl.Series([cell])).mark == mark


def test_a_rare_number_in_a_long_column_proves_its_mark():
    cells = pl.Series(["719,125"] * 10_000).scatter(5_001, "0,5")
    assert count_marks(cells).mark == ","


def read(columns, **format):
    frame, table_format = pl.DataFrame(columns), TableFormat(**format)
    schema = infer_schema(frame, 64, table_format)
    return schema, {series.name: series.to_list() for series in schema.read(frame, format=table_format)}


@pytest.mark.parametrize(
    ("columns", "format", "numbers"),
    [
        ({"x": ["719,125", "538,250"], "y": ["37,25", "1,5"]}, {}, [719.125, 538.25]),
        ({"x": ["719,125", "538,250"], "y": ["37.25", "1.5"]}, {}, [719125, 538250]),
        ({"x": ["1.234", "895"], "y": ["37,25", "1,5"]}, {}, [1234, 895]),
        ({"x": ["1.234", "895"], "y": ["37.25", "1.5"]}, {}, [1.234, 895]),
        ({"x": ["0.535", "2.851"], "y": ["37,25", "1,5"]}, {}, [0.535, 2.851]),
        ({"x": ["719,125", "895"]}, {"separator": ","}, [719125, 895]),
        ({"x": ["719,125", "895"]}, {"separator": ";"}, [719.125, 895]),
        ({"x": ["1.234", "895"]}, {"separator": ";"}, [1.234, 895]),
        ({"x": ["1.234", "895"], "y": ["719,125", "2"]}, {"separator": ";"}, [1234, 895]),
        ({"x": ["719,125", "895"]}, {"decimal": ","}, [719.125, 895]),
        ({"x": ["719,125", "895"]}, {"decimal": ".", "separator": ";"}, [719125, 895]),
        ({"x": ["1.234", "895"]}, {"decimal": ","}, [1234, 895]),
        ({"x": ["1.234", "895"]}, {"thousands": "."}, [1234, 895]),
        ({"x": ["719,125", "895"]}, {"thousands": ",", "separator": ";"}, [719125, 895]),
        ({"x": ["1_000", "895"]}, {"thousands": "_"}, [1000, 895]),
    ],
)
def test_numbers_of_two_readings_follow_those_of_one_or_the_options(columns, format, numbers):
    assert read(columns, **format)[1]["x"] == numbers


def notes(columns, **format):
    return {column.name: column.note for column in read(columns, **format)[0].columns}


def test_a_guess_is_noted_with_the_option_that_decides():
    assert "use --decimal ," in notes({"x": ["719,125", "895"]})["x"]
    assert "use --thousands ," in notes({"x": ["719,125", "895"]}, separator=";")["x"]
    assert "use --thousands ." in notes({"x": ["1.234", "895"]})["x"]
    assert "use --" not in notes({"x": ["719,125", "895"]}, decimal=",")["x"]
    assert "use --" not in notes({"x": ["719,125", "895"], "y": ["1,5", "2"]})["x"]
    assert not notes({"x": ["1", "895"]})["x"]


def test_a_column_that_proves_the_other_mark_keeps_it_and_is_noted():
    schema, numbers = read({"x": ["0.535", "2.5"], "y": ["37,25", "1,5"], "z": ["1,25", "2"]})
    assert numbers["x"] == [0.535, 2.5]
    assert schema.columns[0].note == "numbers with a decimal point, unlike other columns (such as 0.535)"


def test_a_column_of_both_marks_is_an_error_but_a_few_cells_are_missing():
    with pytest.raises(TableError, match=r"'x' holds numbers with a decimal point, such as '0.5', .* such as '0,5'"):
        read({"x": ["0.5", "0,5", "1"]})
    schema, numbers = read({"x": [f"{i / 7:.2f}" for i in range(99)] + ["0,5"]})
    assert numbers["x"][-1] is None
    assert schema.columns[0].missing == 1


def adapt(cells, saved, **format):
    frame = pl.DataFrame(cells)
    formats = {name: NumberFormat(**fields) for name, fields in saved.items()}
    return {name: f.decimal for name, f in adapt_formats(frame, formats, TableFormat(**format)).items()}


COMMA, POINT = {"decimal": ","}, {"decimal": "."}


@pytest.mark.parametrize(
    ("cells", "saved", "marks"),
    [
        ({"x": ["0.125"]}, {"x": COMMA}, {"x": "."}),
        ({"x": ["0,125"]}, {"x": POINT}, {"x": ","}),
        ({"x": ["719,125"]}, {"x": COMMA}, {"x": ","}),
        ({"x": ["1.234"]}, {"x": POINT}, {"x": "."}),
        ({"x": ["1.234"]}, {"x": COMMA | {"thousands": "."}}, {"x": ","}),
        ({"x": ["719,125"]}, {"x": POINT | {"thousands": ","}}, {"x": "."}),
        ({"x": ["719,125"], "y": ["0.5"]}, {"x": COMMA, "y": COMMA}, {"x": ".", "y": "."}),
        ({"x": ["1.234"], "y": ["0,5"]}, {"x": COMMA, "y": COMMA}, {"x": ",", "y": ","}),
        ({"x": ["1.234"], "y": ["0.5"]}, {"x": COMMA, "y": COMMA}, {"x": ".", "y": "."}),
        ({"x": ["12"]}, {"x": COMMA}, {"x": ","}),
    ],
)
def test_a_later_table_is_read_in_the_style_that_it_proves_or_that_of_training(cells, saved, marks):
    assert adapt(cells, saved) == marks


def test_a_later_table_of_unknown_style_is_an_error_that_an_option_decides():
    with pytest.raises(TableError, match=r"'x' holds '1.234', where the point .* Use --decimal . or --thousands ."):
        adapt({"x": ["1.234"]}, {"x": COMMA})
    with pytest.raises(TableError, match="'719,125', where the comma"):
        adapt({"x": ["719,125"]}, {"x": POINT})
    with pytest.raises(TableError, match="'719,125', where the comma"):
        adapt({"x": ["719,125"]}, {"x": COMMA | {"thousands": ".", "has_decimals": False}})
    assert adapt({"x": ["1.234"]}, {"x": COMMA}, decimal=".") == {"x": "."}
    assert adapt({"x": ["1.234"]}, {"x": COMMA}, thousands=".") == {"x": ","}


@pytest.mark.parametrize(
    ("cells", "has_decimals"),
    [(["1.250", "980"], False), (["1", "2"], False), (["1,5", "2"], True), (["1,000", "2"], True)],
)
def test_the_format_of_a_column_has_decimals_if_it_holds_some(cells, has_decimals):
    schema, _ = read({"x": cells, "y": ["0,5", "1"]})
    assert schema.columns[0].number_format.has_decimals is has_decimals


def test_single_rows_of_an_adapted_table_are_read_alike():
    frame = pl.DataFrame({"x": ["719,125", "5"], "y": ["0.5", "0.25"]})
    formats = adapt_formats(frame, {"x": NumberFormat(decimal=","), "y": NumberFormat(decimal=",")}, TableFormat())
    assert adapt_formats(frame[:1], formats, TableFormat()) == formats


def test_marks_of_typed_columns_and_words_are_not_asked_for():
    marks = detect_marks(pl.DataFrame({"n": [1.5], "w": ["a"], "x": ["0,5"]}), TableFormat())
    assert (marks["n"], marks["w"], marks["x"]) == (",", ",", ",")
