import numpy as np
import polars as pl
import pytest
from scipy import stats

from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.schema.numbers import NumberFormat
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import TableError
from rosenblatt.inspection.groups import GroupScore, GroupScores, mean_interval, row_scores, score_by_group

CLASSES = Target(names=("y",), task="multiclass", labels=("a", "b", "c"))
VALUES = Target(names=("y",), task="regression", center=(0,), scale=(1,))
NO_COLUMNS = Schema(columns=())


def scored(values, errors, target=CLASSES, schema=NO_COLUMNS):
    return score_by_group(schema, target, pl.DataFrame({"g": values}), "g", np.asarray(errors, float))


def test_the_score_of_a_row():
    predictions = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3]])
    assert row_scores(CLASSES, np.array([0.0, 2]), predictions).tolist() == [1, 0]
    assert row_scores(VALUES, np.array([[1.0], [2.0]]), np.array([[3.0], [1.5]])).tolist() == [2, 0.5]
    labels = Target(names=("p", "q"), task="multilabel")
    assert row_scores(labels, np.array([[1, 0]]), np.array([[0.9, 0.9]])).tolist() == [0.5]


def test_intervals_of_fractions_are_wilsons_and_those_of_means_students():
    right = np.repeat([1.0, 0.0], [40, 10])
    expected = stats.binomtest(40, 50).proportion_ci(method="wilson")
    np.testing.assert_allclose(mean_interval(right), expected)
    errors = np.array([1.0, 2.5, 4.0, 0.5])
    np.testing.assert_allclose(mean_interval(errors), stats.t.interval(0.95, 3, errors.mean(), stats.sem(errors)))
    assert mean_interval(np.array([3.5])) is None


def test_a_group_that_is_worse_is_recognized():
    scores = scored(["x"] * 100 + ["y"] * 50, [1] * 90 + [0] * 10 + [1] * 30 + [0] * 20)
    x, y = scores.groups
    assert (x.name, x.rows, x.score) == ("x", 100, 0.9)
    assert (y.name, y.rows, y.score, y.difference) == ("y", 50, 0.6, pytest.approx(-0.3))
    # Newcombe 1998, method 10, worked by hand from the Wilson intervals of 30/50 and 90/100
    (l1, u1), (l2, u2) = mean_interval(np.repeat([1.0, 0], [30, 20])), mean_interval(np.repeat([1.0, 0], [90, 10]))
    low, high = -0.3 - np.hypot(0.6 - l1, u2 - 0.9), -0.3 + np.hypot(u1 - 0.6, 0.9 - l2)
    np.testing.assert_allclose(y.difference_interval, (low, high))
    assert scores.worse == [y]
    table = scores.to_table()
    assert [row[-1] for row in table.rows] == ["better than the rest", "worse than the rest"]
    assert table.rows[1][:5] == ("y", "50", "0.600", "0.462 to 0.724", "-0.300")
    assert table.highlighted == {1}


def test_small_groups_are_not_judged():
    scores = scored(["x"] * 100 + ["y"] * 29, [1] * 100 + [0] * 29)
    assert [group.is_small for group in scores.groups] == [True, True]  # the rest of x is y
    assert scores.worse == []
    assert "too few rows to judge" in scores.to_table().rows[1][-1]


def test_larger_errors_are_worse():
    scores = scored(["x"] * 40 + ["y"] * 40, [*np.linspace(0, 1, 40), *np.linspace(5, 6, 40)], VALUES)
    assert scores.metric == "mean absolute error"
    assert [group.name for group in scores.worse] == ["y"]


def test_numbers_are_divided_into_intervals_of_equal_size():
    scores = scored([str(i) for i in range(100)], np.zeros(100), VALUES)
    assert [group.name for group in scores.groups] == ["0 to 19", "20 to 39", "40 to 59", "60 to 79", "80 to 99"]
    assert [group.rows for group in scores.groups] == [20] * 5


