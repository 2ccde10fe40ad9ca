import polars as pl
import pytest

from rosenblatt.data.schema.cells import strip_cells
from rosenblatt.data.schema.missing import MissingRule, find_number_markers, make_rule, make_word_rule


def read_words(cells, **options):
    text = strip_cells(pl.Series(cells))
    return make_word_rule(text, **options).apply(text).to_list()


def test_cells_without_text_are_missing_and_spaces_do_not_count():
    assert strip_cells(pl.Series([" a ", "", "  ", None, "a b"])).to_list() == ["a", None, None, None, "a b"]


@pytest.mark.parametrize("marker", ["?", "NaN", "null", "NULL", "#N/A", "<NA>", "\\N", "#DIV/0!", "#REF!", "(null)"])
def test_a_clear_marker_is_missing_even_beside_empty_cells(marker):
    assert read_words(["red", marker, "", "blue"]) == ["red", None, None, "blue"]


@pytest.mark.parametrize("marker", ["NA", "na", "N/A", "none", "None", "nil", "-", "--", ".", "missing"])
def test_an_ambiguous_marker_is_missing_among_words_but_a_category_beside_empty_cells(marker):
    assert read_words(["red", marker, "blue"]) == ["red", None, "blue"]
    assert read_words(["red", marker, "", "blue"]) == ["red", marker, None, "blue"]


@pytest.mark.parametrize("codes", [["EU", "NA", "AP"], ["BW", "NA", "ZA"], ["+", "-"], ["eu", "na"], ["NIL", "LHR"]])
def test_a_marker_among_codes_of_its_shape_is_a_category(codes):
    assert read_words(codes) == codes


@pytest.mark.parametrize("others", [["M", "F"], ["Yes", "No"], ["low", "high"], ["A", "B"], ["Ex", "Gd"]])
def test_a_marker_of_another_shape_than_the_codes_is_missing(others):
    assert read_words([*others, "NA", "-"]) == [*others, None, None]


def test_each_marker_is_decided_by_itself():
    assert read_words(["+", "-", "NA"]) == ["+", "-", None]


def test_a_string_of_a_typed_table_is_never_missing():
    cells = ["EU", "NA", "none", "?", "null", None]
    assert read_words(cells, is_typed=True) == cells


def test_words_of_the_user_are_missing_everywhere():
    assert read_words(["a", "unknown", "b"], words=["unknown"]) == ["a", None, "b"]
    assert read_words(["EU", "NA", "AP"], words=["NA"]) == ["EU", None, "AP"]
    assert read_words(["low", "-999", "-999.0"], words=["-999"]) == ["low", None, None]
    assert read_words(["EU", "NA", None], words=["NA"], is_typed=True) == ["EU", None, None]
    numbers = make_rule(["-999", "x"]).apply_to_numbers(pl.Series([1.0, -999.0, None]))
    assert numbers.to_list() == [1, None, None]


def test_without_markers_only_empty_cells_are_missing():
    assert read_words(["a", "NA", "?", ""], words=[]) == ["a", "NA", "?", None]
    assert make_rule([]).apply(pl.Series(["1", "NA"])).to_list() == ["1", "NA"]


def test_a_class_is_not_missing_unless_the_numbers_of_the_table_show_it():
    cells = ["yes", "no", "NA", "?"]
    assert read_words(cells, is_class=True) == ["yes", "no", "NA", None]
    assert read_words(cells, is_class=True, number_markers=["na"]) == ["yes", "no", None, None]
    assert read_words(["EU", "AP", "NA"], is_class=True, number_markers=["na"]) == ["EU", "AP", "NA"]


def test_the_rule_of_a_column_reads_other_tables_alike():
    rule = make_word_rule(pl.Series(["EU", "NA", "AP"]))
    assert rule.apply(pl.Series(["NA", "-", "?", "EU"])).to_list() == ["NA", None, None, "EU"]
    assert MissingRule.model_validate_json(rule.model_dump_json()) == rule
    assert rule.kept_markers(pl.Series(["NA", "-", "EU", "NA"])).to_list() == ["NA", "NA"]


def test_columns_of_numbers_show_which_markers_mean_a_missing_value():
    frame = pl.DataFrame({"a": ["1.5", "NA", "2"], "b": ["x", "-", "y"], "c": ["3", "4", ""], "d": [1, 2, 3]})
    assert find_number_markers(frame, ["na", "-"]) == {"na"}
