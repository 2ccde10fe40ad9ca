"""The wheel without extras in a new environment that holds what it declares to need, and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import polars as pl
import pytest
from packaging.requirements import Requirement

import rosenblatt

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SECTION = README.partition("\n## The command\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^    (rosenblatt .*)$", SECTION, re.MULTILINE)
TIMEOUT_S = 600


def call(*words: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program; returns its standard output, or raises an AssertionError with its output."""
    environment = {**os.environ, "PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{shlex.join(map(str, words))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def dependencies(package: Distribution) -> dict[str, Distribution]:
    """The distributions that a package needs, directly or not; none of them names an extra of another."""
    found: dict[str, Distribution] = {}
    waiting = [package]
    while waiting:
        for requirement in map(Requirement, waiting.pop().requires or ()):
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and requirement.name not in found:
                found[requirement.name] = distribution(requirement.name)
                waiting.append(found[requirement.name])
    return found


def link_dependencies(site_packages: Path) -> None:
    """Make the dependencies of the installed wheel importable: links to the files of this environment.

    Installing them with pip takes a minute, which `make test` has spent on this environment already.
    """
    (metadata,) = site_packages.glob("rosenblatt-*.dist-info")
    for package in dependencies(PathDistribution(metadata)).values():
        for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (site_packages / name).exists():  # of two packages that share a folder, or a newly built one
                (site_packages / name).symlink_to(package.locate_file(name))


def copy_machine_code(site_packages: Path) -> None:
    """Copy what Numba has compiled of this repository's source, which is that of the wheel.

    Numba knows the source by its size and time. Compiling it again takes a minute in all programs of this test.
    """
    source = Path(rosenblatt.__file__).parent / "training" / "compiled"
    installed = site_packages / source.relative_to(source.parents[2])
    for path in source.glob("*.py"):
        shutil.copystat(path, installed / path.name)
    (installed / "__pycache__").mkdir(exist_ok=True)
    for path in source.glob("__pycache__/*.nb[ic]"):
        shutil.copy(path, installed / "__pycache__")


def install(folder: Path) -> tuple[Path, Path]:
    """Build the wheel and install it without extras; returns the folders of the programs and of the built files."""
    call(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    constraints = ["--constraint", ROOT / "constraints.txt"]
    try:
        call(*pip, "--target", folder / "build", *constraints, "hatchling", cwd=folder)
    except AssertionError as error:
        pytest.skip(f"no package index is reachable: {str(error)[-300:]}")
    call(python, "-m", "hatchling", "build", "-d", folder / "dist", cwd=ROOT, PYTHONPATH=str(folder / "build"))
    call(*pip, "--no-deps", "--no-index", *(folder / "dist").glob("*.whl"), cwd=folder)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(call(python, "-c", code, cwd=folder).strip())
    link_dependencies(site_packages)
    copy_machine_code(site_packages)
    return python.parent, folder / "dist"


def check_assets(programs: Path, folder: Path) -> None:
    """The wheel holds the files of the pages, with the licenses of what others wrote."""
    for page in ("dashboard/static", "serving/page"):
        code = f"import rosenblatt, pathlib; print(pathlib.Path(rosenblatt.__file__).parent / '{page}')"
        installed = Path(call(programs / "python", "-c", code, cwd=folder).strip())
        source = ROOT / "src" / "rosenblatt" / page
        names = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
        assert names == {path.relative_to(installed) for path in installed.rglob("*") if path.is_file()}


def check_source_distribution(dist: Path) -> None:
    """The source distribution holds every tracked file."""
    if (ROOT / ".git").exists():  # without git, the tracked files are unknown
        tracked = set(call("git", "ls-files", cwd=ROOT).splitlines())
        with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
            packed = {name.partition("/")[2] for name in archive.getnames()}
        assert tracked - packed == set()


def check_demo(programs: Path, folder: Path) -> None:
    """The demo runs to its end, with few epochs."""
    script = folder / "demo.sh"
    script.write_text((ROOT / "scripts" / "demo").read_text().replace("--target", "--members 2 --epochs 5 --target"))
    assert "--epochs 5" in (output := call("bash", script, programs, cwd=folder))
    assert "accuracy" in output
    assert (folder / "demo" / "report.html").exists()
    assert pl.read_csv(folder / "demo" / "predictions.csv").height == 100


def check_python_examples(programs: Path, folder: Path) -> None:
    """The README's Python examples run with few epochs; those that need an extra fail with a hint to install it."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    torch_blocks = [block for block in blocks if re.search(r"\b(CNN|RNN)\w+\(", block)]
    plain_blocks = "".join(block for block in blocks if block not in torch_blocks)
    plain_blocks = plain_blocks.replace("MLPClassifier(", "MLPClassifier(members=2, epochs=30, ")
    assert float(call(programs / "python", "-c", plain_blocks, cwd=folder)) > 0.93
    for block in torch_blocks:
        code = f"try:\n    exec({block!r})\nexcept ValueError as error:\n    print(error)"
        assert "pip install 'rosenblatt[torch]'" in call(programs / "python", "-c", code, cwd=folder)


RUN_COMMANDS = """
import shlex, sys
from rosenblatt.cli.main import main
for command in sys.argv[1:]:
    sys.argv = shlex.split(command, comments=True)
    try:
        main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{command}: exit status {end.code}")
"""


def check_commands(programs: Path, folder: Path, people: pl.DataFrame) -> None:
    """The commands of the README run on tables of the names it uses, in one process, which imports modules once."""
    for name in ("people.csv", "new-people.csv", "people-with-answers.csv"):
        people.rename({"rich": "income"}).write_csv(folder / name)
    assert len(COMMANDS) > 6
    quick_commands = [
        command.replace("--minutes 5", "--minutes 0.05").replace(" --target", " --epochs 5 --target")
        for command in COMMANDS
    ]
    call(programs / "python", "-c", RUN_COMMANDS, *quick_commands, cwd=folder)
    assert {"report.html", "people.rosenblatt", "predictions.csv"} <= {path.name for path in folder.iterdir()}


def check_extra_of_volumes(programs: Path, folder: Path) -> None:
    """Without the extra, volumes say in one sentence what to install."""
    command = [str(programs / "rosenblatt"), "data", "add", "people", "people.csv"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.strip().endswith("pip install 'rosenblatt[volumes]'.")
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_demo_and_all_examples_of_the_readme_run_on_the_wheel_without_extras(tmp_path, people):
    """All checks are one test, so that the wheel is installed only once."""
    programs, dist = install(tmp_path)
    check_source_distribution(dist)
    code = "import rosenblatt, pathlib; print(pathlib.Path(rosenblatt.__file__).with_name('py.typed').exists())"
    assert call(programs / "python", "-c", code, cwd=tmp_path).strip() == "True"
    check_assets(programs, tmp_path)
    check_demo(programs, tmp_path)
    check_python_examples(programs, tmp_path)
    check_commands(programs, tmp_path, people)
    check_extra_of_volumes(programs, tmp_path)
