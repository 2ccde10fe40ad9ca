from dataclasses import fields

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.encoding.vocabulary import Vocabulary
from rosenblatt.data.media.images import encode_image
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, TableError
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.build import build_problem
from rosenblatt.workflows.problems.problem import ProblemRequest, labelled_rows, readable_image_mask
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
TEXT = "the quick brown fox jumps over the lazy dog. " * 10


def text_table(text, source="text.txt"):
    return Table(pl.DataFrame({"text": [text]}), source)


def build(table=FRAME, targets=("y",), **options):
    """The problem of a table or data frame, and its messages; options are fields of the request or hyperparameters."""
    messages = []
    table = table if isinstance(table, Table) else Table(table, "data.csv")
    request_options = {field.name: options.pop(field.name) for field in fields(ProblemRequest) if field.name in options}
    request = ProblemRequest(table, Spec.from_hyperparameters(**options), targets, **request_options)
    return build_problem(request, messages), messages


def test_a_table_may_name_its_target_test_rows_and_excluded_columns():
    table = Table(FRAME[:80], "folder", target="y", test=Table(FRAME[80:], "folder/test"), excluded_columns=("b",))
    problem, _ = build(table, targets=())
    assert problem.target.names == ("y",)
    assert problem.test["a"].to_list() == FRAME["a"][80:].to_list()
    assert [column.name for column in problem.schema.input_columns] == ["a", "person"]
    second, _ = build(table, keep=["b"], ignore=["person"])
    assert [column.name for column in second.schema.input_columns] == ["a", "b"]


@pytest.mark.parametrize(
    ("frame", "arguments", "error", "message"),
    [
        (FRAME, {"targets": ()}, TableError, "--target"),
        (FRAME, {"horizon": 3}, SpecError, "horizon.*--time"),
        (
            SERIES,
            {"targets": ["value"], "time": "t", "task": "binary"},
            SpecError,
            "--task.*forecasting",
        ),
        (SERIES, {"targets": ["value"], "time": "t", "groups": "t"}, SpecError, "groups.*forecasting"),
        (SERIES, {"targets": ["value", "t"], "time": "t"}, TableError, "one target column.*'value' and 't'"),
        (SERIES, {"targets": ["value"], "time": "t", "kind": "perceptron"}, SpecError, "forecast.*rnn.*perceptron"),
        (SERIES, {"targets": ["value"], "time": "t", "horizon": 90}, TableError, "horizon of 90.*--test-fraction"),
        (text_table(TEXT), {"targets": ["text"], "task": "language"}, SpecError, "--target"),
        (text_table(TEXT), {"targets": (), "task": "language", "horizon": 3}, SpecError, "horizon"),
        (text_table("a"), {"targets": (), "task": "language"}, TableError, "only 1 character"),
    ],
)
def test_options_that_do_not_fit_the_task_are_an_error_that_names_them(frame, arguments, error, message):
    with pytest.raises(error, match=message):
        build(frame, **arguments)


def test_windows_are_split_by_time_and_their_targets_are_the_next_steps():
    problem, lines = build(SERIES, ["value"], time="t", horizon=5, test_fraction=0.2)
    train, valid, test = problem.data.y, problem.validation.y, problem.y_test
    # Of 100 steps the last 20 are for testing, and a tenth of the 80 before them for validation. The targets of a
    # window that ends before step e (2 or more) are the steps e to e + 4, all of which must be in its part.
    assert (len(train), len(valid), len(test)) == (72 - 5 - 1, 80 - 5 - 71, 100 - 5 - 79)
    assert any("66" in line and "4" in line and "16" in line for line in lines)
    values = SERIES["value"].to_numpy()
    np.testing.assert_allclose(
        problem.windows.inverse_transform(problem.test, test), [values[e : e + 5] for e in range(80, 96)], rtol=1e-9
    )
    assert problem.spec.network.kind == "rnn"
    assert problem.target.names == tuple(f"value +{step}" for step in range(1, 6))
    second, _ = build(SERIES[:60], ["value"], time="t", horizon=5, test=Table(SERIES, "test.csv"))
    assert (len(second.data.y), len(second.y_test)) == (54 - 5 - 1, 100 - 5 - 1)


