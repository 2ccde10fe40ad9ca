import numpy as np
import polars as pl
import pytest

from rosenblatt.data.schema.missing import MissingRule
from rosenblatt.data.tasks.labels import label_cells, make_labels, match_labels, similar_labels
from rosenblatt.errors import TableError


def labels_of(cells, dtype=None, is_typed=False):
    series = pl.Series("y", cells, dtype)
    return list(make_labels(label_cells(series).drop_nulls().unique(), series.dtype, is_typed=is_typed).values())


def match(cells, labels, messages=None, rule=MissingRule()):  # noqa: B008 - immutable
    return match_labels(pl.Series("y", cells), labels, rule, messages, "classes are").tolist()


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["1", "2", "10"], [1, 2, 10]),
        (["1.0", "2.0", "10.0"], [1.0, 2.0, 10.0]),
        (["007", "7"], ["007", "7"]),
        (["1E1", "10"], ["10", "1E1"]),
        (["1.0", "1"], ["1", "1.0"]),
        (["1.50", "1.5"], ["1.5", "1.50"]),
        (["mW", "MW"], ["MW", "mW"]),
        (["C.", "C"], ["C", "C."]),
        ([" a", "a", "b"], ["a", "b"]),
        (["True", "False"], ["False", "True"]),
        ([True, False, None], [False, True]),
        ([0.0, 1.0, float("nan")], [0.0, 1.0]),
        ([9007199254740993, 9007199254740992], [9007199254740992, 9007199254740993]),
        (["9007199254740993", "9007199254740992"], [9007199254740992, 9007199254740993]),
    ],
)
def test_classes_stay_as_they_are_written(cells, labels):
    made = labels_of(cells)
    assert made == labels
    assert [type(label) for label in made] == [type(label) for label in labels]


def test_classes_of_a_typed_table_have_the_type_of_the_column():
    assert labels_of(["1", "2"], is_typed=True) == ["1", "2"]
    assert labels_of([0.1, 0.5], pl.Float32) == [0.1, 0.5]
    assert labels_of([2**64 - 1, 1], pl.UInt64) == [1, 2**64 - 1]
    assert labels_of(["b", "a"], pl.Categorical) == ["a", "b"]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["0", "1", "1"], (0.0, 1.0)),
        (["0.0", "1.0", "1.0"], (0, 1)),
        ([0, 1, 1], (0.0, 1.0)),
        ([0.0, 1.0, 1.0], (0, 1)),
        (["False", "True", "True"], (False, True)),
        (["false", "TRUE", "true"], (False, True)),
        (["0", "1", "1"], (False, True)),
        ([False, True, True], ("false", "true")),
        ([False, True, True], (0, 1)),
        (["007", "7", "7"], ("007", "7")),
        (["7", "42", "42"], ("007", "042")),
        ([7, 42, 42], ("007", "042")),
        (["<=50K.", ">50k", " >50K. "], ("<=50K", ">50K")),
        (["m", "M", "M"], ("m", "M")),
        (["9007199254740992", "9007199254740993", "9007199254740993"], (9007199254740992, 9007199254740993)),
    ],
)
def test_classes_are_recognized_as_another_table_writes_them(cells, labels):
    assert match(cells, labels) == [0, 1, 1]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["maybe"], ("yes", "no")),
        (["YES"], ("Yes", "yes")),
        ([7], ("007", "7")),
        (["07"], ("007", "7")),
        (["yes"], (False, True)),
        (["2"], (0, 1)),
    ],
)
def test_a_cell_that_is_no_class_or_could_be_several_is_an_error(cells, labels):
    with pytest.raises(TableError, match=r"'y' holds .*, but the classes are"):
        match(cells, labels)


def test_a_class_in_another_spelling_is_reported_and_an_equal_number_is_not():
    messages = []
    match(["<=50K.", ">50K"], ("<=50K", ">50K"), messages)
    match(["1", "0"], (0.0, 1.0), messages)
    assert messages == ["classes read in the spelling of training: y ('<=50K.' as '<=50K')"]


def test_a_missing_marker_is_a_class_if_the_model_has_such_a_class():
    cells = ["EU", "NA", "", None]
    np.testing.assert_equal(match(cells, ("EU", "NA")), [0, 1, np.nan, np.nan])
    np.testing.assert_equal(match(cells, ("AP", "EU")), [1, np.nan, np.nan, np.nan])
    np.testing.assert_equal(match(cells, ("EU", "NA"), rule=MissingRule(words=("NA",))), [0, *[np.nan] * 3])
    np.testing.assert_equal(match([1, -999], (0, 1), rule=MissingRule(words=("-999",))), [1, np.nan])


def test_classes_that_differ_only_in_writing_are_hinted_at():
    assert similar_labels(["a", "b", 1, 2]) == []
    assert "'Yes' and 'yes' differ only in case" in similar_labels(["No", "Yes", "yes"])[0]
    assert "'007' and '7' differ only as text" in similar_labels(["007", "7"])[0]


@pytest.mark.parametrize("dtype", [pl.Duration, pl.Array(pl.Float64, 2), pl.List(pl.List(pl.Int64)), pl.Binary])
def test_a_type_without_classes_is_an_error(dtype):
    with pytest.raises(TableError, match="its type is"):
        label_cells(pl.Series("y", [None], dtype))
