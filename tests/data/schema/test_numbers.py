import polars as pl
import pytest

from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.schema.numbers import (
    NumberFormat,
    infer_numbers,
    parse_numbers,
    plain_numbers,
    read_numbers,
    scale_plain_numbers,
)
from rosenblatt.errors import TableError

NBSP, NARROW = "\u00a0", "\u202f"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234.5", 1234.5), ("12,34,567.00", 1234567), ("1,000,000", 1e6), ("1'234.50", 1234.5),
        ("1’234.50", 1234.5), ("1 234.5", 1234.5), (f"1{NBSP}234", 1234), (f"1{NARROW}234{NARROW}567", 1234567),
        ("719,125", 719125), ("1.234", 1.234), (".5", 0.5), ("5.", 5), ("1e5", 1e5), ("-4E-2", -0.04), ("+7", 7),
        ("(1,234.50)", -1234.5), ("5-", -5), ("−5.5", -5.5), ("–5", -5), ("-$5", -5), ("$-5", -5), ("($5)", -5),
        ("USD 5.00", 5), ("R$ 1,234.50", 1234.5), ("5 €", 5), ("CHF 1'234.50", 1234.5), ("$.50", 0.5), ("%45", 0.45),
        ("CHF 5.-", 5),
        ("1.2K", 1200), ("3M", 3e6), ("1.5bn", 1.5e9), ("2.3 million", 2.3e6), ("45.3%", 0.453), ("7 %", 0.07),
        ("45 ‰", 0.045), ("12 kg", 12), ("32GB", 32), ("70 °C", 70), ("5 ℃", 5), ("2.5 m²", 2.5), ("12 km/h", 12),
        ("４５", 45), ("٤٥", 45), ("१२", 12),
    ],
)  # fmt: skip
def test_a_number_is_read_with_a_decimal_point(text, number):
    assert parse_numbers(pl.Series([text]), ".").values.to_list() == [number]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("37,25", 37.25), ("0,644", 0.644), ("719,125", 719.125), ("1.234", 1234), ("1.234,5", 1234.5),
        ("1.234.567", 1234567), ("1 234,5", 1234.5), ("1'234,5", 1234.5), ("1,2e5", 1.2e5), (",5", 0.5), ("-,5", -0.5),
        ("R$ 1.234,50", 1234.5), ("1.234,50 €", 1234.5), ("12,5 %", 0.125), ("(5,5)", -5.5), ("1,5 Mio.", 1.5e6),
        ("12", 12),
        ("5,-", 5), ("1.500,– €", 1500),
    ],
)  # fmt: skip
def test_a_number_is_read_with_a_decimal_comma(text, number):
    assert parse_numbers(pl.Series([text]), ",").values.to_list() == [number]


@pytest.mark.parametrize(
    "text",
    [
        "0x1F", "1_000", "12:30", "2020-01-31", "31.12.2020", "1.2.3", "192.168.1.17", "+49 170 123 456", "978-3-16",
        "1-2", "1/2", "5'11\"", "A1", "B2", "Q3", "W12", "1st", "2nd", "12A", "3-4", "5+", "10²", "1,23,4", "12,34",
        "0,644", "00,123", "1 23", "5 5", "$", "%", "-", "(5", "five", "1e", "1,234e5",
    ],
)  # fmt: skip
def test_codes_dates_ranges_and_malformed_groups_are_no_numbers(text):
    assert parse_numbers(pl.Series([text]), ".").values.to_list() == [None]


def test_a_separator_of_thousands_may_be_given():
    assert parse_numbers(pl.Series(["1_000", "2_500_000.5"]), ".", "_").values.to_list() == [1000, 2500000.5]


def test_only_columns_that_a_cast_reads_are_plain():
    assert plain_numbers(pl.Series(["1", None, "2.5"])).to_list() == [1, None, 2.5]
    assert plain_numbers(pl.Series(["1", "nan"])) is None
    assert plain_numbers(pl.Series(["1", "1,5"])) is None


def infer(*cells):
    return infer_numbers(pl.Series("x", cells), ".")


def notes(typed):
    return "; ".join(map(str, typed.notes))


def test_the_format_has_the_unit_and_the_separators_that_occur():
    typed = infer("$1,234", "$5", "$1 234")
    assert (typed.format.unit, typed.format.thousands) == ("$", ", ")
    assert "numbers with a unit ($)" in notes(typed)
    assert "1,234.5" in notes(typed)


def test_numbers_without_a_unit_beside_others_are_counted():
    typed = infer("12 kg", "7", "3 kg")
    assert typed.values.to_list() == [12, 7, 3]
    assert "read like those with one (1 cell, such as '7')" in notes(typed)


def test_parentheses_and_magnitudes_are_noted():
    assert "in parentheses or before a minus are negative (such as '(5)')" in notes(infer("(5)", "7"))
    assert "multiplied out (such as '1.2K')" in notes(infer("1.2K", "3M", "7"))


