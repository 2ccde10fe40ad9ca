"""Tables, models, searches and scores, as they are printed."""

from __future__ import annotations

from types import SimpleNamespace

import polars as pl
import pytest

from rosenblatt.cli.console.models import print_model, print_scores, print_search, print_table
from rosenblatt.data.table import Table
from rosenblatt.inspection.description import describe_model, describe_table
from rosenblatt.models.metadata import TestScore
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit

QUICK = {"epochs": 2, "hidden_sizes": (4,), "folds": 2, "members": 2, "bins": 4}


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """Lines are not folded."""
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def capture_lines(capsys):
    """What a function prints, its lines without the blanks between columns."""

    def capture_lines(print_function, *arguments):
        print_function(*arguments)
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return capture_lines


@pytest.fixture
def model(people):
    """A model of 300 people, two networks of 4 hidden units."""
    return fit(Table(people, "people.csv"), ("rich",), Spec.from_hyperparameters(**QUICK), notify=lambda _: None).model


def make_search(**overrides):
    trial = {
        "number": 3, "score": 0.125, "parameters": 1234, "params": {"dropout": 0.123456, "hidden_sizes": [8, 4]}
    }  # fmt: skip
    search = {
        "trials": {"proposed": 12, "finished": 4, "stopped": 8, "failed": 0}, "scoring": "loss", "seconds": 61.7,
        "steps_per_second": 12_345, "cores_busy": 0.95, "refused": 0, "refusal": "", "optimism": 0.01,
        "ensemble": [{"trial": 3, "weight": 1.0}], "front": [], "top": [trial], "best": {"score": 0.125},
        "importance": {"dropout": 0.25, "hidden_sizes": 0.75},
    }  # fmt: skip
    return search | overrides


def test_a_table_is_shown_between_its_size_and_its_likely_task(capture_lines):
    table = Table(pl.DataFrame({"a": [1.0, 2.0], "same": ["x", "x"]}), "t.csv", ("read as UTF-8",))
    description = describe_table(table)
    lines = capture_lines(print_table, description)
    assert lines[:2] == ["t.csv: 2 rows, 2 columns", "read as UTF-8"]
    assert lines[-1] == f"likely task: {description['likely_task']}"


def test_the_terminal_shows_shares_of_missing_cells_and_names_in_brackets_as_they_are(capture_lines):
    frame = pl.DataFrame({"age [years]": [30.0, None, 30.5, 41.5], "city": ["Oslo", "[red]", "Rome", "Oslo"]})
    lines = capture_lines(print_table, describe_table(Table(frame, "t.csv")))
    assert any(line.startswith("age [years] number 25.0% 3 30.0, 30.5, 41.5") for line in lines)
    assert any(line.startswith("city category 3 Oslo, [red], Rome") for line in lines)


def test_a_model_is_shown_with_its_size_origin_and_defaults(model, capture_lines):
    lines = capture_lines(print_model, describe_model(model, "people.rosenblatt"))
    total = sum(network.theta.size for network in model.networks)
    assert lines[0].startswith("people.rosenblatt: 2 x mlp")
    assert lines[0].endswith(f"{total:,} parameters")
    assert lines[1] == "predicts rich (binary: no, yes)"
    assert f"{model.metadata.rows:,} rows of people.csv" in lines[3]
    (hidden,) = [line for line in lines if line.startswith("hidden_sizes ")]
    assert hidden.startswith("hidden_sizes 4 ")
    (rate,) = [line for line in lines if line.startswith("learning_rate ")]
    assert rate.startswith(f"learning_rate {model.resolved_spec['learning_rate']} auto ")
    assert any(line.startswith("accuracy ") for line in lines)


