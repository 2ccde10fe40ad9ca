"""What the page of a search shows: its trials by time, rung and hyperparameter."""

from __future__ import annotations

from contextlib import closing

import polars as pl
import pytest
from click.testing import CliRunner

import rosenblatt
from rosenblatt.cli.exit_status import ExitStatus
from rosenblatt.cli.main import cli
from rosenblatt.dashboard import searches
from rosenblatt.dashboard.details import RunQuery
from rosenblatt.dashboard.searches import load_search
from rosenblatt.errors import RunError
from rosenblatt.runs.store.queries import find_runs
from rosenblatt.runs.store.store import Store
from tests.dashboard.page_checks import find_barriers, other_hosts, set_theme
from tests.dashboard.servers import running_dashboard
from tests.serving.browser import open_page

SEARCH = ["--trials", "6", "--epochs", "6", "--folds", "2", "--repeats", "1", "--deterministic"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A store with a search of the command and one of a function, and their ids."""
    folder = tmp_path_factory.mktemp("searches")
    url = f"sqlite:///{folder}/runs.db"
    table = folder / "people.csv"
    pl.DataFrame({"x": [0.1 * k for k in range(60)], "y": [str(k % 2) for k in range(60)]}).write_csv(table)
    options = ["--store", str(folder / "runs.db"), "--out", str(folder / "model.rosenblatt")]
    result = CliRunner().invoke(cli, ["fit", str(table), "-t", "y", *SEARCH, *options], obj=ExitStatus())
    assert result.exit_code == 0, result.output

    def train(params, run):
        run.log({"val_loss": params["lr"]}, step=0)

    space = {"lr": rosenblatt.log_uniform(1e-3, 1.0)}
    options = {"direction": "maximize", "experiment": "function", "store": str(folder / "runs.db")}
    rosenblatt.tune(train, space, trials=3, metric="val_loss", **options)
    with closing(Store(url)) as store:
        ids = {run.experiment: run.id for run in find_runs(store, "kind = search")}
        yield store, ids["people"], ids["function"]


def test_trials_have_scores_by_rung_states_and_hyperparameters(searched):
    store, run, _ = searched
    search = load_search(store, RunQuery(run=run))
    assert (search.state, search.scoring, search.is_maximized, search.planned_trials) == ("finished", "loss", False, 6)
    assert search.numbers == list(range(6))
    assert search.ids[5] == f"{run}-5"
    assert set(search.states) <= {"finished", "stopped"}
    assert len(search.rungs) == max(map(len, search.scores))
    finished = [row for row, state in enumerate(search.states) if state == "finished"]
    assert all(len(search.scores[row]) == len(search.rungs) and search.epochs[row] == 6 for row in finished)
    assert "learning_rate" in search.params
    assert all(len(values) == 6 and len(set(values)) > 1 for values in search.params.values())
    assert sum(member.weight for member in search.ensemble) == pytest.approx(1)


def test_a_search_of_a_function_has_the_best_value_of_its_metric(searched):
    store, _, run = searched
    search = load_search(store, RunQuery(run=run))
    assert (search.scoring, search.is_maximized, search.rungs) == ("val_loss", True, [])
    assert [scores[0] for scores in search.scores] == search.params["lr"]


def test_many_trials_and_hyperparameters_are_cut_and_counted(searched, monkeypatch):
    store, run, _ = searched
    n_params = len(load_search(store, RunQuery(run=run)).params)
    monkeypatch.setattr(searches, "MAX_TRIALS", 2)
    monkeypatch.setattr(searches, "MAX_VALUES", 1)
    search = load_search(store, RunQuery(run=run))
    assert (search.total, search.numbers, len(search.params), search.hidden_params) == (6, [4, 5], 1, n_params - 1)


def test_other_runs_are_refused(searched):
    store, run, _ = searched
    with pytest.raises(RunError, match="is no search, but of kind trial"):
        load_search(store, RunQuery(run=f"{run}-0"))


@pytest.mark.browser
def test_the_page_of_a_search_draws_it_and_lists_others(searched, tmp_path):
    store, run, _ = searched
    with running_dashboard(store) as port, open_page(tmp_path / "browser") as page:
        page.open(f"http://127.0.0.1:{port}/#/search")
        page.wait_for("document.querySelectorAll('main a').length === 2")
        page.evaluate(f"document.querySelector(`main a[href$='{run}']`).click()")
        page.wait_for("document.querySelectorAll('canvas').length >= 2")
        text = page.evaluate("document.querySelector('main').innerText")
        assert "6 trials: " in text
        assert "Best score over time" in text
        assert "Trials in the model" in text
        for theme in ("light", "dark"):
            set_theme(page, theme)
            assert find_barriers(page) == []
        assert other_hosts(page, f"http://127.0.0.1:{port}/") == []
        page.open(f"http://127.0.0.1:{port}/#/search/{run}-0")
        page.wait_for("document.querySelector('[role=alert]')?.innerText.includes('is no search')")
        assert not [error for error in page.errors if "422" not in error]
