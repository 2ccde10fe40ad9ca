"""The supervisor of a script ends it when the controller is gone or silent, and says how it ended and what it wrote."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from rosenblatt.cluster import script_process
from rosenblatt.cluster.script_process import ScriptCommand, ScriptSupervisor
from tests.waiting import wait_until

SCRIPT = """
import subprocess, time, pathlib
null = subprocess.DEVNULL
child = subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=null, stderr=null)
pathlib.Path("result.txt").write_text("x")
pathlib.Path("pid.txt").write_text(str(child.pid))
time.sleep(1000)
"""


def _start(folder: Path) -> subprocess.Popen:
    (folder / "source").mkdir()
    (folder / "source" / "wait.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "-m", "rosenblatt.cluster.script_process", "run", str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    command = ScriptCommand(arguments=("run", "wait.py"), folder=".", store="none")
    process.stdin.write(command.model_dump_json().encode() + b"\n")
    process.stdin.flush()
    return process


def test_a_script_ends_with_all_that_it_started_when_its_controller_is_gone(tmp_path):
    process = _start(tmp_path)
    wait_until((tmp_path / "source" / "pid.txt").exists, timeout=60)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert (tmp_path / "status").read_text() == str(process.returncode)
    assert {"pid.txt", "result.txt"} <= set(json.loads((tmp_path / "written.json").read_text()))
    assert not psutil.pid_exists(int((tmp_path / "source" / "pid.txt").read_text()))


def test_a_script_ends_when_its_controller_is_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(script_process, "MAX_SILENCE_S", 0.1)
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    ScriptSupervisor(tmp_path)._watch(process)
    assert process.returncode == -signal.SIGTERM
