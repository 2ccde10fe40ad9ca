import datetime as dt

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.table import TableFormat
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import detect_task, has_targets, read_targets, resolve_column_name
from rosenblatt.errors import TableError
from rosenblatt.spec.spec import Spec


def detect(cells, task=None, messages=None):
    return detect_task(pl.DataFrame({"y": cells}), ["y"], task, messages)


@pytest.mark.parametrize(
    ("cells", "task", "labels"),
    [
        (["yes", "no", "no"], "binary", ("no", "yes")),
        (["1", "2", "1"], "binary", (1, 2)),
        ([0.0, 1.0, 1.0], "binary", (0, 1)),
        (["a", "b", "c"], "multiclass", ("a", "b", "c")),
        (["1", "2", "3", "10"][:3], "multiclass", (1, 2, 3)),
        (["3", "4", "5", "9"], "regression", ()),
        (["1.5", "2", "3"], "regression", ()),
        ([str(i) for i in range(50)], "regression", ()),
        (["none", "mild", "severe"], "multiclass", ("mild", "none", "severe")),
    ],
)
def test_the_task_is_detected_from_the_target(cells, task, labels):
    supervised_task = detect(cells)
    assert supervised_task.task == task
    assert supervised_task.labels == labels


def test_the_task_can_be_given():
    assert detect(["1", "2", "3"], "regression").task == "regression"
    assert detect(["3", "4", "9"], "multiclass").labels == (3, 4, 9)
    with pytest.raises(TableError, match="regression needs numbers, but the target 'y' holds 'a'"):
        detect(["a", "b"], "regression")
    with pytest.raises(TableError, match="binary needs two classes, but the target 'y' holds 3"):
        detect(["a", "b", "c"], "binary")


def test_rows_without_target_are_recognized():
    supervised_task = detect(["yes", "?", "no", None, ""])
    np.testing.assert_array_equal(has_targets(supervised_task.y), [True, False, True, False, False])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a", "a", None], "one value only, 'a'"),
        ([None, "?"], "has no values"),
        ([f"n{i}" for i in range(500)], "500 different values in 500 rows, too many for classes"),
        ([1.5, 2.5, float("inf")], "infinite number in row 3"),
    ],
)
def test_an_unusable_target_is_rejected(cells, message):
    with pytest.raises(TableError, match=message):
        detect(cells)


def test_several_columns_of_two_values_are_labels_at_once():
    frame = pl.DataFrame({"a": ["yes", "no", "yes"], "b": ["0", "1", "1"], "c": ["x", "y", "x"]})
    supervised_task = detect_task(frame, ["a", "b", "c"])
    assert supervised_task.task == "multilabel"
    np.testing.assert_array_equal(supervised_task.y, [[1, 0, 0], [0, 1, 1], [1, 1, 0]])


def test_a_column_of_lists_holds_labels():
    supervised_task = detect_task(pl.DataFrame({"y": [["red", "big"], ["big"], []]}), ["y"])
    assert supervised_task.names == ("big", "red")
    np.testing.assert_array_equal(supervised_task.y, [[1, 1], [1, 0], [0, 0]])


def test_several_columns_of_numbers_are_values():
    assert detect_task(pl.DataFrame({"a": [1.5, 2, 3], "b": [7.0, 8, 9.5]}), ["a", "b"]).task == "regression"
    with pytest.raises(TableError, match="must all hold two values"):
        detect_task(pl.DataFrame({"a": [1.5, 2, 3], "b": ["x", "y", "z"]}), ["a", "b"])


def test_columns_are_found_by_name_or_number():
    frame = pl.DataFrame({"a": [1], "b": [2], "7": [3]})
    assert [resolve_column_name(frame, name) for name in ("b", "1", "-1", "7")] == ["b", "a", "7", "7"]
    with pytest.raises(TableError, match=r"no column 'B'; the table has .*Did you mean 'b'\?"):
        resolve_column_name(frame, "B")
    with pytest.raises(TableError, match="no column '9'"):
        resolve_column_name(frame, "9")


