"""Tables, tasks, models and scores in words, as plain data and on the terminal."""

from __future__ import annotations

import json

import polars as pl
import pytest

from rosenblatt.cli.console.models import show_model, show_scores, show_search, show_table
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.task import ask
from rosenblatt.inspection.description import columns_in_words, of_model, of_table, task_in_words
from rosenblatt.models.metrics import Score
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit

QUICK = {"epochs": 2, "hidden_sizes": (4,), "folds": 2, "members": 2, "bins": 4}


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """Lines are not folded."""
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def printed(capsys):
    """What a function prints, its lines without the blanks between columns."""

    def printed(show, *arguments):
        show(*arguments)
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return printed


@pytest.fixture
def model(people):
    """A model of 300 people, two networks of 4 hidden units."""
    return fit(Table(people, "people.csv"), ("rich",), Spec.of(**QUICK), say=lambda _: None).model


def asked(values, task=None, name="y"):
    return ask(pl.DataFrame({name: values}), [name], task)


def a_search(**changed):
    trial = {
        "number": 3, "score": 0.125, "parameters": 1234, "values": {"dropout": 0.123456, "hidden_sizes": [8, 4]}
    }  # fmt: skip
    facts = {
        "trials": {"proposed": 12, "finished": 4, "stopped": 8, "failed": 0}, "scoring": "loss", "seconds": 61.7,
        "steps_per_second": 12_345, "cores_busy": 0.95, "refused": 0, "refusal": "", "optimism": 0.01,
        "ensemble": [{"trial": 3, "weight": 1.0}], "front": [], "top": [trial], "best": {"score": 0.125},
        "importance": {"dropout": 0.25, "hidden_sizes": 0.75},
    }  # fmt: skip
    return facts | changed


def test_columns_are_counted_by_kind_and_notes_are_kept():
    kinds = ["number", "number", "category", "category", "date"]
    columns = [Column(name=str(k), kind=kind) for k, kind in enumerate(kinds)]
    columns.append(Column(name="weight", kind="empty", note="holds no values"))
    first, *notes = columns_in_words(Schema(columns=tuple(columns)))
    assert first.endswith("2 numbers, 2 categories, 1 date, 1 empty")
    assert notes == ["  weight: holds no values"]


def test_a_classification_is_summarized_by_the_shares_of_its_classes():
    assert task_in_words(asked(["no"] * 3 + ["yes"])) == "two classes of 'y' (no 75.0%, yes 25.0%)"
    rows = [f"c{k}" for k in range(8) for _ in range(k + 1)]  # 36 rows, of c7 eight
    words = task_in_words(asked(rows))
    assert words.startswith("8 classes of 'y' (c7 22.2%, c6 19.4%, ")
    assert words.endswith("c2 8.3% and 2 more)")


def test_shares_are_those_of_the_rows_that_have_a_class():
    assert "(b 66.7%, a 33.3%)" in task_in_words(asked(["a", "b", None, "b", None]))


def test_tags_are_summarized_over_all_steps():
    words = task_in_words(asked(["N V N", "N", "V"], "tagging"))
    assert words == "2 classes for each step of 'y' (N 60.0%, V 40.0%)"


def test_several_labels_are_summarized_by_how_often_each_holds():
    frame = pl.DataFrame({"a": [0, 1, 1, 1], "b": [0, 0, 0, 1]})
    assert task_in_words(ask(frame, ["a", "b"])) == "2 labels at once (a 75.0%, b 25.0%)"


def test_a_regression_is_summarized_by_range_and_mean():
    words = task_in_words(asked([-1.5, 0.25, None, 10.0]))
    assert words.startswith("regression of 'y' (")
    assert words.endswith("from -1.5 to 10, mean 2.917)")
    frame = pl.DataFrame({"a": [0.5, 1.5, 2.25], "b": [-2.5, -1.5, -0.25]})
    assert task_in_words(ask(frame, ["a", "b"])).endswith(
        "from 0.5 to 2.25, mean 1.417; from -2.5 to -0.25, mean -1.417)"
    )


def test_a_table_is_described_column_by_column_as_plain_data():
    frame = pl.DataFrame(
        {"age": [30.0, None, 30.0, 41.5], "city": ["Oslo", " Rome", None, "Oslo"], "image": [b"12", None, b"345", b""]}
    )
    known = of_table(Table(frame.with_columns(rich=pl.Series(["y", "n", "y", "n"])), "people.csv", ("read as UTF-8",)))
    assert (known["source"], known["rows"], known["notes"]) == ("people.csv", 4, ["read as UTF-8"])
    age, city, image, rich = known["columns"]
    assert (age["kind"], age["missing"], age["distinct"], age["examples"]) == ("number", 1, 2, ["30.0", "41.5"])
    assert (city["name"], city["missing"], city["examples"]) == ("city", 1, ["Oslo", "Rome"])
    assert (image["kind"], image["examples"]) == ("nested", ["2 bytes", "3 bytes", "0 bytes"])
    assert rich["missing"] == 0
    assert known["likely_task"].startswith("two classes of 'rich' (n 50.0%, y 50.0%)")
    assert json.loads(json.dumps(known)) == known


