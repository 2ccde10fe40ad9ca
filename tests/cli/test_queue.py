"""The commands on the queue: what they accept, check and print."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rosenblatt.cluster import queue_runner
from tests.waiting import wait_until


@pytest.fixture
def folder(people, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    people.write_csv("people.csv")
    for name in ("wide", "deep"):
        (tmp_path / f"{name}.toml").write_text("[training]\nepochs = 2\n")
    (tmp_path / "people.toml").write_text("[fit]\ntable = 'people.csv'\ntarget = ['rich']\n[training]\nepochs = 2\n")
    (tmp_path / "own.toml").write_text("[fit]\ntable = 'people.csv'\ntrget = 'rich'\n")
    (tmp_path / "bad.toml").write_text("[fit]\ntable = 'people.csv'\n[training]\nepoch = 2\n")
    (tmp_path / "train.py").write_text("print('trained')\n")
    return tmp_path


def listed(run):
    return json.loads(run("queue", "list", "--json")[1])


def test_a_fit_a_script_and_configs_are_added_and_listed(run, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, output, _ = run("queue", "add", "fit", "people.csv", "--target", "rich", "--config=wide.toml")
    assert (status, output) == (0, "added: 1. `rosenblatt queue run` runs what waits.\n")
    assert run("queue", "add", "--priority", "3", "run", "train.py", "--", "--lr", "0.1")[0] == 0
    status, output, _ = run("queue", "add", "--json", "wide.toml", "deep.toml", "--", "people.csv", "-t", "rich")
    assert json.loads(output) == [3, 4]
    experiments = {experiment["number"]: experiment for experiment in listed(run)}
    assert list(experiments) == [2, 1, 3, 4]
    assert experiments[2]["arguments"] == ["run", "train.py", "--", "--lr", "0.1"]
    assert experiments[2]["source"]
    assert experiments[1]["output"] == str(folder / "people.rosenblatt")
    assert experiments[4]["arguments"] == [
        "fit", "--config", "deep.toml", "people.csv", "-t", "rich", "--out", "deep.rosenblatt", "--name", "deep"
    ]  # fmt: skip
    assert run("queue", "add", "people.toml", "--on", "lab")[0] == 0
    assert run("queue", "add", "--on", "lab", "people.toml")[0] == 0
    own = {experiment["number"]: experiment["arguments"] for experiment in listed(run)}
    assert own[5][1:6] == ["--config", "people.toml", "people.csv", "--target=rich", "--on"]
    assert own[6][1:5] == ["--config", "people.toml", "--on", "lab"]
    table = run("queue", "list")[1]
    assert "fit --config deep.toml people.csv -t rich" in table
    assert "priority" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "people.csv", "--trget", "rich"], "No such option '--trget'"),
        (["fit", "people.csv", "--target", "rich", "--epochs", "many"], "epochs must be"),
        (["fit", "nobody.csv", "--target", "rich"], "no table 'nobody.csv'"),
        (["fit", "-", "--target", "rich"], "no standard input"),
        (["fit", "people.csv", "--config", "none.toml"], "none.toml cannot be read"),
        (["fit", "people.csv", "--out", "nowhere/a.rosenblatt"], "no folder 'nowhere'"),
        (["run", "tran.py"], "Did you mean 'train.py'?"),
        (["run", "train.py", "--token", "hf_abcdefghijklmnopqrstuvwxyz0123456789"], "looks like a credential"),
        (["fits", "people.csv"], "Did you mean 'fit'?"),
        (["wide.toml"], "wide.toml names no table"),
        (["run", "train.py", "--", "\udcff"], "must be UTF-8, but '\\udcff' is not"),
        (["wide.toml", "people.csv", "--target", "rich", "--epochs", "x"], "epochs must be"),
        (["own.toml"], "Did you mean one of: '--target'"),
        (["bad.toml"], "In the config bad.toml"),
        (["wide.toml", "deep.toml", "--", "people.csv", "--out", "a.rosenblatt"], "--out would be the same"),
        (["wide.toml", "deep.toml", "--", "people.csv", "--out=a.rosenblatt"], "--out would be the same"),
        (["wide.toml", "deep.toml", "--", "people.csv", "-oa.rosenblatt"], "--out would be the same"),
        (["wide.toml", "people.csv", "--config=deep.toml"], "--config would be the same"),
    ],
)
def test_what_could_not_run_is_refused_when_it_is_added(run, folder, arguments, message):
    status, _, errors = run("queue", "add", *arguments)
    assert status == 2
    assert message in errors
    assert "waiting" not in run("queue", "list")[1]


@pytest.mark.parametrize("options", [["--out=mine.rosenblatt", "--name=mine"], ["-omine.rosenblatt", "--name", "mine"]])
def test_a_model_and_a_name_that_are_given_are_those_of_the_experiment(run, folder, options):
    run("queue", "add", "people.toml", *options)
    (folder / "people.toml").write_text("[fit]\ntable = 'people.csv'\nout = 'mine.rosenblatt'\nname = 'mine'\n")
    run("queue", "add", "people.toml")
    assert [experiment["output"] for experiment in listed(run)] == [str(folder / "mine.rosenblatt")] * 2
    assert [sum("name" in word for word in experiment["arguments"]) for experiment in listed(run)] == [1, 1]


def test_two_experiments_that_write_one_model_are_named(run, folder):
    run("queue", "add", "fit", "people.csv", "--target", "rich")
    errors = run("queue", "add", "fit", "people.csv", "--target", "rich", "--seed", "2")[2]
    assert "experiment 1 writes people.rosenblatt too" in errors


def test_experiments_are_cancelled(run, folder):
    run("queue", "add", "run", "train.py")
    run("queue", "add", "run", "train.py")
    assert run("queue", "cancel", "2")[1] == "cancelled: 2\n"
    assert run("queue", "cancel", "--all")[1] == "cancelled: 1\n"
    status, output, errors = run("queue", "cancel", "1", "--json")
    assert (status, json.loads(output), errors) == (0, [], "1 had ended before\n")
    assert run("queue", "cancel")[0] == 2
    assert "no experiment 9" in run("queue", "cancel", "9")[2]


def test_a_queue_needs_a_store(run, folder):
    assert "no queue without a store" in run("queue", "--store", "none", "list")[2]
    assert "There is no store" in run("queue", "list")[2]


def test_a_queue_to_which_others_can_write_runs_only_if_confirmed(run, folder, monkeypatch):
    run("queue", "add", "run", "train.py")
    monkeypatch.setattr("rosenblatt.runs.store.store.Store.find_other_writers", lambda _: "the roles eve")
    monkeypatch.setattr(queue_runner, "COMMAND", ("/bin/echo",))
    status, _, errors = run("queue", "run")
    assert status == 2
    assert "the roles eve" in errors
    assert run("queue", "run", "--yes")[0] == 0


def test_a_failed_experiment_gives_exit_status_1(run, folder, monkeypatch):
    monkeypatch.setattr(queue_runner, "COMMAND", ("/bin/false",))
    run("queue", "add", "run", "train.py")
    status, output, _ = run("queue", "run")
    assert status == 1
    assert "0 experiments finished, 1 failed" in output


def test_a_script_runs_and_is_recorded(run, folder):
    run("queue", "add", "run", "train.py")
    (folder / "train.py").write_text("print('changed')\n")
    status, output, errors = run("queue", "run", "--json")
    assert status == 0
    assert "its source has changed since it was added" in errors
    (experiment,) = json.loads(output)
    assert (experiment["state"], experiment["is_lost"]) == ("finished", False)
    assert "changed\n" in run("queue", "logs", "1")[1]
    shown = json.loads(run("runs", "show", experiment["run"], "--json")[1])
    assert (shown["kind"], shown["state"]) == ("script", "finished")


@pytest.mark.slow_cluster
def test_a_search_whose_runner_is_killed_is_resumed_by_the_next_runner(run, folder):
    run("queue", "add", "fit", "people.csv", "--target", "rich", "--trials", "16", "--epochs", "8", "--threads", "1")
    runner = subprocess.Popen([sys.executable, "-m", "rosenblatt", "queue", "run"], stdout=subprocess.DEVNULL)
    wait_until(lambda: len(json.loads(run("runs", "--trials", "--json")[1])) > 3 if listed(run)[0]["run"] else False)
    runner.kill()
    runner.wait()
    assert run("queue", "run")[0] == 0
    (experiment,) = listed(run)
    assert (experiment["state"], experiment["attempts"]) == ("finished", 2)
    assert "resuming the search" in run("queue", "logs", "1")[1]
    searches = [record for record in json.loads(run("runs", "--json")[1]) if record["kind"] == "search"]
    assert [(record["id"], record["state"]) for record in searches] == [(experiment["run"], "finished")]
    trials = json.loads(run("runs", "--of", experiment["run"], "--limit", "100", "--json")[1])
    assert sorted(trial["number"] for trial in trials) == list(range(16))