def test_a_text_is_split_in_order_and_each_target_is_the_next_token():
    problem, _ = build(text_table(TEXT), (), task="language", max_length=16, test_fraction=0.2, bidirectional=True)
    rows = problem.data.frame["text"].struct.field("text").to_list()
    validation_rows = problem.validation.frame["text"].struct.field("text").to_list()
    assert "".join(rows) == TEXT[:324]  # 0.9 of the 360 characters that are not for the test
    assert "".join(validation_rows) == TEXT[324:360]
    assert "".join(problem.test["text"]) == TEXT[360:]
    assert problem.steps == 16
    token_indices = {token: index for index, token in enumerate(problem.supervised_task.labels)}
    assert token_indices[""] == 0  # stands for all other tokens
    np.testing.assert_array_equal(problem.data.y[0], [token_indices[letter] for letter in TEXT[1:17]])
    np.testing.assert_array_equal(
        problem.data.y[-1], [*(token_indices[letter] for letter in TEXT[321:324]), *[-1] * 13]
    )
    assert problem.spec.network.kind == "rnn"
    assert problem.spec.network.bidirectional is False  # else a token would be predicted from itself
    assert problem.spec.training.members == 1


def test_damaged_images_are_rejected_or_left_out_by_name(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing")
    (tmp_path / "good.npy").write_bytes(encode_image(np.zeros((2, 2), np.uint8)))
    paths = [str(tmp_path / name) for name in ("good.npy", "bad.png", "good.npy")]
    frame = pl.DataFrame({"photo": paths})
    schema = Schema(columns=(Column(name="photo", kind="image", include=True),))
    lines = []
    np.testing.assert_array_equal(readable_image_mask(schema, "skip", frame, lines), [True, False, True])
    assert len(lines) == 1
    assert "photo" in lines[0]
    assert "bad.png" in lines[0]
    with pytest.raises(TableError, match=r"bad\.png"):
        readable_image_mask(schema, "raise", frame, lines)


def test_another_table_is_read_by_the_fitted_target_and_named_in_errors():
    target, lines = Target(names=("y",), task="binary", labels=("no", "yes")), []
    rows = labelled_rows(Table(FRAME[:3].with_columns(y=pl.Series(["Yes.", None, "no"])), "new.csv"), target, lines)
    assert rows.frame["a"].to_list() == [FRAME["a"][0], FRAME["a"][2]]
    np.testing.assert_array_equal(rows.y, [1, 0])
    assert rows.numbers.tolist() == [1, 3]
    assert any("'Yes.' as 'yes'" in line for line in lines)
    assert any(line.startswith("1 row") for line in lines)
    with pytest.raises(TableError, match=r"'new\.csv'.*'maybe'"):
        labelled_rows(Table(FRAME.with_columns(y=pl.lit("maybe")), "new.csv"), target, lines)
    with pytest.raises(TableError, match=r"'new\.csv'.*no values.*'y'"):
        labelled_rows(Table(FRAME.with_columns(y=pl.lit("")), "new.csv"), target, lines)


def test_a_text_to_score_is_split_into_rows_with_the_next_tokens():
    vocabulary = Vocabulary(unit="characters", tokens=("a", "b"))
    frame, targets = text_to_score(text_table("abxba"), vocabulary, 2, [])
    assert frame["text"].to_list() == ["ab", "xb"]
    np.testing.assert_array_equal(targets, [[2, 0], [2, 1]])
    with pytest.raises(TableError, match=r"'short\.txt'.*too short"):
        text_to_score(text_table("a", "short.txt"), vocabulary, 2, [])
