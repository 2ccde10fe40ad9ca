"""The commands `rosenblatt run` and `rosenblatt runs`, as typed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rosenblatt.cli.console.runs import duration, spark
from rosenblatt.cli.exit_status import _Stop
from rosenblatt.cli.main import cli
from rosenblatt.errors import FilterError, RosenblattError, RunError, SpecError, StorageError, StoreError
from rosenblatt.runs.store.curves import Points
from rosenblatt.runs.tracking.run import track


def runs(*words):
    done = CliRunner().invoke(cli, ["runs", *words], obj=_Stop())
    if isinstance(done.exception, RosenblattError):
        raise done.exception
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.stdout


@pytest.fixture
def two(own_store):
    found = []
    for number, activation in enumerate(("relu", "gelu")):
        with track("first", params={"activation": activation, "lr": 0.1}, name=f"n{number}") as run:
            for step in range(20):
                run.log({"auc": 0.9 + step / 1000 + number / 100}, step=step)
            run.log_bytes("notes.txt", b"hello")
            print(f"printed {number}")
        found.append(run.id)
    return found


def test_runs_are_listed_filtered_and_sorted(two):
    listed = runs()
    assert listed.index(two[1]) < listed.index(two[0])
    assert "finished" in listed
    found = json.loads(
        runs("--where", "params.activation = 'relu' and metrics.auc > 0.9", "--sort", "-metrics.auc", "--json")
    )
    assert [one["id"] for one in found] == [two[0]]
    assert found[0]["metrics"]["auc"]["step"] == 19
    assert two[0] not in runs("--sort", "-metrics.auc", "--limit", "1")
    assert "no runs" in runs("--where", "metrics.auc > 5")


def test_a_run_is_shown_with_its_curves_output_files_and_source(two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = runs("show", two[0])
    assert "activation relu" in shown
    assert "▁" in shown
    assert json.loads(runs("show", "last", "--json"))["id"] == two[1]
    assert runs("show", "n0", "--output") == "printed 0\n"
    runs("show", two[0], "--artifact", "notes.txt")
    assert (tmp_path / "notes.txt").read_bytes() == b"hello"
    runs("show", two[0], "--plot", "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000
    runs("show", two[0], "--source", "restored")
    assert (tmp_path / "restored").is_dir()
    with pytest.raises(RunError, match="is there already"):
        runs("show", two[0], "--source", "restored")
    with pytest.raises(RunError, match=r"no file 'x', but notes\.txt"):
        runs("show", two[0], "--artifact", "x")


def test_runs_are_compared(two, tmp_path):
    shown = runs("compare", *two)
    assert "relu" in shown
    assert "environment: the same" in shown
    found = json.loads(runs("compare", *two, "--json"))
    assert found["params"] == {"activation": ["relu", "gelu"]}
    runs("compare", *two, two[0], "--plot", str(tmp_path / "c.svg"))
    assert b"<svg" in (tmp_path / "c.svg").read_bytes()
    with pytest.raises(SpecError, match="Two runs are compared, but 1 came"):
        runs("compare", two[0])
    with pytest.raises(StorageError, match="cannot be written"):
        runs("compare", *two, "--plot", str(tmp_path / "c.nonsense"))


def test_runs_are_deleted_when_the_user_says_so(two, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.YOUNG", -5.0)
    assert "deleted: 1" in runs("delete", two[0], "--yes")
    assert len(json.loads(runs("--json"))) == 1
    done = CliRunner().invoke(cli, ["runs", "delete", two[1]], input="n\n", obj=_Stop())
    assert done.exit_code == 0
    assert len(json.loads(runs("--json"))) == 1
    assert "deleted: 1" in runs("delete", "--where", "experiment = first", "--yes")
    assert json.loads(runs("tidy", "--json"))["removed_files"] > 0
    with pytest.raises(SpecError, match="Name the runs to delete"):
        runs("delete", "--yes")


def test_runs_are_exported(two, tmp_path):
    assert "2 runs" in runs("export", "--to", "csv", "--out", str(tmp_path / "tables"))
    assert (tmp_path / "tables" / "curves.csv").exists()
    found = json.loads(
        runs("export", "--to", "parquet", "--where", "name = n0", "--out", str(tmp_path / "t"), "--json")
    )
    assert found["runs"] == 1


@pytest.mark.slow
def test_a_verdict_is_told_with_the_exit_status(here):
    (here / "train.py").write_text("import rosenblatt\nwith rosenblatt.track() as run: run.log({'loss': 1.0})\n")
    assert CliRunner().invoke(cli, ["run", "train.py", "--", "--lr", "0.1"], obj=_Stop()).exit_code == 0
    done = CliRunner().invoke(cli, ["runs", "reproduce", "last", "--json"], obj=_Stop())
    assert done.exit_code == 0
    assert json.loads(done.stdout)["verdict"] == "identical"
    (here / "chance.py").write_text(
        "import os, rosenblatt\nwith rosenblatt.track() as run: run.log({'x': os.urandom(4)[0]})\n"
    )
    assert CliRunner().invoke(cli, ["run", "chance.py"], obj=_Stop()).exit_code == 0
    statuses = [CliRunner().invoke(cli, ["runs", "reproduce", "last"], obj=_Stop()) for _ in range(3)]
    assert any(one.exit_code == 1 and "differs" in one.stdout for one in statuses)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--where", "metrics.auc >"], FilterError, "the filter ends"),
        (["show", "nothing"], RunError, "There is no run 'nothing'"),
        (["--store", "none"], SpecError, "There is no store"),
        (["--store", "nowhere"], StoreError, "There is no store 'nowhere"),
        (["--sort", "metrics"], FilterError, "A field was expected"),
    ],
)
def test_bad_input_is_one_sentence(two, words, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "nowhere" in words:
        message = message.split("'", maxsplit=1)[0]
    with pytest.raises(error, match=message):
        runs(*words)


def test_a_tag_needs_a_name(here):
    (here / "train.py").write_text("")
    done = CliRunner().invoke(cli, ["run", "--tag", "ana", "train.py"], obj=_Stop())
    assert isinstance(done.exception, SpecError)


def test_small_curves_and_times():
    import numpy as np

    values = np.array([0.0, 1.0, np.nan, 2.0])
    assert spark(Points(np.arange(4), np.arange(4), values)) == "▁▅ █"
    assert spark(None) == ""
    assert spark(Points(np.arange(1), np.arange(1), np.array([np.nan]))) == " "
    assert [duration(seconds) for seconds in (1.26, 90, 7200)] == ["1.3 s", "1.5 min", "2.0 h"]