def test_equal_numbers_stay_together_and_missing_ones_are_a_group():
    scores = scored([0.0] * 50 + list(np.arange(1.0, 51)) + [None] * 7, np.zeros(107), VALUES)
    assert sum(group.rows for group in scores.groups) == 107
    assert scores.groups[0].rows == 50 + 10  # up to the 60th of 100 values, the end of an interval
    assert (scores.groups[-1].name, scores.groups[-1].rows) == ("(missing)", 7)


def test_rare_categories_are_joined():
    values = [f"c{i:02}" for i in range(20) for _ in range(40 - i)]
    scores = scored(values, np.ones(len(values)))
    assert [group.name for group in scores.groups[:2]] == ["c00", "c01"]
    assert scores.groups[-1].name == "(other values, 5 categories)"
    assert scores.groups[-1].rows == sum(40 - i for i in range(15, 20))


def test_few_numbers_are_categories_and_the_schema_decides_how_cells_are_read():
    assert [group.name for group in scored(["1", "2", "2"], [1, 1, 0]).groups] == ["2", "1"]
    schema = Schema(columns=(Column(name="g", kind="number", number_format=NumberFormat(decimal=",")),))
    values = [f"{i},5" for i in range(50)]
    assert scored(values, np.zeros(50), VALUES, schema).groups[0].name == "0.5 to 9.5"


def test_dates_are_divided_too():
    values = [f"2024-01-{day:02}" for day in range(1, 31)]
    assert scored(values, np.zeros(30), VALUES).groups[0].name == "2024-01-01 to 2024-01-06"


def test_lists_are_rejected():
    with pytest.raises(TableError, match="cannot be grouped by 'g'"):
        scored([[1.0, 2.0], [3.0]], [0, 1])


def test_infinite_numbers_are_part_of_the_first_or_the_last_interval():
    numbers = [float("-inf"), *np.arange(1.0, 99), float("inf")]
    for values in (numbers, [str(number) for number in numbers]):
        names = [group.name for group in scored(values, np.zeros(100), VALUES).groups]
        assert (names[0], names[-1]) == ("-inf to 19", "80 to inf")


def test_words_among_numbers_are_categories():
    values = [str(k % 3) for k in range(60)] + ["high"] * 40
    assert {group.name for group in scored(values, np.zeros(100), VALUES).groups} == {"high", "0", "1", "2"}
    half = [str(k) for k in range(60)] + ["high", "low"] * 20
    assert {"high", "low"} <= {group.name for group in scored(half, np.zeros(100), VALUES).groups}


def test_weights_count_as_repeated_rows_in_means_and_less_in_intervals():
    rng = np.random.default_rng(0)
    errors, weight = rng.random(100), rng.integers(1, 4, 100)
    group = np.array(["x", "y"] * 50)
    target = pl.DataFrame({"g": group})
    weighted = score_by_group(NO_COLUMNS, VALUES, target, "g", errors, weight.astype(float) / 7)
    repeated = scored(np.repeat(group, weight), np.repeat(errors, weight), VALUES)
    for one, other in zip(weighted.groups, sorted(repeated.groups, key=lambda group: group.name), strict=True):
        assert one.rows == 50
        assert one.score == pytest.approx(other.score)
        assert one.difference == pytest.approx(other.difference)
        assert np.diff(one.interval) > np.diff(other.interval)
    np.testing.assert_allclose(mean_interval(errors, np.full(100, 0.3)), mean_interval(errors))
    right = np.repeat([1.0, 0.0], [40, 10])
    np.testing.assert_allclose(mean_interval(right, np.full(50, 3.0)), mean_interval(right))


@pytest.mark.parametrize(("scale", "score", "interval"), [(1e-12, "1.00e-12", "e-12 to "), (1.0, "1.00", "1.00 to ")])
def test_scores_of_groups_are_shown_with_significant_digits(scale, score, interval):
    groups = (GroupScore("a", 40, scale, (scale, 1.2 * scale), 0.0, None),)
    row = GroupScores("g", "mean absolute error", False, groups).to_table().rows[0]
    assert row[2] == score
    assert interval in row[3]