def test_numbers_of_columns_are_refused_where_columns_have_numbers_as_names():
    frame = pl.DataFrame({"0": [1], "1": [2], "2": [3], "label": [4]})
    assert [resolve_column_name(frame, name) for name in ("2", "-1", "label")] == ["2", "label", "label"]
    with pytest.raises(TableError, match=r"no column named '3', but others have numbers .* from the end: -2"):
        resolve_column_name(frame, "3")


def test_a_missing_column_of_a_table_without_header_suggests_the_option():
    with pytest.raises(TableError, match="use --header"):
        resolve_column_name(pl.DataFrame({"column_1": ["y"], "column_2": ["z"]}), "y")


def test_classes_are_recognized_in_other_spellings_with_a_message():
    target = Target(names=("y",), task="binary", labels=("<=50K", ">50K"))
    messages = []
    y = read_targets(pl.DataFrame({"y": ["<=50K.", ">50K", " >50k. "]}), target, messages)
    np.testing.assert_array_equal(y, [0, 1, 1])
    assert len(messages) == 1
    with pytest.raises(TableError, match="holds 'maybe', but the classes are '<=50K' and '>50K'"):
        read_targets(pl.DataFrame({"y": ["maybe"]}), target)
    with pytest.raises(TableError, match=r"lacks the target 'y'.*Did you mean 'Y'"):
        read_targets(pl.DataFrame({"Y": ["maybe"]}), target)


def test_lists_of_labels_are_read_with_the_target_labels():
    target = Target(names=("big", "red"), task="multilabel", list_column="y")
    y = read_targets(pl.DataFrame({"z": [["big"], []], "y": [["red"], ["big", "new"]]}), target)
    np.testing.assert_array_equal(y, [[0, 1], [1, 0]])


def test_labels_keep_their_meaning_in_a_table_with_only_one_of_their_values():
    frame = pl.DataFrame({"a": ["big", "small", "big"], "b": ["1", "2", "2"], "c": ["yes", "no", "no"]})
    supervised_task = detect_task(frame, ["a", "b", "c"])
    target = supervised_task.target(supervised_task.y, Spec())
    assert target.label_pairs == (("big", "small"), (1, 2), ("no", "yes"))
    y = read_targets(pl.DataFrame({"a": ["big"], "b": [2.0], "c": ["No"]}), target)
    np.testing.assert_array_equal(y, [[0, 1, 0]])
    with pytest.raises(TableError, match="'a' holds 'huge', but the values must be 'big' and 'small'"):
        read_targets(pl.DataFrame({"a": ["huge"], "b": [2], "c": ["No"]}), target)
    with pytest.raises(TableError, match="'b' holds one value only"):
        detect_task(frame.with_columns(b=pl.lit("1")), ["a", "b"])


def test_classes_written_as_1_and_as_1_point_0_are_the_same():
    assert detect(["1.0", "0.0", "", "1.0"]).labels == (0, 1)
    y = read_targets(pl.DataFrame({"y": [1, 0]}), Target(names=("y",), task="binary", labels=(0, 1)))
    np.testing.assert_array_equal(y, [1, 0])


def test_odd_digits_and_huge_numbers_are_words():
    assert detect(["²", "³"]).labels == ("²", "³")
    assert detect(["9" * 30, "8" * 30]).labels == ("8" * 30, "9" * 30)
    with pytest.raises(TableError, match="no column '²'"):
        resolve_column_name(pl.DataFrame({"a": [1]}), "²")


def test_a_target_of_numbers_with_some_words_is_an_error_that_counts_both():
    cells = [str(i / 7) for i in range(50)] + [f"n.d. {i}" for i in range(10)]
    with pytest.raises(TableError, match=r"numbers in 50 of 60 cells, but 10 other values, such as 'n.d. 0'"):
        detect(cells)


