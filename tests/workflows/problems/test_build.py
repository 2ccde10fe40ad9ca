from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.encoding.vocabulary import Vocabulary
from rosenblatt.data.media.images import as_cell
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, TableError
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.build import pose
from rosenblatt.workflows.problems.problem import Asked, answered, readable
from rosenblatt.workflows.problems.text import text_to_score

RNG = np.random.default_rng(0)
N = 100
FRAME = pl.DataFrame(
    {
        "a": RNG.normal(size=N),
        "b": RNG.normal(size=N),
        "person": [f"p{row % 20}" for row in range(N)],
        "y": ["yes" if row % 4 == 0 else "no" for row in range(N)],
    }
)
SERIES = pl.DataFrame({"t": range(N), "value": [float(row % 7) + 2 * row for row in range(N)]})
TWO_VALUES = pl.DataFrame({"a": [1.5, 2.5, 3.5], "u": [1.5, 2.5, None], "v": [4.5, None, 5.5]})
TEXT = "the quick brown fox jumps over the lazy dog. " * 10
LANGUAGE = Asked(task="language")


def of_text(text, source="text.txt"):
    return Table(pl.DataFrame({"text": [text]}), source)


def posed(table=FRAME, targets=("y",), asked=None, test=None, validation=None, **changes):
    """The problem of a table or a data frame, and all lines that were printed about it."""
    lines = []
    table = table if isinstance(table, Table) else Table(table, "data.csv")
    return pose(table, targets, Spec.of(**changes), asked or Asked(), test, validation, lines.append), lines


def numbers_of(problem):
    """The values of column `a` of the training rows, which differ from row to row."""
    return problem.data.frame["a"].to_list()


def test_every_row_is_for_training_or_for_the_test_and_classes_keep_their_shares():
    problem, lines = posed(test_fraction=0.2)
    assert sorted(numbers_of(problem) + problem.test["a"].to_list()) == sorted(FRAME["a"].to_list())
    assert np.bincount(problem.truth.astype(int)).tolist() == [15, 5]
    np.testing.assert_array_equal(problem.truth, (problem.test["y"] == "yes").to_numpy())
    a_yes = FRAME.filter(pl.col("y") == "yes")["a"]
    np.testing.assert_array_equal(problem.data.y, problem.data.frame["a"].is_in(a_yes.to_list()).to_numpy())
    assert [column.name for column in problem.schema.learnt] == ["a", "b", "person"]
    assert problem.steps == 1
    assert problem.validation is None
    assert any("80" in line and "20" in line for line in lines)


def test_rows_without_a_target_are_dropped_and_counted():
    holes = FRAME.with_columns(y=pl.when(pl.col("a") < FRAME["a"].sort()[7]).then(None).otherwise("y"))
    problem, lines = posed(holes, test_fraction=0.0)
    known = holes.filter(pl.col("y").is_not_null())
    assert numbers_of(problem) == known["a"].to_list()
    assert problem.test.height == 0
    assert any(line.startswith("7 rows") and "'y'" in line for line in lines)


def test_test_and_validation_tables_of_their_own_leave_all_rows_to_training():
    test = Table(FRAME[:30].with_columns(y=pl.Series([None, *FRAME["y"][1:30]])), "test.csv")
    problem, _ = posed(test=test, validation=Table(FRAME[50:], "other.csv"))
    assert numbers_of(problem) == FRAME["a"].to_list()
    assert problem.test["a"].to_list() == FRAME["a"][1:30].to_list()
    assert problem.test_typed.columns == ["a", "b", "person"]
    assert problem.validation.frame["a"].to_list() == FRAME["a"][50:].to_list()
    np.testing.assert_array_equal(problem.validation.y, (FRAME["y"][50:] == "yes").to_numpy())


def test_the_table_may_name_its_target_and_test_rows_and_columns_left_aside():
    table = Table(FRAME[:80], "folder", target="y", test=Table(FRAME[80:], "folder/test"), aside=("b",))
    problem, _ = posed(table, targets=())
    assert problem.target.names == ("y",)
    assert problem.test["a"].to_list() == FRAME["a"][80:].to_list()
    assert [column.name for column in problem.schema.learnt] == ["a", "person"]
    kept, _ = posed(table, asked=Asked(keep=["b"], ignore=["person"]))
    assert [column.name for column in kept.schema.learnt] == ["a", "b"]


