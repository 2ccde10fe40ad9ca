import numpy as np
import polars as pl
import pytest

from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import ask, column_name, has_answers, read_answers
from rosenblatt.errors import TableError
from rosenblatt.spec.spec import Spec


def question(cells, task=None):
    return ask(pl.DataFrame({"y": cells}), ["y"], task)


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
def test_the_task_is_told_from_the_target(cells, task, labels):
    found = question(cells)
    assert found.task == task
    assert found.labels == labels


def test_the_task_can_be_given():
    assert question(["1", "2", "3"], "regression").task == "regression"
    assert question(["3", "4", "9"], "multiclass").labels == (3, 4, 9)
    with pytest.raises(TableError, match="regression needs numbers, but the target 'y' holds 'a'"):
        question(["a", "b"], "regression")
    with pytest.raises(TableError, match="binary needs two classes, but the target 'y' holds 3"):
        question(["a", "b", "c"], "binary")


def test_rows_without_an_answer_are_known_as_such():
    found = question(["yes", "?", "no", None, ""])
    np.testing.assert_array_equal(has_answers(found.y), [True, False, True, False, False])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a", "a", None], "one value only, 'a'"),
        ([None, "?"], "no values at all"),
        ([f"n{i}" for i in range(500)], "500 different values in 500 rows, too many for classes"),
        ([1.5, 2.5, float("inf")], "infinite number in row 3"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_refused(cells, message):
    with pytest.raises(TableError, match=message):
        question(cells)


def test_several_columns_of_two_values_are_labels_at_once():
    frame = pl.DataFrame({"a": ["yes", "no", "yes"], "b": ["0", "1", "1"], "c": ["x", "y", "x"]})
    found = ask(frame, ["a", "b", "c"])
    assert found.task == "multilabel"
    np.testing.assert_array_equal(found.y, [[1, 0, 0], [0, 1, 1], [1, 1, 0]])


def test_a_column_of_lists_holds_labels():
    found = ask(pl.DataFrame({"y": [["red", "big"], ["big"], []]}), ["y"])
    assert found.names == ("big", "red")
    np.testing.assert_array_equal(found.y, [[1, 1], [1, 0], [0, 0]])


def test_several_columns_of_numbers_are_values():
    assert ask(pl.DataFrame({"a": [1.5, 2, 3], "b": [7.0, 8, 9.5]}), ["a", "b"]).task == "regression"
    with pytest.raises(TableError, match="neither all of two values"):
        ask(pl.DataFrame({"a": [1.5, 2, 3], "b": ["x", "y", "z"]}), ["a", "b"])


def test_columns_go_by_name_or_number():
    frame = pl.DataFrame({"a": [1], "b": [2], "7": [3]})
    assert [column_name(frame, asked) for asked in ("b", "1", "-1", "7")] == ["b", "a", "7", "7"]
    with pytest.raises(TableError, match=r"no column 'B'; the table has .*Did you mean 'b'\?"):
        column_name(frame, "B")
    with pytest.raises(TableError, match="no column '9'"):
        column_name(frame, "9")


def test_classes_are_recognized_again_in_other_spelling_and_that_is_said():
    target = Target(names=("y",), task="binary", labels=("<=50K", ">50K"))
    y, notes = read_answers(pl.DataFrame({"y": ["<=50K.", ">50K", " >50k. "]}), target)
    np.testing.assert_array_equal(y, [0, 1, 1])
    assert len(notes) == 2
    with pytest.raises(TableError, match="holds 'maybe', but the model knows '<=50K' and '>50K'"):
        read_answers(pl.DataFrame({"y": ["maybe"]}), target)
    with pytest.raises(TableError, match=r"lacks the target 'y'.*Did you mean 'Y'"):
        read_answers(pl.DataFrame({"Y": ["maybe"]}), target)


def test_lists_of_labels_are_recognized_again():
    target = Target(names=("big", "red"), task="multilabel", lists="y")
    y, _ = read_answers(pl.DataFrame({"z": [["big"], []], "y": [["red"], ["big", "new"]]}), target)
    np.testing.assert_array_equal(y, [[0, 1], [1, 0]])


def test_labels_mean_the_same_in_a_table_that_has_only_one_of_their_values():
    frame = pl.DataFrame({"a": ["big", "small", "big"], "b": ["1", "2", "2"], "c": ["yes", "no", "no"]})
    found = ask(frame, ["a", "b", "c"])
    target = found.target(found.y, Spec())
    assert target.words == (("big", "small"), (1, 2), ("no", "yes"))
    y, _ = read_answers(pl.DataFrame({"a": ["big"], "b": [2.0], "c": ["No"]}), target)
    np.testing.assert_array_equal(y, [[0, 1, 0]])
    with pytest.raises(TableError, match="'a' holds 'huge', but the model knows 'big' and 'small'"):
        read_answers(pl.DataFrame({"a": ["huge"], "b": [2], "c": ["No"]}), target)
    with pytest.raises(TableError, match="'b' holds one value only"):
        ask(frame.with_columns(b=pl.lit("1")), ["a", "b"])


def test_classes_written_as_1_and_as_1_point_0_are_the_same():
    assert question(["1.0", "0.0", "", "1.0"]).labels == (0, 1)
    y, _ = read_answers(pl.DataFrame({"y": [1, 0]}), Target(names=("y",), task="binary", labels=(0, 1)))
    np.testing.assert_array_equal(y, [1, 0])


def test_odd_digits_and_huge_numbers_are_words():
    assert question(["²", "³"]).labels == ("²", "³")
    assert question(["9" * 30, "8" * 30]).labels == ("8" * 30, "9" * 30)
    with pytest.raises(TableError, match="no column '²'"):
        column_name(pl.DataFrame({"a": [1]}), "²")


def test_a_target_of_numbers_with_some_words_is_refused_with_both():
    cells = [str(i / 7) for i in range(50)] + [f"n.d. {i}" for i in range(10)]
    with pytest.raises(TableError, match=r"numbers in 50 of 60 cells, but 10 are none, such as 'n.d. 0'"):
        question(cells)


def test_a_class_a_row_is_refused_in_small_tables_too():
    with pytest.raises(TableError, match="60 different values in 60 rows"):
        question([f"n{i}" for i in range(60)])


def test_spellings_of_a_class_are_one_class_and_said():
    found = question(["Yes", "yes", "YES.", "No", "no", "Yes"])
    assert found.labels == ("No", "Yes")
    np.testing.assert_array_equal(found.y, [1, 1, 1, 0, 0, 1])
    assert "y: 'yes' is read as 'Yes'" in found.notes