def test_one_class_per_row_is_an_error_in_small_tables_too():
    with pytest.raises(TableError, match="60 different values in 60 rows"):
        detect([f"n{i}" for i in range(60)])


def test_spellings_of_a_class_are_classes_of_their_own_with_a_hint():
    messages = []
    supervised_task = detect(["Yes", "yes", "YES.", "No", "no", "Yes"], messages=messages)
    assert supervised_task.labels == ("No", "YES.", "Yes", "no", "yes")
    assert "'No' and 'no' differ only in case" in messages[0]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["007", "042", "100"], ("007", "042", "100")),
        (["007", "7", "7"], ("007", "7")),
        (["1E1", "10", "10"], ("10", "1E1")),
        (["mW", "MW", "mW"], ("MW", "mW")),
        (["C.", "C", "C"], ("C", "C.")),
        ([" a", "a", "b"], ("a", "b")),
        ([True, False, None], (False, True)),
        (["EU", "NA", "AP"], ("AP", "EU", "NA")),
        (["yes", "no", "none", "n/a"], ("n/a", "no", "none", "yes")),
    ],
)
def test_classes_are_the_cells_as_written(cells, labels):
    assert detect(cells).labels == labels


def test_strings_and_integers_of_a_typed_table_are_classes_as_they_are():
    typed = TableFormat(is_typed=True)
    frame = pl.DataFrame({"y": ["007", "7", "NA", "?", None], "z": ["1", "2", "1", "2", "1"]})
    assert detect_task(frame, ["y"], format=typed).labels == ("007", "7", "?", "NA")
    assert detect_task(frame, ["z"], format=typed).labels == ("1", "2")
    assert detect([2**60, 2**60 + 1]).labels == (2**60, 2**60 + 1)


def test_a_class_named_like_a_marker_is_noted_and_can_be_declared_missing():
    note = "read as a class (use --missing NA if it means missing) ('NA' in 2 cells)"
    assert detect(["yes", "no", "NA", "NA"]).columns[0].note == note
    frame = pl.DataFrame({"y": ["yes", "no", "NA", "NA"]})
    assert detect_task(frame, ["y"], format=TableFormat(missing=("NA",))).labels == ("no", "yes")
    with_numbers = frame.with_columns(x=pl.Series(["1.5", "NA", "2", "3"]))
    supervised_task = detect_task(with_numbers, ["y"])
    assert supervised_task.labels == ("no", "yes")
    assert "'NA' in 2 cells" in supervised_task.columns[0].note


def test_numbers_given_as_missing_are_no_targets():
    for cells in ([1.5, -999.0, 2.5, 4.0], ["1.5", "-999", "2.5", "4"]):
        frame = pl.DataFrame({"y": cells})
        supervised_task = detect_task(frame, ["y"], format=TableFormat(missing=("-999",)))
        np.testing.assert_array_equal(has_targets(supervised_task.y), [True, False, True, True])


def test_labels_that_differ_only_in_case_are_two():
    frame = pl.DataFrame({"a": ["M", "m", "M"], "b": ["T", "Y", "T"], "c": [True, False, True]})
    supervised_task = detect_task(frame, ["a", "b", "c"])
    assert supervised_task.label_pairs == (("M", "m"), ("T", "Y"), (False, True))
    target = supervised_task.target(supervised_task.y, Spec())
    np.testing.assert_array_equal(read_targets(frame, target), supervised_task.y)