def test_a_last_column_that_cannot_be_a_target_is_reported_with_the_reason(printed):
    known = of_table(Table(pl.DataFrame({"a": [1.0, 2.0], "same": ["x", "x"]}), "t.csv"))
    assert known["likely_task"].startswith("'same' cannot be the target: ")
    lines = printed(show_table, known)
    assert lines[0] == "t.csv: 2 rows, 2 columns"
    assert lines[-1] == f"likely task: {known['likely_task']}"


def test_the_terminal_shows_shares_of_missing_cells_and_names_in_brackets_as_they_are(printed):
    frame = pl.DataFrame({"age [years]": [30.0, None, 30.5, 41.5], "city": ["Oslo", "[red]", "Rome", "Oslo"]})
    lines = printed(show_table, of_table(Table(frame, "t.csv")))
    assert any(line.startswith("age [years] number 25.0% 3 30.0, 30.5, 41.5") for line in lines)
    assert any(line.startswith("city category 3 Oslo, [red], Rome") for line in lines)


def test_a_model_is_described_by_its_networks_columns_and_hyperparameters(model):
    known = of_model(model, "people.rosenblatt")
    assert (known["model"], known["task"], known["target"]) == ("people.rosenblatt", "binary", ["rich"])
    assert (known["classes"], known["networks"], known["kind"]) == (["no", "yes"], 2, "mlp")
    assert known["parameters"] == sum(network.theta.size for network in model.networks)
    assert known["sizes"][0] == known["inputs"]
    assert known["sizes"][1:-1] == [4]
    assert [column["name"] for column in known["columns"]] == ["age", "city", "noise"]
    assert known["epochs"] == [2, 2]
    assert known["hyperparameters"]["hidden_sizes"]["value"] == [4]
    batch = known["hyperparameters"]["batch_size"]
    assert (batch["asked"], isinstance(batch["value"], int)) == ("auto", True)
    assert "channels" not in known["hyperparameters"]  # of convolutional networks
    assert set(known["scores"]["accuracy"]) == {"model", "baseline"}
    json.dumps(known)


def test_a_model_is_shown_with_its_size_origin_and_defaults(model, printed):
    lines = printed(show_model, of_model(model, "people.rosenblatt"))
    total = sum(network.theta.size for network in model.networks)
    assert lines[0].startswith("people.rosenblatt: 2 x mlp")
    assert lines[0].endswith(f"{total:,} parameters")
    assert lines[1] == "predicts rich (binary: no, yes)"
    assert f"{model.facts['rows']:,} rows of people.csv" in lines[3]
    (hidden,) = [line for line in lines if line.startswith("hidden_sizes ")]
    assert hidden.startswith("hidden_sizes 4 ")
    (rate,) = [line for line in lines if line.startswith("learning_rate ")]
    assert rate.startswith(f"learning_rate {model.chosen['learning_rate']} auto ")
    assert any(line.startswith("accuracy ") for line in lines)


def test_a_search_is_shown_with_its_trials_and_what_mattered_first(printed):
    lines = printed(show_search, a_search(refused=2, refusal="too deep"))
    assert lines[0] == "search: 12 trials in 62 s (4 finished, 8 stopped), 12,345 network-steps/s, cores busy 95%"
    assert lines[1].startswith("2 proposals")
    assert lines[1].endswith("too deep")
    rows = [line.split()[0] for line in lines]
    assert rows.index("hidden_sizes") < rows.index("dropout")  # by importance
    assert "hidden_sizes 8,4 75% ▇▇▇▇▇▇▇▇" in lines
    assert "dropout 0.123 25% ▇▇" in lines
    assert "parameters 1,234" in lines
    assert "0.0100" in lines[-1]
    assert "0.0100" not in " ".join(printed(show_search, a_search(optimism=None)))
    again = {"rows": 4000, "networks": 3, "seconds": 7.2}
    assert any("4,000 rows" in line and "3 networks" in line for line in printed(show_search, a_search(refit=again)))


def test_scores_that_do_not_beat_the_baseline_are_marked(model, printed):
    scores = [
        Score("accuracy", 0.75, 0.5, higher_is_better=True),
        Score("auc", 0.5, 0.5, higher_is_better=True),
        Score("log_loss", 0.7, 0.6, higher_is_better=False),
        Score("rmse", 1234.56, 2000.0, higher_is_better=False),
    ]
    lines = printed(show_scores, scores, model)
    assert "2 networks" in lines[0]
    assert lines[0].endswith("baseline: majority class")
    assert [line for line in lines[2:] if line] == [
        "accuracy 0.7500 0.5000",
        "auc 0.5000 (no better) 0.5000",
        "log_loss 0.7000 (no better) 0.6000",
        "rmse 1,234.6 2,000.0",
    ]
    alone = [Score("accuracy", 0.625, 0.5, higher_is_better=True)]
    assert "accuracy 0.7500 0.6250 0.5000" in printed(show_scores, scores[:1], model, alone)
