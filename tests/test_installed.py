"""What a user installs: the wheel without extras, in a new environment, beside none of the tests' own packages."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SECTION = README.partition("\n## The command\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^    (rosenblatt .*)$", SECTION, re.MULTILINE)
SECONDS = 600  # after which a command hangs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installed")]


def call(*words: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program; its standard output, or an assertion error with what it wrote."""
    environment = {**os.environ, "PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{shlex.join(map(str, words))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """A new environment without extras in which the built wheel is installed, and the folder of wheel and sdist."""
    folder = tmp_path_factory.mktemp("installed")
    call(sys.executable, "-m", "venv", folder / "env", cwd=folder)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    try:
        call(*pip, "hatchling", cwd=folder)
    except AssertionError as error:
        pytest.skip(f"no package index can be reached from here: {str(error)[-300:]}")
    call(python, "-m", "hatchling", "build", "-d", folder / "dist", cwd=ROOT)
    call(*pip, *(folder / "dist").glob("*.whl"), cwd=folder)
    return python.parent, folder / "dist"


@pytest.fixture
def programs(built) -> Path:
    """The folder of the new environment's programs."""
    return built[0]


def test_the_demo_runs_without_extras(programs, tmp_path):
    output = call("bash", ROOT / "scripts" / "demo", programs, cwd=tmp_path)
    assert "accuracy" in output
    assert (tmp_path / "demo" / "report.html").exists()
    assert pl.read_csv(tmp_path / "demo" / "predictions.csv").height == 100


def test_python_examples_of_the_readme_run_without_extras(programs, tmp_path):
    """All blocks in one process, as they build on one another; those on networks of an extra name that extra."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    with_torch = [block for block in blocks if re.search(r"\b(CNN|RNN)\w+\(", block)]
    plain = "".join(block for block in blocks if block not in with_torch)
    assert float(call(programs / "python", "-c", plain, cwd=tmp_path)) > 0.93
    for block in with_torch:
        refused = f"try:\n    exec({block!r})\nexcept ValueError as error:\n    print(error)"
        assert "pip install 'rosenblatt[torch]'" in call(programs / "python", "-c", refused, cwd=tmp_path)


def test_commands_of_the_readme_run_without_extras(programs, tmp_path, people):
    for name in ("people.csv", "new-people.csv", "people-with-answers.csv"):
        people.rename({"rich": "income"}).write_csv(tmp_path / name)
    assert len(COMMANDS) > 6
    for command in COMMANDS:
        words = shlex.split(command.replace("--minutes 5", "--minutes 0.1"), comments=True)
        call(programs / words[0], *words[1:], cwd=tmp_path)
    assert {"report.html", "people.rosenblatt", "predictions.csv"} <= {path.name for path in tmp_path.iterdir()}


def test_the_package_says_that_it_has_types(programs):
    where = "import rosenblatt, pathlib; print(pathlib.Path(rosenblatt.__file__).with_name('py.typed').exists())"
    assert call(programs / "python", "-c", where, cwd=programs).strip() == "True"


def test_the_source_distribution_holds_all_that_is_tracked(built):
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: what is tracked is not known here")
    tracked = set(call("git", "ls-files", cwd=ROOT).splitlines())
    with tarfile.open(next(built[1].glob("*.tar.gz"))) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked - packed == set()
