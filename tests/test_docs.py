"""What documents claim is executed or compared."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rosenblatt.cli import main as command_line
from rosenblatt.data.readers.read import read_table

ROOT = Path(__file__).parents[1]
CLI_COMMANDS = {name: command_line.cli.get_command(None, name) for name in command_line.COMMANDS}
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
    for command in CLI_COMMANDS:
        assert f"rosenblatt {command} " in README


def test_every_command_on_runs_is_in_its_document():
    text = (ROOT / "docs" / "runs.md").read_text()
    for command in CLI_COMMANDS["runs"].commands:
        assert f"rosenblatt runs {command}" in text


def test_commands_typed_in_the_readme_have_the_options_they_name():
    for name, arguments in re.findall(r"^    (?:\$ )?rosenblatt ([\w-]+) (.*)$", README, re.MULTILINE):
        arguments_before_script, command = arguments.split("#")[0].split(" -- ")[0].split(), CLI_COMMANDS[name]
        if arguments_before_script and arguments_before_script[0] in getattr(command, "commands", {}):
            command = command.commands[arguments_before_script[0]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments_before_script if argument.startswith("--")} <= options


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name
)
def test_links_between_documents_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), f"{path.name} links to {link}, which is not there"


@pytest.mark.parametrize("command", sorted(CLI_COMMANDS))
def test_every_commands_help_teaches_by_example(command):
    assert f"rosenblatt {command} " in CLI_COMMANDS[command].help


def test_the_demo_is_made_of_real_rows(tmp_path):
    """The tumors that `make demo` trains on are read as its author sees them."""
    from sklearn.datasets import load_breast_cancer

    load_breast_cancer(as_frame=True).frame.to_csv(tmp_path / "tumors.csv", index=False)
    assert read_table(tmp_path / "tumors.csv").frame.shape == (569, 31)
