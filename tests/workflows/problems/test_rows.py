"""Learning problems on tables of rows."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.media.images import encode_image
from rosenblatt.data.table import Table
from rosenblatt.errors import TableError
from tests.workflows.problems.test_build import FRAME, N, build

RNG = np.random.default_rng(0)
TWO_VALUES = pl.DataFrame({"a": [1.5, 2.5, 3.5], "u": [1.5, 2.5, None], "v": [4.5, None, 5.5]})


def training_values(problem):
    """The values of column `a` of the training rows, which differ from row to row."""
    return problem.data.frame["a"].to_list()


def test_every_row_is_for_training_or_testing_and_classes_are_stratified():
    problem, lines = build(test_fraction=0.2)
    assert sorted(training_values(problem) + problem.test["a"].to_list()) == sorted(FRAME["a"].to_list())
    assert np.bincount(problem.y_test.astype(int)).tolist() == [15, 5]
    np.testing.assert_array_equal(problem.y_test, (problem.test["y"] == "yes").to_numpy())
    a_yes = FRAME.filter(pl.col("y") == "yes")["a"]
    np.testing.assert_array_equal(problem.data.y, problem.data.frame["a"].is_in(a_yes.to_list()).to_numpy())
    assert [column.name for column in problem.schema.input_columns] == ["a", "b", "person"]
    assert problem.steps == 1
    assert problem.validation is None
    assert any("80" in line and "20" in line for line in lines)


def test_rows_without_a_target_are_dropped_and_counted():
    holes = FRAME.with_columns(y=pl.when(pl.col("a") < FRAME["a"].sort()[7]).then(None).otherwise("y"))
    problem, lines = build(holes, test_fraction=0.0)
    labelled = holes.filter(pl.col("y").is_not_null())
    assert training_values(problem) == labelled["a"].to_list()
    assert problem.test.height == 0
    assert any(line.startswith("7 rows") and "'y'" in line for line in lines)


def test_test_and_validation_tables_of_their_own_leave_all_rows_to_training():
    test = Table(FRAME[:30].with_columns(y=pl.Series([None, *FRAME["y"][1:30]])), "test.csv")
    problem, _ = build(test=test, validation=Table(FRAME[50:], "other.csv"))
    assert training_values(problem) == FRAME["a"].to_list()
    assert problem.test["a"].to_list() == FRAME["a"][1:30].to_list()
    assert problem.test_typed.columns == ["a", "b", "person"]
    assert problem.validation.frame["a"].to_list() == FRAME["a"][50:].to_list()
    np.testing.assert_array_equal(problem.validation.y, (FRAME["y"][50:] == "yes").to_numpy())


def test_groups_are_not_split_and_are_not_inputs():
    problem, _ = build(groups="person", test_fraction=0.3)
    assert [column.name for column in problem.schema.columns] == ["a", "b"]
    person = dict(zip(FRAME["a"], FRAME["person"], strict=True))
    people = [person[a] for a in training_values(problem)]
    assert not set(people) & set(problem.test["person"])
    numbers = problem.data.groups.tolist()
    assert len(set(zip(people, numbers, strict=True))) == len(set(people)) == len(set(numbers))


def test_the_latest_rows_are_the_test_rows_if_rows_have_an_order():
    days = [(date(2021, 11, 20) + timedelta(int(day))).strftime("%d.%m.%Y") for day in RNG.permutation(N)]
    frame = FRAME.with_columns(day=pl.Series(days))  # as text these are not in the order of time
    problem, _ = build(frame, order="day", test_fraction=0.2)
    time = pl.col("day").str.to_date("%d.%m.%Y")
    assert set(problem.test["day"]) == set(frame.sort(time)["day"][80:])
    ordered = [training_values(problem)[row] for row in np.argsort(problem.data.order)]
    assert ordered == frame.sort(time)["a"][:80].to_list()


@pytest.mark.parametrize(
    ("write", "ignored"),
    [
        (lambda i: str(i + 1), False),
        (lambda i: str(i + 1), True),
        (lambda i: f"W{i + 1}", False),
        (lambda i: f"Q{i % 4 + 1} {1990 + i // 4}", False),
        (lambda i: f"{date(1995, 1, 1) + timedelta(40 * i):%m/%d/%y}", True),
        (lambda i: f"{datetime(2023, 1, 1) + timedelta(hours=7 * i):%m/%d/%Y %I:%M %p}", False),  # noqa: DTZ001
    ],
    ids=["count", "count, ignored", "week", "quarter", "two-digit years", "AM and PM"],
)
def test_the_latest_rows_are_the_test_rows_in_every_way_to_write_an_order(write, ignored):
    steps = RNG.permutation(N)
    frame = FRAME.with_columns(t=pl.Series([write(int(step)) for step in steps]))
    problem, lines = build(frame, order="t", test_fraction=0.2, ignore=["t"] * ignored)
    assert set(problem.test["t"]) == {write(step) for step in range(80, 100)}
    assert f"order: t, from {write(0)!r} to {write(99)!r}" in lines


def test_the_kind_of_network_is_chosen_for_rows_of_media_only():
    pixels = RNG.integers(0, 255, (8, 4, 4, 3)).astype(np.uint8)
    photos = pl.DataFrame({"photo": [encode_image(image) for image in pixels], "y": ["a", "b"] * 4})
    problem, lines = build(photos)
    assert problem.spec.network.kind == "cnn"
    assert any("cnn" in line for line in lines)
    notes = pl.DataFrame({"note": [f"good or bad {row}" for row in range(8)], "y": ["a", "b"] * 4})
    assert build(notes, texts=["note"])[0].spec.network.kind == "rnn"
    assert build(FRAME)[0].spec.network.kind == "mlp"


def test_scores_of_fewer_than_30_test_rows_are_called_rough():
    for n_test, is_rough in ((29, True), (30, False)):
        _, lines = build(test=Table(FRAME[:n_test], "test.csv"))
        (counts,) = [line for line in lines if line.startswith("rows: ")]
        assert counts.startswith(f"rows: 100 for training, {n_test} for testing")
        assert ("rough" in counts) == is_rough


@pytest.mark.parametrize(
    ("frame", "arguments", "message"),
    [
        (FRAME, {"ignore": ["y"]}, "'y' is the target.*ignored"),
        (FRAME, {"groups": "y"}, "'y' is the target.*groups"),
        (FRAME, {"order": "y"}, "'y' is the target.*order"),
        (FRAME, {"groups": "person", "order": "a"}, "groups.*order.*not.*both"),
        (FRAME.with_columns(t=pl.Series(["n/a", *map(str, range(1, N))])), {"order": "t"}, "no value in 1 row .'n/a'"),
        (FRAME.with_columns(t=pl.Series(["low", "high"] * 50)), {"order": "t"}, "'t' holds 'low' and 'high'"),
        (FRAME.with_columns(person=pl.Series([None, *["p"] * 99])), {"groups": "person"}, "'person'.* 1 "),
        (FRAME.select("y", c=pl.lit(1)), {}, "No .*column.*c: "),
        (TWO_VALUES, {"targets": ["u", "v"]}, "one row has 'u' and 'v'"),
    ],
)
def test_columns_that_cannot_have_their_role_are_an_error_that_names_them(frame, arguments, message):
    with pytest.raises(TableError, match=message):
        build(frame, **arguments)