@pytest.mark.parametrize("cells", [("12 kg", "300 g"), ("$5", "€5"), ("5 mW", "5 MW"), ("5%", "5 kg")])
def test_columns_of_several_units_hold_no_numbers(cells):
    typed = infer(*cells)
    assert typed.values.null_count() == 2
    assert "numbers in different units are read as words" in notes(typed)


def test_a_few_numbers_in_other_units_are_missing():
    typed = infer(*["12 kg"] * 99, "5 lb")
    assert typed.values.null_count() == 1
    assert typed.format.unit == "kg"


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["45%", "0.45"], [0.45, 0.45]),
        (["45%", "0", "1"], [0.45, 0, 1]),
        (["45%", "45", "7"], [0.45, 0.45, 0.07]),
    ],
)
def test_numbers_beside_percentages_have_one_scale(cells, numbers):
    typed = infer(*cells)
    assert typed.values.to_list() == numbers
    assert "without a percent sign" in notes(typed)
    assert read_numbers(pl.Series("x", cells), typed.format).values.to_list() == numbers


def test_numbers_beside_percentages_of_unknown_scale_are_an_error():
    with pytest.raises(TableError, match="'x' holds percentages, and numbers without a percent sign, such as '45'"):
        infer("12%", "45", "0.5")


def read(cells, **format):
    return read_numbers(pl.Series("x", cells), NumberFormat(**format))


def test_percentages_and_fractions_are_one_number_in_training_and_later():
    assert read(["0.45", "45%"], unit="%").values.to_list() == [0.45, 0.45]
    typed = read(["45%"], is_fraction=True)
    assert typed.values.to_list() == [0.45]
    assert "percentages are divided by 100" in notes(typed)


@pytest.mark.parametrize(
    ("cells", "format", "message"),
    [
        (["45"], {"unit": "%"}, "'x' must hold percentages, such as 45%, .* holds 45 without a percent sign"),
        (["0.45"], {"unit": "%", "plain_is_percent": True}, "holds 0.45 without a percent sign"),
        (["45%"], {}, "'x' must hold numbers without a unit, .* '45%'"),
        (["300 g"], {"unit": "kg"}, "'x' must hold numbers in kg, as in training, but holds '300 g'"),
        (["€5"], {"unit": "$"}, "numbers in \\$"),
        (["12 kg"], {"unit": "%"}, "numbers in %"),
        (["12 kg", "3 lb"], {}, "numbers without a unit"),
    ],
)
def test_later_numbers_of_another_unit_or_scale_are_an_error(cells, format, message):
    with pytest.raises(TableError, match=message):
        read(cells, **format)


def test_later_numbers_without_the_unit_and_units_without_one_in_training_are_noted():
    assert "without the unit of training are read as if they had it (kg)" in notes(read(["12"], unit="kg"))
    assert "units are ignored, as training had none (such as '12 kg')" in notes(read(["12 kg"]))
    assert "without a percent sign are read as fractions" in notes(read(["0.45"], unit="%"))
    assert not read(["USD 5"], unit="$").notes
    assert not read(["12"], unit="kg", has_plain=True).notes


def test_typed_percentages_must_be_fractions_too():
    values = pl.Series([0.45, 45])
    with pytest.raises(TableError, match="holds 45 without a percent sign"):
        scale_plain_numbers("x", values, values.is_not_null(), NumberFormat(unit="%"))


def column(cells, name="x"):
    return infer_schema(pl.DataFrame({name: cells}), 64).columns[0]


@pytest.mark.parametrize(
    "cells",
    [
        ["A1", "B2", "C3"], ["Q1", "Q2", "Q3"], ["1st", "2nd", "3rd"], ["12A", "12B", "14A"],
        ["5+", "3+", "1"], ["1B", "2B", "3B"], ["2XL", "3XL"],
    ],
)  # fmt: skip
def test_codes_stay_categories(cells):
    assert column(cells * 10).kind == "category"


def test_words_that_fill_much_of_a_column_of_numbers_are_categories():
    cells = ["SML"[i % 3] if i % 5 else str(i) for i in range(600)]
    assert column(cells).kind == "category"
    assert "numbers read as words, as other words occur among them (--missing CELL" in column(cells).note
    assert column(cells).note.endswith("('M', 'L' and 'S' in 480 cells)")
    assert column(["SML"[i % 3] if i % 3 == 0 else str(i) for i in range(600)]).kind == "category"
    assert column(
        [["low", "high", "none at all"][i // 100 % 3] if i % 100 == 0 else str(i / 7) for i in range(600)]
    ).kind == ("number")


def test_integers_that_floats_do_not_tell_apart_stay_distinct():
    cells = [str(2**53 + i % 50) for i in range(500)]
    for series in (pl.Series(cells), pl.Series([int(cell) for cell in cells])):
        found = column(series)
        assert found.kind == "category"
        assert found.distinct == 50
