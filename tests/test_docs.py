"""Documents agree with the code: examples run, commands and options exist, links resolve, the reference is current."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rosenblatt.cli import main as command_line
from rosenblatt.data.readers.read import read_table
from rosenblatt.data.volumes.query.language import parse_query

ROOT = Path(__file__).parents[1]
CLI_COMMANDS = {name: command_line.cli.get_command(None, name) for name in command_line.COMMANDS}
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md"))
GUIDES = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]  # the changelog names options that were renamed


def document_name(path):
    return path.name


def heading_anchors(path):
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.slow
@pytest.mark.torch
def test_the_python_examples_of_the_readme_run(tmp_path):
    code = "".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    code = code.replace("MLPClassifier(", "MLPClassifier(members=2, epochs=30, ")
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(run.stdout) > 0.93
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "tumors.rosenblatt"}


def test_the_reference_of_hyperparameters_is_up_to_date():
    subprocess.run([sys.executable, ROOT / "scripts" / "write_reference.py", "--check"], check=True)


def test_the_readme_shows_every_command():
    for command in CLI_COMMANDS:
        assert f"rosenblatt {command} " in README


def test_the_document_on_runs_shows_every_command_on_runs():
    text = (ROOT / "docs" / "runs.md").read_text()
    for command in CLI_COMMANDS["runs"].commands:
        assert f"rosenblatt runs {command}" in text


def test_the_document_on_data_shows_every_command_on_volumes():
    text = (ROOT / "docs" / "data.md").read_text()
    for command in CLI_COMMANDS["data"].commands:
        assert f"rosenblatt data {command}" in text


@pytest.mark.parametrize("path", GUIDES, ids=document_name)
def test_queries_of_volumes_in_documents_are_valid(path):
    for query in re.findall(r"""(?:data query [\w@]+|--query|\.query\() ?"([^"]*)\"""", path.read_text()):
        parse_query(query)


@pytest.mark.parametrize("path", GUIDES, ids=document_name)
def test_commands_in_code_blocks_exist_and_have_the_options_they_use(path):
    for name, line in re.findall(r"^    (?:\$ )?rosenblatt ([\w-]+)(.*)$", path.read_text(), re.MULTILINE):
        arguments = re.split(r" (?:fit|run) (?!-)", line)[0] if name == "queue" else line  # without a queued command
        arguments_before_script, command = arguments.split("#")[0].split(" -- ")[0].split(), CLI_COMMANDS[name]
        if arguments_before_script and arguments_before_script[0] in getattr(command, "commands", {}):
            command = command.commands[arguments_before_script[0]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments_before_script if argument.startswith("--")} <= options


@pytest.mark.parametrize("path", GUIDES, ids=document_name)
def test_benchmark_scripts_exist_and_have_the_options_that_documents_use(path):
    for script, arguments in re.findall(r"python (benchmarks/\w+\.py)([^`#\n]*)", path.read_text()):
        source = (ROOT / script).read_text()
        for option in re.findall(r"--[\w-]+", arguments):
            assert f'"{option}"' in source, f"{path.name} uses {option}, which {script} does not have"


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_name)
def test_links_between_documents_resolve(path):
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text()):
        target = path.parent / link if link else path
        assert target.exists(), f"{path.name} links to {link}, which does not exist"
        if anchor:
            assert anchor in heading_anchors(target), f"{path.name} links to #{anchor}, a heading that does not exist"


@pytest.mark.parametrize("name", ["glossary.md", "engines.md"])
def test_modules_that_documents_name_exist(name):
    for module in re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)[:`]", (ROOT / "docs" / name).read_text()):
        is_in_source = (ROOT / "src" / "rosenblatt" / module).exists()
        assert is_in_source or (ROOT / module).exists(), f"{name} names {module}, which does not exist"


def test_the_glossary_is_in_alphabetical_order():
    terms = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)[1:]
    assert terms == sorted(terms, key=lambda term: term.replace("-", " ").lower())


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmark_scripts_import_only_names_that_exist(script):
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("rosenblatt."):
            module = (ROOT / "src" / node.module.replace(".", "/")).with_suffix(".py")
            names = {alias.name for alias in node.names}
            if module.exists():
                assert names <= set(re.findall(r"\w+", module.read_text())), f"{node.module} lacks a name of {names}"
            else:
                assert all((module.with_suffix("") / f"{name}.py").exists() for name in names), f"no {node.module}"


def test_every_benchmark_script_has_a_result_or_a_comment_in_the_documents():
    text = "".join((ROOT / "docs" / name).read_text() for name in ("benchmarks.md", "defaults.md"))
    for script in (ROOT / "benchmarks").glob("*.py"):
        if "def main()" in script.read_text():
            assert f"python benchmarks/{script.name}" in text


@pytest.mark.parametrize("command", sorted(CLI_COMMANDS))
def test_the_help_of_every_command_shows_an_example(command):
    assert f"rosenblatt {command} " in CLI_COMMANDS[command].help


def test_the_demo_table_is_read_with_all_rows_and_columns(tmp_path):
    from sklearn.datasets import load_breast_cancer

    load_breast_cancer(as_frame=True).frame.to_csv(tmp_path / "tumors.csv", index=False)
    assert read_table(tmp_path / "tumors.csv").frame.shape == (569, 31)
