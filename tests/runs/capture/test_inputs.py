"""The report of a run's processes becomes inputs, outputs, and what was not seen."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rosenblatt.runs.capture import inputs
from rosenblatt.runs.capture.inputs import InputReport, hash_variable
from rosenblatt.runs.startup.audit.hook import Report
from rosenblatt.runs.store.places import file_hash


@pytest.fixture
def report(tmp_path):
    report = InputReport(tmp_path, (str(tmp_path / "runs.db"),))
    yield report
    report.close()


@pytest.fixture
def process(report):
    """A process of the run: writes lines to the report."""
    process = Report(report.variables({})[inputs.REPORT_VARIABLE])
    process.write("B", "1")
    return process


def make_file(path: Path, text: str = "1") -> str:
    path.write_text(text)
    time.sleep(0.01)  # clocks of files are coarse
    return str(path)


def close(report: InputReport):
    report.read()
    return report.metadata("salt", has_named_data=False)


def test_files_that_were_read_are_hashed_once(report, process, tmp_path):
    name = make_file(tmp_path / "a.txt")
    process.write_read(name)
    report.read()
    process.write_read(name)
    files = close(report)["data_read"]
    assert [(file["path"], file["hash"]) for file in files] == [(name, file_hash(Path(name)))]


def test_a_file_that_changes_before_it_is_hashed_is_not_seen(report, process, tmp_path):
    name = make_file(tmp_path / "a.txt")
    process.write_read(name)
    make_file(tmp_path / "a.txt", "2")
    assert close(report)["unseen"] == ["a.txt, which changed after it was read"]


def test_a_file_that_the_run_removes_is_not_seen_unless_it_was_hashed_before(report, process, tmp_path):
    names = [make_file(tmp_path / name) for name in ("a", "b", "c")]
    for name in names:
        process.write_read(name)
    process.write("H", "digest", names[0])
    for name in names[:2]:
        process.write("X", name)
    for name in names:
        Path(name).unlink()
    metadata = close(report)
    assert metadata["unseen"] == ["b, which changed after it was read"]
    assert {file["name"]: file["hash"] for file in metadata["data_read"]} == {"a": "digest", "c": ""}


def test_files_of_the_store_and_of_git_are_no_inputs(report, process, tmp_path):
    (tmp_path / ".git").mkdir()
    for name in ("runs.db", ".git/index"):
        process.write_read(make_file(tmp_path / name))
    process.write("W", str(tmp_path / "runs.db"))
    metadata = close(report)
    assert not any(metadata.values())


def test_large_files_and_pipes_are_not_seen(report, process, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_FINGERPRINT_BYTES", 2)
    os.mkfifo(tmp_path / "pipe")
    process.write_read(str(tmp_path / "pipe"))
    process.write_read(make_file(tmp_path / "a.txt", "123"))
    assert close(report)["unseen"] == ["pipe, which is no file on a disk", "a.txt, which is larger than 2 bytes"]


def test_a_line_is_read_only_once_it_is_complete(report, process, tmp_path):
    name = make_file(tmp_path / "a.txt")
    process.write_line(f"R\t{time.time_ns()}\t{name[:5]}")
    report.read()
    process.write_line(f"{name[5:]}\n")
    assert close(report)["data_read"][0]["path"] == name


def test_paths_with_separators_of_lines_are_kept(report, process, tmp_path):
    name = make_file(tmp_path / "a\tb\nc.txt")
    process.write_read(name)
    assert close(report)["data_read"][0]["path"] == name


def test_a_run_whose_python_ignores_the_hook_is_not_seen(report):
    assert "ignores PYTHONPATH" in close(report)["unseen"][0]


def test_the_first_process_reports_libraries_and_seed(report, process):
    process.write("B", "2")
    process.write("S", "2", "5")
    process.write("L", "2", "[]")
    process.write("S", "1", "7")
    report.read()
    assert (report.torch_seed, report.libraries) == (7, None)


def test_standard_input_of_another_process_is_no_input(report, process):
    process.write("I", "0", "0")
    assert close(report)["unseen"] == []


def test_a_variable_is_hashed_with_the_salt_of_its_run(monkeypatch):
    monkeypatch.setenv("MODE", "x")
    assert hash_variable("MODE", "a") != hash_variable("MODE", "b")
    monkeypatch.delenv("MODE")
    assert hash_variable("MODE", "a") == ""


def test_inputs_are_published_again_once_there_are_twice_as_many(report, process, tmp_path):
    published = []
    for k in range(20):
        process.write_read(make_file(tmp_path / f"{k}.txt"))
        report.read()
        published += [k + 1] if report.has_grown() else []
    assert published == [1, 3, 7, 15]


def test_the_report_leaves_no_file(report, process, tmp_path):
    path = Path(report.variables({})[inputs.REPORT_VARIABLE])
    report.close()
    assert not path.exists()


@pytest.mark.parametrize(
    "line", ["", "Z", "R", "R\tnow\t/etc/hostname", "H\tabc", "B", "I\tx", "S\t1\tx", "L\t1\t[", "\0\t\udcff"]
)
def test_a_damaged_line_does_not_end_the_recording(report, process, tmp_path, line):
    process.write_line(f"{line}\n")
    process.write_read(make_file(tmp_path / "a.txt"))
    metadata = close(report)
    assert [file["name"] for file in metadata["data_read"]] == ["a.txt"]
    assert "an input whose report is damaged" in metadata["unseen"]


def test_a_process_goes_on_if_that_which_records_it_has_ended(report, process):
    path = report.variables({})[inputs.REPORT_VARIABLE]
    report.close()
    os.close(process._file)
    for _ in range(2):
        process.write("U", "something")
    with pytest.raises(FileNotFoundError):
        Report(path)


def test_nothing_is_reported_to_a_file_of_another_process(tmp_path):
    with (tmp_path / "other").open("wb") as file, pytest.raises(FileNotFoundError):
        Report(f"/proc/{os.getpid()}/fd/{file.fileno()}")
    assert (tmp_path / "other").read_bytes() == b""


@pytest.mark.parametrize(
    "code",
    [
        "import polars",
        "import sys, polars as pl",
        "import os; import polars.io",
        "def load():\n    from polars import read_csv",
        "import importlib\nimportlib.import_module('polars')",
        "__import__('polars')",
    ],
)
def test_a_library_that_reads_in_rust_is_found_however_it_is_imported(report, process, tmp_path, code):
    process.write_read(make_file(tmp_path / "train.py", code))
    assert close(report)["unseen"] == ["polars, whose files are not seen: name the data"]


@pytest.mark.parametrize("code", ["# import polars", "'''\nimport polars\n'''", "from . import polars", "polars = ("])
def test_a_library_that_is_only_named_is_not_imported(report, process, tmp_path, code):
    process.write_read(make_file(tmp_path / "train.py", code))
    assert close(report)["unseen"] == []
