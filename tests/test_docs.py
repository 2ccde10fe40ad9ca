"""What documents claim is executed or compared."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rosenblatt.cli.main import cli
from rosenblatt.data.readers.read import read_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.torch
def test_the_examples_of_the_readme_run(tmp_path):
    code = "".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(run.stdout) > 0.93
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "tumors.rosenblatt"}


def test_the_reference_of_hyperparameters_is_that_of_the_spec():
    subprocess.run([sys.executable, ROOT / "scripts" / "write_reference.py", "--check"], check=True)


def test_every_command_is_in_the_readme():
    for command in cli.commands:
        assert f"rosenblatt {command} " in README


def test_every_command_on_runs_is_in_its_document():
    text = (ROOT / "docs" / "runs.md").read_text()
    for command in cli.commands["runs"].commands:
        assert f"rosenblatt runs {command}" in text


def test_commands_typed_in_the_readme_have_the_options_they_name():
    for name, words in re.findall(r"^    (?:\$ )?rosenblatt ([\w-]+) (.*)$", README, re.MULTILINE):
        typed, command = words.split("#")[0].split(" -- ")[0].split(), cli.commands[name]
        if typed and typed[0] in getattr(command, "commands", {}):
            command = command.commands[typed[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in typed if word.startswith("--")} <= known


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name
)
def test_links_between_documents_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), f"{path.name} links to {link}, which is not there"


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_commands_help_teaches_by_example(command):
    assert f"rosenblatt {command} " in cli.commands[command].help


def test_the_demo_is_made_of_real_rows(tmp_path):
    """The tumors that `make demo` trains on are read as its author sees them."""
    from sklearn.datasets import load_breast_cancer

    load_breast_cancer(as_frame=True).frame.to_csv(tmp_path / "tumors.csv", index=False)
    assert read_table(tmp_path / "tumors.csv").frame.shape == (569, 31)