def test_a_search_is_shown_with_its_trials_and_what_mattered_first(capture_lines):
    lines = capture_lines(print_search, make_search(refused=2, refusal="too deep"))
    assert lines[0] == "search: 12 trials in 62 s (4 finished, 8 stopped), 12,345 network-steps/s, cores busy 95%"
    assert lines[1].startswith("2 proposals")
    assert lines[1].endswith("too deep")
    rows = [line.split()[0] for line in lines]
    assert rows.index("hidden_sizes") < rows.index("dropout")  # by importance
    assert "hidden_sizes 8,4 75% ▇▇▇▇▇▇▇▇" in lines
    assert "dropout 0.123 25% ▇▇" in lines
    assert "parameters 1,234" in lines
    assert "0.0100" in lines[-1]
    assert "0.0100" not in " ".join(capture_lines(print_search, make_search(optimism=None)))
    refit = {"rows": 4000, "networks": 3, "seconds": 7.2}
    assert any(
        "4,000 rows" in line and "3 networks" in line for line in capture_lines(print_search, make_search(refit=refit))
    )


def test_a_search_shows_at_most_three_trials_and_prefers_the_pareto_front(capture_lines):
    trials = [{"number": n, "score": n / 8, "parameters": 10, "params": {"dropout": n / 8}} for n in range(1, 6)]
    lines = capture_lines(print_search, make_search(top=trials, ensemble=[{"trial": 2, "weight": 0.4}]))
    assert "trial 1 trial 2 trial 3 importance" in lines
    assert "validation loss 0.1250 0.2500 0.3750" in lines
    assert "share in the model 0% 40% 0%" in lines
    lines = capture_lines(print_search, make_search(top=trials, front=trials[3:]))
    assert "trial 4 trial 5 importance" in lines


def test_a_model_of_an_ensemble_is_shown_with_the_weights_of_its_trials(model, capture_lines):
    description = describe_model(model, "people.rosenblatt")
    lines = capture_lines(print_model, description | {"ensemble": [(7, 0.75), (2, 0.25)]})
    assert any("75% trial 7, 25% trial 2" in line for line in lines)
    assert not any("75% trial 7" in line for line in capture_lines(print_model, description))


def test_scores_that_do_not_beat_the_baseline_are_marked(model, capture_lines):
    scores = [
        TestScore(name="accuracy", model=0.75, baseline=0.5, higher_is_better=True),
        TestScore(name="auc", model=0.5, baseline=0.5, higher_is_better=True),
        TestScore(name="log_loss", model=0.7, baseline=0.6, higher_is_better=False),
        TestScore(name="rmse", model=1234.56, baseline=2000.0, higher_is_better=False),
    ]
    lines = capture_lines(print_scores, scores, model)
    assert "2 networks" in lines[0]
    assert lines[0].endswith("baseline: majority class")
    assert [line for line in lines[2:] if line] == [
        "accuracy 0.7500 0.5000",
        "auc 0.5000 (no better) 0.5000",
        "log_loss 0.7000 (no better) 0.6000",
        "rmse 1,234.6 2,000.0",
    ]
    best_trial_scores = [TestScore(name="accuracy", model=0.625, baseline=0.5, higher_is_better=True)]
    assert "accuracy 0.7500 0.6250 0.5000" in capture_lines(print_scores, scores[:1], model, best_trial_scores)


@pytest.mark.parametrize(
    ("task", "baseline"), [("regression", "mean"), ("multilabel", "most frequent labels"), ("binary", "majority class")]
)
def test_scores_name_the_baseline_of_the_task(task, baseline, capture_lines):
    model = SimpleNamespace(target=SimpleNamespace(task=task), task=task, networks=[None], trials=[None])
    title = capture_lines(
        print_scores, [TestScore(name="rmse", model=1.0, baseline=2.0, higher_is_better=False)], model
    )[0]
    assert title == f"test score 1 network baseline: {baseline}"


def test_scores_of_a_forecast_are_beside_those_of_the_last_value(capture_lines):
    model = SimpleNamespace(
        target=SimpleNamespace(task="regression"), task="forecasting", networks=[None] * 6, trials=[None] * 2
    )
    title = capture_lines(
        print_scores, [TestScore(name="rmse", model=1.0, baseline=2.0, higher_is_better=False)], model
    )[0]
    assert title == "test score ensemble of 2 trials, 6 networks baseline: last value"