def test_groups_stay_on_one_side_and_are_not_learnt_from():
    problem, _ = posed(groups="person", test_fraction=0.3)
    assert [column.name for column in problem.schema.columns] == ["a", "b"]
    person = dict(zip(FRAME["a"], FRAME["person"], strict=True))
    people = [person[a] for a in numbers_of(problem)]
    assert not set(people) & set(problem.test["person"])
    numbers = problem.data.groups.tolist()
    assert len(set(zip(people, numbers, strict=True))) == len(set(people)) == len(set(numbers))


def test_the_latest_rows_are_the_test_rows_where_there_is_an_order():
    days = [(date(2021, 11, 20) + timedelta(int(day))).strftime("%d.%m.%Y") for day in RNG.permutation(N)]
    frame = FRAME.with_columns(day=pl.Series(days))  # as text these are not in the order of time
    problem, _ = posed(frame, order="day", test_fraction=0.2)
    time = pl.col("day").str.to_date("%d.%m.%Y")
    assert set(problem.test["day"]) == set(frame.sort(time)["day"][80:])
    placed = [numbers_of(problem)[row] for row in np.argsort(problem.data.order)]
    assert placed == frame.sort(time)["a"][:80].to_list()


@pytest.mark.parametrize(
    ("frame", "arguments", "error", "message"),
    [
        (FRAME, {"targets": ()}, TableError, "--target"),
        (FRAME, {"asked": Asked(ignore=["y"])}, TableError, "'y' is the target.*ignored"),
        (FRAME, {"groups": "y"}, TableError, "'y' is the target.*groups"),
        (FRAME, {"order": "y"}, TableError, "'y' is the target.*order"),
        (FRAME, {"groups": "person", "order": "a"}, TableError, "groups.*order.*not.*both"),
        (FRAME.with_columns(person=pl.Series([None, *["p"] * 99])), {"groups": "person"}, TableError, "'person'.* 1 "),
        (FRAME.with_columns(c=pl.lit(None)), {}, TableError, "'c'.*--ignore c"),
        (FRAME.select("y", c=pl.lit(1)), {}, TableError, "No .*column.*c: "),
        (TWO_VALUES, {"targets": ["u", "v"]}, TableError, "one row has 'u' and 'v'"),
        (FRAME, {"horizon": 3}, SpecError, "horizon.*--time"),
        (SERIES, {"targets": ["value"], "time": "t", "asked": Asked(task="binary")}, SpecError, "forecast.*--task"),
        (SERIES, {"targets": ["value"], "time": "t", "groups": "t"}, SpecError, "forecast.*groups"),
        (SERIES, {"targets": ["value", "t"], "time": "t"}, TableError, "one column.*'value' and 't'"),
        (SERIES, {"targets": ["value"], "time": "t", "kind": "perceptron"}, SpecError, "forecast.*rnn.*perceptron"),
        (SERIES, {"targets": ["value"], "time": "t", "horizon": 90}, TableError, "horizon of 90.*--test-fraction"),
        (of_text(TEXT), {"targets": ["text"], "asked": LANGUAGE}, SpecError, "--target"),
        (of_text(TEXT), {"targets": (), "asked": LANGUAGE, "horizon": 3}, SpecError, "horizon"),
        (of_text("a"), {"targets": (), "asked": LANGUAGE}, TableError, "only 1 character"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(frame, arguments, error, message):
    with pytest.raises(error, match=message):
        posed(frame, **arguments)


def test_windows_are_split_by_time_and_their_answers_are_the_next_steps():
    problem, lines = posed(SERIES, ["value"], time="t", horizon=5, test_fraction=0.2)
    train, valid, test = problem.data.y, problem.validation.y, problem.truth
    # Of 100 steps the last 20 are for the test, and a tenth of the 80 before them for validation. A window that ends
    # before step e, from 2 on, is answered by the steps e to e + 4, all of which must lie in its part.
    assert (len(train), len(valid), len(test)) == (72 - 5 - 1, 80 - 5 - 71, 100 - 5 - 79)
    assert any("66" in line and "4" in line and "16" in line for line in lines)
    values = SERIES["value"].to_numpy()
    np.testing.assert_allclose(
        problem.windows.in_units(problem.test, test), [values[e : e + 5] for e in range(80, 96)], rtol=1e-9
    )
    assert problem.spec.network.kind == "rnn"
    assert problem.target.names == tuple(f"value +{step}" for step in range(1, 6))
    whole, _ = posed(SERIES[:60], ["value"], time="t", horizon=5, test=Table(SERIES, "test.csv"))
    assert (len(whole.data.y), len(whole.truth)) == (54 - 5 - 1, 100 - 5 - 1)


def test_a_text_is_split_in_its_order_and_each_token_is_followed_by_the_next():
    problem, _ = posed(of_text(TEXT), (), LANGUAGE, max_length=16, test_fraction=0.2, bidirectional=True)
    rows = problem.data.frame["text"].struct.field("text").to_list()
    watched = problem.validation.frame["text"].struct.field("text").to_list()
    assert "".join(rows) == TEXT[:324]  # 0.9 of the 360 characters that are not for the test
    assert "".join(watched) == TEXT[324:360]
    assert "".join(problem.test["text"]) == TEXT[360:]
    assert problem.steps == 16
    number = {token: index for index, token in enumerate(problem.question.labels)}
    assert number[""] == 0  # stands for all other tokens
    np.testing.assert_array_equal(problem.data.y[0], [number[letter] for letter in TEXT[1:17]])
    np.testing.assert_array_equal(problem.data.y[-1], [*(number[letter] for letter in TEXT[321:324]), *[-1] * 13])
    assert problem.spec.network.kind == "rnn"
    assert problem.spec.network.bidirectional is False  # else a token would be predicted from itself
    assert problem.spec.training.members == 1


def test_the_kind_of_network_follows_from_rows_that_hold_nothing_but_media():
    pixels = RNG.integers(0, 255, (8, 4, 4, 3)).astype(np.uint8)
    photos = pl.DataFrame({"photo": [as_cell(one) for one in pixels], "y": ["a", "b"] * 4})
    problem, lines = posed(photos)
    assert problem.spec.network.kind == "cnn"
    assert any("cnn" in line for line in lines)
    notes = pl.DataFrame({"note": [f"good or bad {row}" for row in range(8)], "y": ["a", "b"] * 4})
    assert posed(notes, asked=Asked(texts=["note"]))[0].spec.network.kind == "rnn"
    assert posed(FRAME)[0].spec.network.kind == "mlp"


def test_damaged_images_are_refused_or_left_out_by_name(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing")
    (tmp_path / "good.npy").write_bytes(as_cell(np.zeros((2, 2), np.uint8)))
    paths = [str(tmp_path / name) for name in ("good.npy", "bad.png", "good.npy")]
    frame = pl.DataFrame({"photo": paths})
    schema = Schema(columns=(Column(name="photo", kind="image", asked=True),))
    lines = []
    np.testing.assert_array_equal(readable(schema, "skip", frame, lines.append), [True, False, True])
    assert len(lines) == 1
    assert "photo" in lines[0]
    assert "bad.png" in lines[0]
    with pytest.raises(TableError, match=r"bad\.png"):
        readable(schema, "raise", frame, lines.append)


def test_another_table_is_read_by_the_target_of_the_model_and_named_in_errors():
    target, lines = Target(names=("y",), task="binary", labels=("no", "yes")), []
    frame, y = answered(
        Table(FRAME[:3].with_columns(y=pl.Series(["Yes.", None, "no"])), "new.csv"), target, lines.append
    )
    assert frame["a"].to_list() == [FRAME["a"][0], FRAME["a"][2]]
    np.testing.assert_array_equal(y, [1, 0])
    assert any(line.startswith("new.csv: ") and "'Yes.'" in line for line in lines)
    assert any(line.startswith("1 row") for line in lines)
    with pytest.raises(TableError, match=r"'new\.csv'.*'maybe'"):
        answered(Table(FRAME.with_columns(y=pl.lit("maybe")), "new.csv"), target, lines.append)
    with pytest.raises(TableError, match=r"'new\.csv'.*no values.*'y'"):
        answered(Table(FRAME.with_columns(y=pl.lit("")), "new.csv"), target, lines.append)


def test_a_text_to_score_is_cut_into_rows_of_tokens_with_their_followers():
    vocabulary = Vocabulary(unit="characters", tokens=("a", "b"))
    frame, answers = text_to_score(of_text("abxba"), vocabulary, 2, print)
    assert frame["text"].to_list() == ["ab", "xb"]
    np.testing.assert_array_equal(answers, [[2, 0], [2, 1]])
    with pytest.raises(TableError, match=r"'short\.txt'.*too short"):
        text_to_score(of_text("a", "short.txt"), vocabulary, 2, print)
