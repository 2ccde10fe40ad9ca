"""The command `ui` shows the runs of a store until it is stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from urllib.request import urlopen

import pytest

from rosenblatt.runs.tracking.run import track

pytest.importorskip("starlette", reason="starlette is not installed: pip install 'rosenblatt[ui]'")


@contextmanager
def dashboard(*arguments):
    """The command on a free port; yields its process and address."""
    command = [sys.executable, "-m", "rosenblatt", "ui", "--no-open", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().split()[2]
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_runs_are_shown_until_the_command_is_stopped(work_folder, number, status):
    with track("people", name="first") as run:
        run.log({"loss": 0.5})
    with dashboard() as (process, address):
        with urlopen(f"{address}/api/runs?columns=name,metrics.loss") as answer:
            assert json.load(answer)["columns"] == {"name": ["first"], "metrics.loss": [0.5]}
        with urlopen(address) as page:
            assert b"<title>" in page.read()
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode in (status, -number)
    assert "Traceback" not in errors


def test_a_port_in_use_is_one_sentence(work_folder, run):
    with track("people"):
        pass
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        status, _, errors = run("ui", "--no-open", "--port", str(port))
    assert status == 2, errors
    assert f"Port {port} of 127.0.0.1 cannot be used" in errors
    assert "Choose another --port" in errors
