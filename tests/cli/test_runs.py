"""The commands `rosenblatt run` and `rosenblatt runs`, as typed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rosenblatt.cli.console.runs import format_duration, sparkline
from rosenblatt.cli.exit_status import ExitStatus
from rosenblatt.cli.main import cli
from rosenblatt.errors import FilterError, RosenblattError, RunError, SpecError, StorageError, StoreError
from rosenblatt.runs.store.curves import CurvePoints
from rosenblatt.runs.tracking.run import track


def runs(*arguments):
    result = CliRunner().invoke(cli, ["runs", *arguments], obj=ExitStatus())
    if isinstance(result.exception, RosenblattError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.stdout


@pytest.fixture
def two_runs(own_store):
    run_ids = []
    for index, activation in enumerate(("relu", "gelu")):
        with track("first", params={"activation": activation, "lr": 0.1}, name=f"n{index}") as run:
            for step in range(20):
                run.log({"auc": 0.9 + step / 1000 + index / 100}, step=step)
            run.log_bytes("notes.txt", b"hello")
            print(f"printed {index}")
        run_ids.append(run.id)
    return run_ids


def test_runs_are_listed_filtered_and_sorted(two_runs):
    output = runs()
    assert output.index(two_runs[1]) < output.index(two_runs[0])
    assert "finished" in output
    records = json.loads(
        runs("--where", "params.activation = 'relu' and metrics.auc > 0.9", "--sort", "-metrics.auc", "--json")
    )
    assert [record["id"] for record in records] == [two_runs[0]]
    assert records[0]["metrics"]["auc"]["step"] == 19
    assert two_runs[0] not in runs("--sort", "-metrics.auc", "--limit", "1")
    assert "no runs" in runs("--where", "metrics.auc > 5")


def test_a_run_is_shown_with_its_curves_output_files_and_source(two_runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = runs("show", two_runs[0])
    assert "activation      relu" in output
    assert "▁" in output
    assert json.loads(runs("show", "last", "--json"))["id"] == two_runs[1]
    assert runs("show", "n0", "--output") == "printed 0\n"
    runs("show", two_runs[0], "--artifact", "notes.txt")
    assert (tmp_path / "notes.txt").read_bytes() == b"hello"
    runs("show", two_runs[0], "--plot", "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000
    runs("show", two_runs[0], "--source", "restored")
    assert (tmp_path / "restored").is_dir()
    with pytest.raises(RunError, match="exists already"):
        runs("show", two_runs[0], "--source", "restored")
    with pytest.raises(RunError, match=r"no file 'x'\. Its files: notes\.txt"):
        runs("show", two_runs[0], "--artifact", "x")


def test_runs_are_compared(two_runs, tmp_path):
    output = runs("compare", *two_runs)
    assert "relu" in output
    assert "environment: the same" in output
    comparison = json.loads(runs("compare", *two_runs, "--json"))
    assert comparison["params"] == {"activation": ["relu", "gelu"]}
    runs("compare", *two_runs, two_runs[0], "--plot", str(tmp_path / "c.svg"))
    assert b"<svg" in (tmp_path / "c.svg").read_bytes()
    with pytest.raises(SpecError, match="Expected two runs to compare, but got 1"):
        runs("compare", two_runs[0])
    with pytest.raises(StorageError, match="cannot be written"):
        runs("compare", *two_runs, "--plot", str(tmp_path / "c.nonsense"))


def test_runs_are_deleted_after_confirmation(two_runs, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.GRACE_SECONDS", -5.0)
    assert "deleted: 1" in runs("delete", two_runs[0], "--yes")
    assert len(json.loads(runs("--json"))) == 1
    result = CliRunner().invoke(cli, ["runs", "delete", two_runs[1]], input="n\n", obj=ExitStatus())
    assert result.exit_code == 0
    assert len(json.loads(runs("--json"))) == 1
    assert "deleted: 1" in runs("delete", "--where", "experiment = first", "--yes")
    assert json.loads(runs("tidy", "--json"))["removed_files"] > 0
    assert "nothing to tidy up" in runs("tidy")
    with pytest.raises(SpecError, match="Name the runs to delete"):
        runs("delete", "--yes")


def record_named(name):
    with track("named", name=name) as run:
        run.log({"loss": 1.0})
    return run.id


def test_runs_of_one_name_are_listed_instead_of_deleted(own_store):
    ids = [record_named("best") for _ in range(2)]
    with pytest.raises(RunError, match="is ambiguous") as error:
        runs("delete", "best", "--yes")
    assert all(run in str(error.value) for run in ids)
    with pytest.raises(RunError, match="Type at least 4 characters of an id"):
        runs("delete", ids[0][:3], "--yes")
    assert "deleted: 1" in runs("delete", ids[0][:8], ids[0], "--yes")
    assert "deleted: 1" in runs("delete", "best", "--yes")


def test_deleting_a_live_run_is_reported(own_store):
    run = track("live", name="live")
    result = CliRunner().invoke(cli, ["runs", "delete", "live"], input="n\n", obj=ExitStatus())
    assert f"run {run.id} is still running" in result.output
    assert f"Delete 1 run ({run.id} live)?" in result.output
    run.finish()


def record_file(name):
    with track("files") as run:
        run.log_bytes(name, b"recorded")


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_of_a_run_replaces_one_of_the_user_only_with_force(work_folder, is_link):
    record_file("sub/notes.txt")
    path, target = work_folder / "notes.txt", work_folder / "target"
    target.write_text("mine")
    if is_link:
        path.symlink_to("target")
    else:
        path.write_text("mine")
    with pytest.raises(RunError, match=r"'notes\.txt' exists already\. Add --force"):
        runs("show", "last", "--artifact", "sub/notes.txt")
    assert path.read_text() == "mine"
    runs("show", "last", "--artifact", "sub/notes.txt", "--force")
    assert path.read_text() == "recorded"
    assert not path.is_symlink()
    assert target.read_text() == "mine"
    assert {path.name for path in work_folder.iterdir()} == {".rosenblatt", "notes.txt", "target"}


@pytest.mark.parametrize(
    ("name", "written"),
    [("/etc/x", "x"), ("../up", "up"), ("a/b/c", "c"), ("a\\b", "b"), (".hidden", ".hidden"),
     (".", None), ("/", None), ("..", None), ("a/", None), ("a/..", None), ("x" * 300, None), ("folder", None)],
)  # fmt: skip
def test_files_of_runs_are_written_below_the_working_folder_or_refused(work_folder, name, written):
    record_file(name)
    (work_folder / "folder").mkdir()
    before = {path.name for path in work_folder.iterdir()}
    if written:
        runs("show", "last", "--artifact", name)
        assert (work_folder / written).read_text() == "recorded"
    else:
        with pytest.raises((RunError, StorageError)):
            runs("show", "last", "--artifact", name, "--force")
        assert {path.name for path in work_folder.iterdir()} == before


def test_a_source_that_cannot_be_restored_leaves_no_folder(work_folder):
    with track("first") as run:
        pass
    shutil.rmtree(work_folder / ".rosenblatt" / "artifacts")
    with pytest.raises(StorageError, match="cannot be read"):
        runs("show", run.id, "--source", "restored")
    assert not Path("restored").exists()
    Path("restored").symlink_to("nowhere")
    with pytest.raises(RunError, match="exists already"):
        runs("show", run.id, "--source", "restored")


def test_runs_are_exported(two_runs, tmp_path):
    assert "2 runs" in runs("export", "--to", "csv", "--out", str(tmp_path / "tables"))
    assert (tmp_path / "tables" / "curves.csv").exists()
    result = json.loads(
        runs("export", "--to", "parquet", "--where", "name = n0", "--out", str(tmp_path / "t"), "--json")
    )
    assert result["runs"] == 1


@pytest.mark.slow
def test_the_exit_status_of_reproduce_is_the_verdict(work_folder):
    (work_folder / "train.py").write_text("import rosenblatt\nwith rosenblatt.track() as run: run.log({'loss': 1.0})\n")
    assert CliRunner().invoke(cli, ["run", "train.py", "--", "--lr", "0.1"], obj=ExitStatus()).exit_code == 0
    result = CliRunner().invoke(cli, ["runs", "reproduce", "last", "--json"], obj=ExitStatus())
    assert result.exit_code == 0
    assert json.loads(result.stdout)["verdict"] == "identical"
    (work_folder / "chance.py").write_text(
        "import os, rosenblatt\nwith rosenblatt.track() as run: run.log({'x': os.urandom(4)[0]})\n"
    )
    assert CliRunner().invoke(cli, ["run", "chance.py"], obj=ExitStatus()).exit_code == 0
    results = [CliRunner().invoke(cli, ["runs", "reproduce", "last"], obj=ExitStatus()) for _ in range(3)]
    assert any(result.exit_code == 1 and "differs" in result.stdout for result in results)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--where", "metrics.auc >"], FilterError, "the filter ends"),
        (["show", "nothing"], RunError, "There is no run 'nothing'"),
        (["--store", "none"], SpecError, "There is no store"),
        (["--store", "nowhere"], StoreError, "There is no store 'nowhere"),
        (["--sort", "metrics"], FilterError, "Expected a field"),
    ],
)
def test_bad_input_is_one_sentence(two_runs, arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "nowhere" in arguments:
        message = message.split("'", maxsplit=1)[0]
    with pytest.raises(error, match=message):
        runs(*arguments)


def test_a_tag_needs_a_name(work_folder):
    (work_folder / "train.py").write_text("")
    result = CliRunner().invoke(cli, ["run", "--tag", "ana", "train.py"], obj=ExitStatus())
    assert isinstance(result.exception, SpecError)


def test_small_curves_and_times():
    import numpy as np

    values = np.array([0.0, 1.0, np.nan, 2.0])
    assert sparkline(CurvePoints(np.arange(4), np.arange(4), values)) == "▁▅ █"
    assert sparkline(None) == ""
    assert sparkline(CurvePoints(np.arange(1), np.arange(1), np.array([np.nan]))) == ""
    assert [format_duration(seconds) for seconds in (1.26, 90, 7200)] == ["1.3 s", "1.5 min", "2.0 h"]


def test_listing_runs_loads_nothing_that_only_a_fit_needs(work_folder):
    with track("e", name="a") as run:
        run.log({"loss": 1.0})
    code = "import sys; from rosenblatt.cli.main import cli; cli(['runs'], standalone_mode=False); print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listing, _, modules = process.stdout.rstrip().rpartition("\n")
    assert "loss" in listing
    assert not {"numpy", "numba", "optuna", "polars", "rosenblatt.spec.spec"} & set(modules.split())
