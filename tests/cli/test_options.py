"""The help of `fit`: common options by group, all options on request."""

import re

from rosenblatt.cli.main import cli
from rosenblatt.cli.options import COMMON_OPTIONS, OTHER_OPTIONS
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS


def test_help_shows_the_common_options_and_help_all_every_option(run):
    _, short, _ = run("fit", "--help")
    _, full, _ = run("fit", "--help-all")
    options = {parameter.name for parameter in cli.get_command(None, "fit").params}
    for name in HYPERPARAMETERS:
        assert name in options
        assert f"--{name.replace('_', '-')}" in full
    assert 15 <= len(re.findall(r"^  (?:-\w, )?--", short, re.MULTILINE)) <= 30
    assert "--help-all" in short
    assert not re.search(r"^  TABLE", short + full, re.MULTILINE)
    assert "docs/hyperparameters.md" in short
    for heading in ("Input:", "Network:", "Training:", "Search:", "Output:"):
        assert heading in short
        assert heading in full


def test_common_options_of_the_help_exist():
    names = {parameter.name for parameter in cli.get_command(None, "fit").params}
    for groups in (COMMON_OPTIONS, OTHER_OPTIONS):
        assert {name for group in groups.values() for name in group} <= names


def test_the_help_has_the_first_sentence_of_a_description_and_help_all_has_all_of_it(run):
    short, full = (" ".join(run("fit", flag)[1].split()) for flag in ("--help", "--help-all"))
    assert "Learning rate, typically 0.0001 to 0.01. --batch-size" in short
    assert "Learning rate, typically 0.0001 to 0.01. auto is 0.001" in full
    assert "[default: mlp]" in short
    assert "[default: auto]" not in short


def test_options_that_the_help_does_not_show_work(run, people, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    people.write_csv("people.csv")
    options = ("--members", "1", "--epochs", "2", "--hidden-sizes", "4", "--bins", "8", "--store", "none")
    assert run("fit", "people.csv", "-t", "rich", *options, "--label-smoothing", "0.1", "--clip-norm", "0")[0] == 0
