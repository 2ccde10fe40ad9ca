"""`rosenblatt learn-step`, as it is typed."""

import json
import time

import numpy as np
import polars as pl

from tests.cli.test_models import folder  # noqa: F401 - a fixture


def load_steps(run, *arguments):
    return json.loads(run("learn-step", *arguments, "--json")[1])["steps"]


def test_learn_step_shows_every_mistake(run, people):
    status, out, _ = run("learn-step")
    assert status == 0
    for word in ("predicts 0, but the class is 1: w(a) 0 to 1", "no mistakes", "+: predicted as 1"):
        assert word in out
    assert "Mistakes remain after 3 epochs" in run("learn-step", "--gate", "xor", "--epochs", "3")[1]
    result = json.loads(run("learn-step", "people.csv", "-t", "rich", "--epochs", "2", "--json")[1])
    assert result["classes"] == ["no", "yes"]
    assert all(step["predicted"] != step["target"] for step in result["steps"])
    for arguments, message in (
        (("people.csv",), "Name it with --target"),
        (("people.csv", "-t", "age"), "learn-step needs a column of classes"),
        (("--rule", "voted"), "learn-step supports rules with one vector of weights"),
    ):
        status, _, err = run("learn-step", *arguments)
        assert status == 2
        assert message in err


def test_a_table_without_inputs_is_rejected(run):
    pl.DataFrame({"only": ["a", "b"] * 10}).write_csv("only.csv")
    status, _, err = run("learn-step", "only.csv", "-t", "only")
    assert status == 2
    assert "No usable input column" in err


def test_all_adds_the_rows_that_change_nothing(run):
    updates, steps = load_steps(run), load_steps(run, "--all")
    assert [step for step in steps if step["weights_before"] != step["weights_after"]] == updates
    assert len(updates) < len(steps)
    assert sorted(step["row"] for step in steps[:4]) == [1, 2, 3, 4]
    assert "no update" in run("learn-step", "--all")[1]
    assert "no update" not in run("learn-step")[1]


def test_the_seed_determines_the_order_of_the_rows(run):
    first, second, other = (load_steps(run, "--gate", "xor", "--seed", seed) for seed in "001")
    assert first == second
    assert [step["row"] for step in first] != [step["row"] for step in other]


def test_the_learning_rate_is_the_length_of_a_step(run):
    for rate in (0.25, 2.0):
        for step in load_steps(run, "--learning-rate", str(rate)):
            change = np.subtract(step["weights_after"], step["weights_before"])[-1, 0]
            assert change == rate * (step["target"] - step["predicted"])


def test_the_output_ends_after_the_largest_number_of_steps(run, monkeypatch):
    monkeypatch.setattr("rosenblatt.cli.learn_step.MAX_STEPS", 6)
    out = run("learn-step", "--gate", "xor", "--all")[1]
    assert out.count("  z = ") == 6
    assert out.splitlines()[-1].endswith("the first 6 rows are shown")
    assert len(load_steps(run, "--gate", "xor", "--all")) == 6


def test_pause_waits_after_each_step_that_is_shown(run, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    out = run("learn-step", "--pause", "0.5")[1]
    assert pauses == [0.5] * out.count("  z = ")


def test_rows_without_a_class_are_left_out(run):
    classes = ["a", "b", None, "a", "b", "a", "b", "a", None, "b"]
    pl.DataFrame({"x": [float(i) for i in range(10)], "class": classes}).write_csv("holes.csv")
    steps = load_steps(run, "holes.csv", "-t", "class", "--all", "--epochs", "1")
    assert sorted(step["row"] for step in steps) == list(range(1, 9))
