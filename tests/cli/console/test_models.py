"""Tables, models, searches and scores, as they are printed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest

from rosenblatt.cli.console.models import print_model, print_scores, print_search, print_table_description
from rosenblatt.data.table import Table
from rosenblatt.inspection.description import describe_table
from rosenblatt.models.metadata import EnsembleMember, RefitSummary, SearchMetadata, TestScore, TrialCounts, TrialRecord
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

    def capture_lines(print_function, *arguments, **options):
        print_function(*arguments, **options)
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return capture_lines


@pytest.fixture
def model(people):
    """A model of 300 people, two networks of 4 hidden units."""
    return fit(Table(people, "people.csv"), ("rich",), Spec.from_hyperparameters(**QUICK), notify=lambda _: None).model


def make_trial(number, score, **params):
    fields = {"state": "finished", "reason": "", "scores": (), "epochs": 2, "folds": 2, "steps": 9, "seconds": 1.0}
    return TrialRecord(
        number=number, score=score, parameters=1234, params=params, inherited_from=(), **fields
    )  # fmt: skip


def make_search(**overrides):
    trial = make_trial(3, 0.125, dropout=0.123456, hidden_sizes=[8, 4])
    fields = {
        "trials": TrialCounts(proposed=12, finished=4, stopped=8, failed=0), "scoring": "loss", "seconds": 61.7,
        "steps_per_second": 12_345, "cores_busy": 0.95, "refused": 0, "refusal": "", "optimism": 0.01,
        "ensemble": (EnsembleMember(trial=3, weight=1.0),), "front": (), "top": (trial,), "best": trial,
        "importance": {"dropout": 0.25, "hidden_sizes": 0.75}, "folds": 2, "rungs": (),
        "network_steps": 9, "history": (),
    }  # fmt: skip
    return SearchMetadata(**fields | overrides)


def make_score(name, model, baseline, **options):
    return TestScore(name=name, model=model, baseline=baseline, **{"higher_is_better": True} | options)


def test_a_table_is_printed_between_its_size_and_its_likely_task(capture_lines):
    table = Table(pl.DataFrame({"a": [1.0, 2.0], "same": ["x", "x"]}), "t.csv", ("read as UTF-8",))
    description = describe_table(table)
    lines = capture_lines(print_table_description, description)
    assert lines[:2] == ["t.csv: 2 rows, 2 columns", "read as UTF-8"]
    assert lines[-1] == f"likely task: {description['likely_task']}"


def test_missing_cells_are_percentages_and_names_in_brackets_are_printed_as_they_are(capture_lines):
    frame = pl.DataFrame({"age [years]": [30.0, None, 30.5, 41.5], "city\\[/]": ["Oslo", "[red]", "Rome", "Oslo"]})
    lines = capture_lines(print_table_description, describe_table(Table(frame, "t.csv")))
    assert any(line.startswith("age [years] number 25.0% 3 30.0, 30.5, 41.5") for line in lines)
    assert any(line.startswith("city\\[/] category 3 Oslo, [red], Rome") for line in lines)


def test_a_long_table_is_folded_unless_all_columns_are_requested(capture_lines):
    description = describe_table(Table(pl.DataFrame({f"x{k}": [1.0, 2.0] for k in range(30)}), "t.csv"))
    lines = capture_lines(print_table_description, description)
    assert "and 10 more columns like these (--all)" in lines
    assert not any(line.startswith("x20 ") for line in lines)
    assert any(line.startswith("x29 ") for line in capture_lines(print_table_description, description, show_all=True))


def test_a_table_without_rows_is_printed(capture_lines):
    column = {"name": "a", "kind": "text", "missing": 0, "distinct": 0, "examples": [], "note": ""}
    description = {"source": "t.csv", "rows": 0, "notes": [], "columns": [column], "likely_task": "none"}
    assert capture_lines(print_table_description, description)[0] == "t.csv: 0 rows, 1 column"


def test_a_model_is_printed_with_scores_first_then_network_hyperparameters_and_data(model, capture_lines):
    lines = capture_lines(print_model, model, "people.rosenblatt")
    assert lines[0] == "people.rosenblatt: binary classification of rich (no, yes)"
    size = model.networks[0].architecture.n_parameters
    (network,) = [line for line in lines if "->" in line]
    assert network.endswith(f"-> 4 relu/silu -> 1 output x 2 networks, {size} parameters each")
    starts = ["test score", "network", "hyperparameters that differ from the defaults", "data"]
    positions = [next(k for k, line in enumerate(lines) if line.startswith(start)) for start in starts]
    assert positions == sorted(positions)
    assert "hidden_sizes 4 auto" in lines
    assert "members 2 auto" in lines
    assert not any(line.startswith("learning_rate") for line in lines), "a default, chosen by auto"
    assert any(line.startswith(f"trained on {model.metadata.rows} rows of people.csv, tested on ") for line in lines)
    assert any(line.startswith("best epochs: ") for line in lines)


def test_all_hyperparameters_and_columns_of_a_model_are_printed_on_request(model, capture_lines):
    lines = capture_lines(print_model, model, "people.rosenblatt", show_all=True)
    assert f"learning_rate {model.resolved_spec['learning_rate']} auto" in lines
    assert "residual false auto" in lines
    assert any(line.startswith("city category") for line in lines)
    assert "(--all)" not in " ".join(lines)


def test_a_model_of_default_hyperparameters_says_so(people, capture_lines):
    default = fit(Table(people, "t.csv"), ("rich",), Spec.from_hyperparameters(**QUICK), notify=lambda _: None).model
    lines = capture_lines(print_model, replace(default, spec=Spec()), "t.rosenblatt")
    (line,) = [line for line in lines if line.endswith("have their default values (--all).")]
    assert line.startswith("All ")
    assert "hyperparameters" not in lines, "no heading without a table"


def test_a_search_is_printed_with_its_trials_and_the_most_important_hyperparameter_first(capture_lines):
    lines = capture_lines(print_search, make_search(refused=2, refusal="too deep"))
    assert lines[0] == "search: 12 trials in 62 s (4 finished, 8 stopped early), 12,345 network steps/s, cores 95% busy"
    assert lines[1] == "2 proposals could not be combined, such as: too deep"
    rows = [line.split()[0] for line in lines]
    assert rows.index("hidden_sizes") < rows.index("dropout")  # by importance
    assert "hidden_sizes 8,4 75% ▇▇▇▇▇▇▇▇" in lines
    assert "dropout 0.123 25% ▇▇" in lines
    assert "parameters 1,234" in lines
    assert lines[-1].startswith("best validation loss 0.1250 (estimated selection bias 0.01000")
    assert "bias" not in " ".join(capture_lines(print_search, make_search(optimism=None)))
    refit = RefitSummary(rows=4000, networks=3, seconds=7.2)
    assert "refitted on all 4,000 rows: 3 networks in 7 s" in capture_lines(print_search, make_search(refit=refit))


def test_a_search_shows_at_most_three_trials_and_prefers_the_pareto_front(capture_lines):
    trials = tuple(make_trial(n, n / 8, dropout=n / 8) for n in range(1, 6))
    lines = capture_lines(print_search, make_search(top=trials, ensemble=(EnsembleMember(trial=2, weight=0.4),)))
    assert "trial 1 trial 2 trial 3 importance" in lines
    assert "validation loss 0.1250 0.2500 0.3750" in lines
    assert "weight in the model 0% 40% 0%" in lines
    lines = capture_lines(print_search, make_search(top=trials, front=trials[3:]))
    assert "trial 4 trial 5 importance" in lines


def test_a_model_of_an_ensemble_is_printed_with_the_weights_of_its_trials(model, capture_lines):
    (trial,) = model.trials
    trials = (replace(trial, number=7, weight=0.75), replace(trial, number=2, weight=0.25))
    lines = capture_lines(print_model, replace(model, trials=trials), "people.rosenblatt")
    assert [line.split(":")[0] for line in lines if "->" in line] == ["75% trial 7", "25% trial 2"]


def test_scores_that_do_not_beat_the_baseline_are_marked(model, capture_lines):
    scores = [
        make_score("accuracy", 0.75, 0.5),
        make_score("auc", 0.5, 0.5),
        make_score("log_loss", 0.7, 0.6, higher_is_better=False),
        make_score("rmse", 1234.56, 2000.0, higher_is_better=False),
    ]
    lines = capture_lines(print_scores, scores, model)
    assert lines[0] == "test score 2 networks baseline: majority class note"
    assert lines[2:] == [
        "accuracy 0.7500 0.5000",
        "auc 0.5000 0.5000 no better than the baseline",
        "log_loss 0.7000 0.6000 no better than the baseline",
        "rmse 1,235 2,000",
    ]
    best_trial_scores = [make_score("accuracy", 0.625, 0.5)]
    assert "accuracy 0.7500 0.5000 0.6250" in capture_lines(print_scores, scores[:1], model, best_trial_scores)


def test_scores_are_printed_with_their_intervals(model, capture_lines):
    scores = [make_score("accuracy", 0.75, 0.5, interval=(0.7, 0.8)), make_score("auc", 0.8, 0.5)]
    lines = capture_lines(print_scores, scores, model)
    assert lines[0] == "test score 2 networks 95% interval baseline: majority class"
    assert lines[2:] == ["accuracy 0.7500 0.7000 to 0.8000 0.5000", "auc 0.8000 0.5000"]


def test_without_test_rows_there_are_no_scores(model, capture_lines):
    assert capture_lines(print_scores, [], model) == ["No test rows were held out, so there are no test scores."]


@pytest.mark.parametrize(
    ("task", "baseline"),
    [
        ("regression", "mean"),
        ("multilabel", "most frequent labels"),
        ("binary", "majority class"),
        ("forecasting", "last value"),
    ],
)
def test_scores_name_the_baseline_of_the_task(task, baseline, capture_lines):
    model = SimpleNamespace(task=task, networks=[None] * 6, trials=[None] * 2)
    title = capture_lines(print_scores, [make_score("rmse", 1.0, 2.0, higher_is_better=False)], model)[0]
    assert title == f"test score ensemble baseline: {baseline}"
