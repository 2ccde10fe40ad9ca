"""Shared fixtures: stores, folders, the command in this process, and tables."""

from __future__ import annotations

import compileall
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import rosenblatt
from rosenblatt.cli.main import main
from rosenblatt.models.model_file import load_model, prediction_digest
from rosenblatt.models.model_file_checker import ModelFileChecker
from tests.data.volumes.servers import run_moto

SHARED = Path(__file__).parents[2] / "shared" / "data"

# Threads of linear algebra in each worker of pytest-xdist, which would otherwise compete for the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Programs that tests start find the library compiled. They compile nothing themselves: of a module that a test changes
# within a second, Python would take the old bytecode.
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
compileall.compile_dir(Path(rosenblatt.__file__).parent, quiet=2)

collect_ignore = ["training/reference.py"]  # it holds no tests and imports PyTorch
SMALL_FIT = """
from rosenblatt import MLPClassifier
MLPClassifier(members=1, folds=1, tol=None, epochs=1).fit([[0.0], [1.0]] * 20, [0, 1] * 20)
"""
TORCH_DOCTESTS = tuple(f"rosenblatt.estimators.{name}." for name in ("cnn", "forecaster", "rnn"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Compile the training loop, if that is to be done, before the workers of pytest-xdist would all do it at once."""
    folder = Path(rosenblatt.__file__).parent / "training" / "compiled"
    compiled, source = ([path.stat().st_mtime for path in folder.glob(name)] for name in ("**/*.nbi", "*.py"))
    if max(compiled, default=0.0) < max(source):
        subprocess.run([sys.executable, "-c", SMALL_FIT], env=os.environ | {"ROSENBLATT_STORE": "none"}, check=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the doctests that need PyTorch, because a docstring cannot carry a mark; put the longest test first."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.name.startswith(TORCH_DOCTESTS):
            item.add_marker(pytest.mark.torch)
    items.sort(key=lambda item: item.path.name != "test_installed.py")


@pytest.fixture(scope="session")
def store_folders(tmp_path_factory) -> Iterator[Path]:
    """Names of new folders for stores; `mktemp` would look at all that exist to find the next number."""
    parent = tmp_path_factory.mktemp("stores")
    return (parent / str(number) for number in count())


@pytest.fixture(autouse=True)
def own_store(store_folders, monkeypatch) -> Path:
    """Give each test its own store and spool, so that nothing is written into the repository."""
    folder = next(store_folders)
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("ROSENBLATT_STORE", str(folder))
    monkeypatch.setenv("ROSENBLATT_SPOOL", str(folder / "spool"))
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
    return folder


@pytest.fixture
def default_hangup_signal():
    """Let programs that a test starts die of SIGHUP, also if the tests run under nohup."""
    previous_handler = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous_handler)


@pytest.fixture
def work_folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder, in which the store is found without ROSENBLATT_STORE."""
    monkeypatch.delenv("ROSENBLATT_STORE")
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


class SameProcess:
    """Stands for the process of a `ModelFileChecker`: predicts from the file at once, without starting Python."""

    returncode = 0

    def communicate(self, paths):
        model, rows = json.loads(paths)
        return prediction_digest(load_model(model), pl.read_ipc(rows)), ""

    def poll(self):
        return self.returncode


@pytest.fixture
def new_process_check():
    """Turn off `same_process_check` in a test, so that it checks models as users do."""


@pytest.fixture
def same_process_check(request, monkeypatch):
    """Check written models in this process, which saves a second or more for each model."""
    if "new_process_check" not in request.fixturenames:
        monkeypatch.setattr(ModelFileChecker, "__init__", lambda self: setattr(self, "_process", SameProcess()))


@pytest.fixture
def run(capsys, monkeypatch, same_process_check):
    """Run the command in this process; returns exit status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rosenblatt", *arguments])
        previous_handler = signal.getsignal(signal.SIGTERM)
        status = 0
        try:
            main()
        except SystemExit as error:
            status = error.code or 0
        finally:
            signal.signal(signal.SIGTERM, previous_handler)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def shared_data() -> Path:
    """Folder of real data sets beside the repository; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f"the folder {SHARED} with the real data sets is missing")
    return SHARED


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server of this session; under pytest-xdist each worker has one."""
    with run_moto() as address:
        yield address


@pytest.fixture
def people() -> pl.DataFrame:
    """300 rows with missing values; the two classes depend on a number and a category."""
    rng = np.random.default_rng(0)
    age, city = rng.integers(18, 80, 300), rng.choice(["Oslo", "Rome", "Lima"], 300)
    rich = (age + 20 * (city == "Oslo") + rng.normal(0, 5, 300)) > 55
    return pl.DataFrame(
        {
            "age": [None if i % 17 == 0 else float(a) for i, a in enumerate(age)],
            "city": [None if i % 23 == 0 else str(c) for i, c in enumerate(city)],
            "noise": rng.normal(size=300),
            "rich": np.where(rich, "yes", "no"),
        }
    )


@pytest.fixture(autouse=True)
def forget_inputs_of_other_tests():
    """Let tests reuse runs although other tests of this process have read files that change, or started programs."""
    own_inputs = sys.modules.get("rosenblatt.runs.capture.own_inputs")
    for report in own_inputs._reports.values() if own_inputs else ():
        report.read()
        for inputs in (report._unseen, report._listings, report._files, report._pending, report._variables):
            inputs.clear()
