"""What is sent for a training function: it can be loaded and called where only that is."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
import tarfile
import threading

import pytest

from rosenblatt.errors import ClusterError, RunError, SpecError
from rosenblatt.runs.capture.snapshot import fingerprint_data
from rosenblatt.workflows import function_bundle
from rosenblatt.workflows.function_bundle import bundle_function

CALL = "import pickle, sys; sys.path[:0] = sys.argv[1:]; print(pickle.load(sys.stdin.buffer)({'x': 2}, None))"


def bundle(train, data=(), notify=lambda message: None):
    return bundle_function(train, data, "none", notify)


def names(bundle):
    with tarfile.open(fileobj=io.BytesIO(bundle.archive)) as archive:
        return set(archive.getnames())


def call_elsewhere(bundle, folder):
    """Call the function in another process, in which the modules are those of the bundle."""
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(bundle.archive)) as archive:
        archive.extractall(folder, filter="data")
    paths = [str(folder / name) for name in bundle.module_folders]
    command = [sys.executable, "-P", "-c", CALL, *paths]
    process = subprocess.run(
        command, input=bundle.function, capture_output=True, cwd=folder / bundle.folder, check=False
    )
    assert process.returncode == 0, process.stderr.decode()
    return process.stdout.decode().strip()


@pytest.fixture
def import_module(work_folder, monkeypatch):
    """Writes a module below the working folder and imports it from there."""
    names = []

    def import_module(path, source):
        file = work_folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
        monkeypatch.syspath_prepend(str(file.parent))
        names.append(file.stem)
        return importlib.import_module(file.stem)

    yield import_module
    for name in names:
        del sys.modules[name]


def make_main_function(source):
    """A function of a script or notebook, with the variables there."""
    variables = {"__name__": "__main__"}
    exec(source, variables)  # as `python script.py` and a notebook do
    return variables["train"]


def test_a_function_of_a_notebook_travels_with_its_variables_and_helpers(work_folder, tmp_path):
    source = """
import math
FACTOR = 10

def compute(x):
    return math.sqrt(x * FACTOR)

def train(params, run):
    return compute(5 * params["x"])
"""
    sent = bundle(make_main_function(source))
    assert call_elsewhere(sent, tmp_path / "there") == "10.0"
    assert sent.python == sys.version_info[:2]


def test_a_function_of_a_module_is_imported_from_the_files_that_are_sent(import_module, tmp_path):
    import_module("src/helper_of_bundle.py", "def double(x): return 2 * x")
    module = import_module(
        "src/train_of_bundle.py",
        "from helper_of_bundle import double\ndef train(params, run): return double(params['x'])",
    )
    sent = bundle(module.train)
    assert names(sent) == {"src/helper_of_bundle.py", "src/train_of_bundle.py"}
    assert b"train_of_bundle" in sent.function
    assert b"double" not in sent.function
    assert call_elsewhere(sent, tmp_path / "there") == "4"


def test_modules_that_git_ignores_travel_with_the_function(import_module, work_folder, tmp_path):
    subprocess.run(["git", "init", "-q"], check=True)
    (work_folder / ".gitignore").write_text("ignored_*.py\nrows.csv\nother.csv\n")
    for name in ("rows.csv", "other.csv"):
        (work_folder / name).write_text("1")
    import_module("ignored_helper.py", "OFFSET = 1\ndef add(x): return x + OFFSET")
    module = import_module(
        "ignored_train.py",
        "from ignored_helper import add\ndef train(params, run): return add(int(open('rows.csv').read()))",
    )
    messages = []
    sent = bundle(module.train, ["rows.csv"], messages.append)
    assert names(sent) == {".gitignore", "rows.csv"}
    assert messages[0].endswith("without those that git ignores, unless data names them")
    assert call_elsewhere(sent, tmp_path / "there") == "2"


def test_the_function_works_in_the_same_folder_of_the_repository(work_folder, monkeypatch, tmp_path):
    subprocess.run(["git", "init", "-q"], check=True)
    (work_folder / "sub").mkdir()
    (work_folder / "sub/rows.csv").write_text("7")
    monkeypatch.chdir(work_folder / "sub")
    sent = bundle(make_main_function("def train(params, run): return open('rows.csv').read()"))
    assert sent.folder == "sub"
    assert call_elsewhere(sent, tmp_path / "there") == "7"


def test_a_function_that_cannot_be_pickled_is_refused_in_a_sentence(work_folder):
    lock = threading.Lock()
    with pytest.raises(SpecError, match=r"cannot be sent to other machines: cannot pickle '_thread.lock' object. Open"):
        bundle(lambda params, run: lock.locked())


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("a connection")


def test_any_error_of_pickling_is_that_sentence(work_folder):
    connection = Unpicklable()
    with pytest.raises(SpecError, match=r"cannot be sent to other machines: a connection\. Open files, connections"):
        bundle(lambda params, run: connection)


def test_a_function_with_large_variables_is_refused(work_folder, monkeypatch):
    monkeypatch.setattr(function_bundle, "MAX_BYTES", 1_000_000)
    rows = bytes(1_500_000)
    with pytest.raises(
        SpecError, match=r"has 2 MB with the variables .* at most 1 MB are sent. Read large arrays inside"
    ):
        bundle(lambda params, run: len(rows))


def test_data_outside_of_the_project_is_named_by_an_absolute_path_and_compared_on_the_machines(work_folder, tmp_path):
    outside = tmp_path / "shared.csv"
    outside.write_text("1,2")
    sent = bundle(len, [str(outside)])
    assert sent.data == {str(outside): fingerprint_data(outside).hash}
    assert names(sent) == set()
    with pytest.raises(ClusterError, match=r"'\.\./shared.csv' is outside of .* or name it by an absolute path"):
        bundle(len, ["../shared.csv"])
    with pytest.raises(RunError, match="cannot be read"):
        bundle(len, [str(tmp_path / "none.csv")])


def test_files_that_may_hold_credentials_stay_here(work_folder):
    (work_folder / ".env").write_text("KEY=1")
    (work_folder / "rows.csv").write_text("1")
    messages = []
    assert names(bundle(len, notify=messages.append)) == {"rows.csv"}
    assert "without '.env', which may hold credentials" in messages[0]
