"""The command `fit`: its options, and what it prints at the end."""

import json
import shlex

import polars as pl

from rosenblatt.cli.fit import next_steps
from rosenblatt.data.table import TableFormat
from rosenblatt.models.model_file import load_model
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.request import FitRequest
from tests.cli.test_models import FAST, folder  # noqa: F401 - a fixture


def test_options_override_the_config(run, folder):  # noqa: F811
    (folder / "c.toml").write_text("[network]\nhidden_sizes = [8]\n[training]\nepochs = 2\nmembers = 3\n")
    assert run("fit", "people.csv", "-t", "rich", "--config", "c.toml", "--members", "1")[0] == 0
    spec = load_model("people.rosenblatt").resolved_spec
    assert (spec["hidden_sizes"], spec["epochs"], spec["members"]) == ((8,), 2, 1)


def test_targets_are_chosen_by_number_in_tables_without_header(run, folder, people):  # noqa: F811
    people.write_csv("bare.csv", include_header=False)
    status, out, _ = run("fit", "bare.csv", "--target", "-1", *FAST)
    assert status == 0
    assert "task: two classes of 'column_4'" in out


def test_several_targets_are_separated_by_commas(run, folder, people):  # noqa: F811
    people.with_columns((pl.col("noise") > 0).alias("loud")).write_csv("two.csv")
    status, out, _ = run("fit", "two.csv", "--target", "rich,loud", *FAST)
    assert status == 0
    assert "2 labels at once" in out


def test_a_fit_ends_with_commands_that_work(run, folder):  # noqa: F811
    _, out, _ = run("fit", "people.csv", "-t", "rich", *FAST, "--test", "people.csv")
    commands = [shlex.split(line) for line in out.splitlines() if line.startswith("  rosenblatt ")]
    assert [command[1] for command in commands] == ["predict", "evaluate", "explain"]
    for command in commands:
        assert run(*command[1:])[0] == 0
    assert (folder / "report.html").exists()
    assert "new.csv" in run("fit", "people.csv", "-t", "rich", *FAST)[1]


def test_commands_to_try_next_quote_file_names_and_read_them_alike():
    request = FitRequest(table="my people.csv", spec=Spec(), format=TableFormat(header=False, encoding="cp1252"))
    assert next_steps("binary", "m.rosenblatt", request)[1] == (
        "  rosenblatt predict m.rosenblatt 'my people.csv' --out predictions.csv --no-header --encoding cp1252"
    )
    assert next_steps("language", "book.rosenblatt", FitRequest(table="book.txt", spec=Spec()))[1:] == [
        "  rosenblatt generate book.rosenblatt --length 400"
    ]


def test_column_names_may_contain_commas(run, folder, people):  # noqa: F811
    people.rename({"city": "city, country"}).write_csv("odd.csv")
    assert run("fit", "odd.csv", "-t", "rich", "--ignore", "noise,city, country", *FAST)[0] == 0
    assert [column.name for column in load_model("odd.rosenblatt").schema.columns] == ["age"]


def test_boolean_hyperparameters_are_flags(run, folder):  # noqa: F811
    assert (
        run("fit", "people.csv", "-t", "rich", "--residual", "--no-parametric-activation", "--scaling-layer", *FAST)[0]
        == 0
    )
    hyperparameters = json.loads(run("describe", "people.rosenblatt", "--json")[1])["hyperparameters"]
    assert hyperparameters["residual"]["value"] is True
    assert hyperparameters["parametric_activation"]["value"] is False
    assert hyperparameters["scaling_layer"]["value"] is True
