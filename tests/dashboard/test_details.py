"""Tests of what is shown of one run, on runs that were really recorded."""

from __future__ import annotations

import math
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rosenblatt.dashboard import details
from rosenblatt.dashboard.details import RunQuery, load_output_end, load_run
from rosenblatt.errors import RunError
from rosenblatt.runs.store.queries import find_run
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track

SCRIPT = """
import sys
import rosenblatt
with rosenblatt.track(params={"width": 8}) as run:
    run.log({"loss": float("nan"), "auc": 0.5})
    run.note("remark", "<b>")
    run.tag(team="blue")
print("to stdout")
print("to stderr", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Store]:
    """A store with the run of a script, which lies in the folder of its `.rosenblatt`."""
    folder: Path = tmp_path_factory.mktemp("details")
    (folder / "train.py").write_text(SCRIPT)
    env = {name: value for name, value in os.environ.items() if name != "ROSENBLATT_STORE"}
    command = [sys.executable, "-m", "rosenblatt", "run", "train.py", "--", "--lr", "0.1"]
    subprocess.run(command, cwd=folder, env=env, check=True)
    with closing(Store(f"sqlite:///{folder / '.rosenblatt' / 'runs.db'}")) as store:
        yield store


def test_a_run_has_its_inputs_scores_and_output(store: Store):
    run = find_run(store, "last")
    answer = load_run(store, RunQuery(run=run))
    assert (answer.state, answer.params["lr"].value, answer.params["width"].value) == ("finished", "0.1", "8")
    assert (answer.tags, answer.notes) == ({"team": "blue"}, {"remark": "<b>"})
    assert (answer.metrics["loss"].last, answer.metrics["auc"].best) == (None, 0.5)
    assert answer.source is not None
    assert answer.source.files == ["train.py"]
    assert answer.facts["command"] == "train.py --lr 0.1"
    assert "numpy" in answer.packages
    output = load_output_end(store, RunQuery(run=run))
    assert sorted(output.parts) == [("stderr", "to stderr\n"), ("stdout", "to stdout\n")]


@pytest.mark.slow
def test_the_command_of_a_run_repeats_it(store: Store):
    answer = load_run(store, RunQuery(run=find_run(store, "last")))
    program, *arguments = shlex.split(answer.reproduce)
    assert program == "rosenblatt"
    result = subprocess.run(
        [sys.executable, "-m", "rosenblatt", *arguments], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "identical (2 metrics compared" in result.stdout


def test_of_a_long_output_the_last_part_is_shown(store: Store, monkeypatch):
    monkeypatch.setattr(details, "MAX_OUTPUT_CHARACTERS", 12)
    output = load_output_end(store, RunQuery(run=find_run(store, "last")))
    assert output.total == 20
    assert sum(len(text) for _, text in output.parts) == 12


def test_a_run_that_cannot_be_repeated_says_why(tmp_path: Path):
    with track("prompt", store=str(tmp_path)) as run:
        run.log({"a": math.inf})
    with closing(Store(f"sqlite:///{tmp_path / 'runs.db'}")) as store:
        answer = load_run(store, RunQuery(run=run.id))
        assert answer.reproduce == ""
        assert "cannot" in answer.obstacle or "Only that program" in answer.obstacle
        assert answer.model_dump_json()


def test_a_run_that_does_not_exist_is_refused(store: Store):
    for load in (load_run, load_output_end):
        with pytest.raises(RunError, match="There is no run"):
            load(store, RunQuery(run="nobody"))