@pytest.mark.parametrize(
    ("cells", "task", "hint"),
    [
        (["1", "2", "3", "4", "5"], "multiclass", "--task regression"),
        (["1", "2", "4", "5"], "regression", "--task multiclass"),
        (["10", "20", "30"], "regression", "--task multiclass"),
        (["007", "042", "100"], "multiclass", "--task regression"),
        ([10.0, 20.0, 30.0], "regression", "--task multiclass"),
        (["1.5", "2", "3"], "regression", None),
        (["10", "20"], "binary", None),
        (["a", "b", "c"], "multiclass", None),
    ],
)
def test_the_other_task_of_few_numbers_is_named(cells, task, hint):
    supervised_task = detect(cells)
    assert supervised_task.task == task
    assert hint in supervised_task.hint if hint else not supervised_task.hint


def test_labels_of_a_model_without_columns_are_zeros_and_ones():
    target = Target(names=("a", "b"), task="multilabel")
    np.testing.assert_array_equal(
        read_targets(pl.DataFrame({"a": ["1", "0"], "b": [0.0, 1.0]}), target), [[1, 0], [0, 1]]
    )


NESTED = {
    "duration": pl.Series([dt.timedelta(hours=k) for k in range(4)]),
    "array": pl.Series([[1.0, 2.0]] * 4, dtype=pl.Array(pl.Float64, 2)),
    "list of lists": pl.Series([[["a"], ["b"]]] * 4),
    "list of structs": pl.Series([[{"a": 1}]] * 4),
    "struct": pl.Series([{"a": k} for k in range(4)]),
    "empty struct": pl.Series([{}] * 4, dtype=pl.Struct([])),
    "binary": pl.Series([b"x", b"y"] * 2),
    "object": pl.Series([object()] * 4, dtype=pl.Object),
}


@pytest.mark.parametrize("values", NESTED.values(), ids=NESTED)
def test_targets_of_other_cells_are_refused_by_their_type(values):
    frame = pl.DataFrame({"y": values, "z": ["a", "b"] * 2})
    for names in (["y"], ["z", "y"]):
        with pytest.raises(TableError, match=r"'y' must hold words.*its type is"):
            detect_task(frame, names)
    target = Target(names=("y",), task="binary", labels=("a", "b"))
    with pytest.raises(TableError, match=r"'y' must hold words.*its type is"):
        read_targets(frame, target)


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        ([f"{i},5" for i in range(30)], [i + 0.5 for i in range(30)]),
        ([f"{i}.{i % 10}0{i % 10}" for i in range(1, 30)], [float(f"{i}.{i % 10}0{i % 10}") for i in range(1, 30)]),
        ([f"${i},000" for i in range(1, 30)], [1000 * i for i in range(1, 30)]),
        ([f"{i}%" for i in range(30)], [i / 100 for i in range(30)]),
        ([f"{i} kg" for i in range(30)], list(range(30))),
    ],
)
def test_values_are_read_as_numbers_are_in_inputs(cells, values):
    task = detect(cells)
    assert task.task == "regression"
    assert task.y[:, 0].tolist() == values
    target = Target(names=("y",), task="regression", columns=task.columns)
    assert read_targets(pl.DataFrame({"y": cells}), target)[:, 0].tolist() == values


def test_the_decimal_mark_of_a_target_follows_the_other_columns():
    frame = pl.DataFrame({"x": ["1,5", "2,25", "3"], "y": ["1.250", "980", "2.125"]})
    assert detect_task(frame, ["y"]).y[:, 0].tolist() == [1250, 980, 2125]
    assert detect_task(frame.rename({"x": "z"}), ["y", "z"]).y.tolist() == [[1250, 1.5], [980, 2.25], [2125, 3]]


def test_a_few_values_with_a_unit_are_classes_and_values_of_several_units_an_error():
    assert detect(["5 mg", "10 mg", "20 mg"]).labels == ("10 mg", "20 mg", "5 mg")
    assert detect(["5 mg", "10 mg", "20 mg"], "regression").y[:, 0].tolist() == [5, 10, 20]
    with pytest.raises(TableError, match=r"'y' holds numbers in different units \('g: 15' and 'mg: 15'\)"):
        detect([f"{i} {'mg' if i % 2 else 'g'}" for i in range(30)])
