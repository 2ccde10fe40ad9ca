"""The state of a run comes from how its process ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import rosenblatt
from rosenblatt.runs.store.filters import LOST_REASON
from rosenblatt.runs.store.owners import end_dead_runs
from rosenblatt.runs.store.queries import find_runs, load_all_curves
from rosenblatt.runs.store.store import Store
from tests.waiting import wait_until

START = "import os, signal, sys, threading\nimport rosenblatt\nrun = rosenblatt.track('end')\nrun.log({'loss': 1.0})\n"
OTHER_HOOK = "sys.excepthook = lambda *error: None\n"


pytestmark = pytest.mark.usefixtures("default_hangup_signal")


@pytest.fixture
def store(own_store):
    opened = Store(f"sqlite:///{own_store}/runs.db")
    yield opened
    opened.close()


def run_program(code, *options):
    command = [sys.executable, *options] if options else [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("code", "status", "state", "reason"),
    [
        ("sys.exit(3)", 3, "failed", "SystemExit: 3"),
        ("def main(): sys.exit(3)\nmain()", 3, "failed", "SystemExit: 3"),
        ("raise SystemExit(3)", 3, "failed", "SystemExit: 3"),
        ("raise SystemExit('no data')", 1, "failed", "SystemExit: no data"),
        ("sys.exit('')", 1, "failed", "SystemExit: "),
        ("exit(4)", 4, "failed", "SystemExit: 4"),
        ("import argparse\nargparse.ArgumentParser().parse_args(['--wrong'])", 2, "failed", "SystemExit: 2"),
        ("try: sys.exit(3)\nfinally: print('cleanup')", 3, "failed", "SystemExit: 3"),
        ("raise SystemExit", 0, "finished", None),
        ("sys.exit(None)", 0, "finished", None),
        ("raise SystemExit(0)", 0, "finished", None),
        ("sys.exit(130)", 130, "stopped", "interrupted"),
        (OTHER_HOOK + "1 / 0", 1, "failed", "ZeroDivisionError: division by zero"),
        ("from rich.traceback import install\ninstall()\n1 / 0", 1, "failed", "ZeroDivisionError: division by zero"),
        ("try: sys.exit(3)\nexcept SystemExit as error: print(error.code)", 0, "finished", None),
        ("try: 1 / 0\nexcept ZeroDivisionError as error: sys.last_exc = sys.last_value = error", 0, "finished", None),
        ("threading.Thread(target=lambda: 1 / 0).start()", 0, "finished", None),
        ("threading.Thread(target=sys.exit, args=(3,)).start()", 0, "finished", None),
        ("import asyncio\nasync def main(): sys.exit(3)\nasyncio.run(main())", 3, "failed", "SystemExit: 3"),
        ("import atexit\natexit.register(lambda: 1 / 0)", 0, "finished", None),
        ("raise KeyboardInterrupt", -signal.SIGINT, "stopped", "interrupted"),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", -signal.SIGTERM, "stopped", "ended by SIGTERM"),
        ("os.kill(os.getpid(), signal.SIGHUP); signal.pause()", -signal.SIGHUP, "stopped", "ended by SIGHUP"),
    ],
)
def test_the_state_tells_how_a_program_ended(store, code, status, state, reason):
    assert run_program(START + code).returncode == status
    run = find_runs(store)[0]
    assert (run.state, run.reason) == (state, reason)
    assert load_all_curves(store, run.id)["loss"].values.tolist() == [1.0]


@pytest.mark.parametrize(
    "code",
    ["run.flush(); os._exit(0)", "run.flush(); os.abort()", "run.flush(); os.kill(os.getpid(), signal.SIGKILL)"],
)
def test_a_run_whose_process_is_gone_did_not_finish(store, code):
    run_program(START + code)
    assert find_runs(store)[0].state != "finished"
    assert end_dead_runs(store) == 1
    run = find_runs(store)[0]
    assert (run.state, run.reason) == ("failed", LOST_REASON)


def test_a_module_that_exits_has_failed(store, tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(START + "sys.exit(3)\n")
    monkeypatch.chdir(tmp_path)
    assert run_program("", "-m", "train").returncode == 3
    assert find_runs(store)[0].state == "failed"


def test_a_run_in_a_block_is_stopped_by_a_signal(store):
    code = "import os, signal, rosenblatt\nwith rosenblatt.track('end') as run:\n"
    assert run_program(code + "    os.kill(os.getpid(), signal.SIGTERM); signal.pause()").returncode == -signal.SIGTERM
    assert find_runs(store)[0].state == "stopped"


@pytest.mark.parametrize("begin_first", [True, False])
def test_a_program_handles_its_signals_itself(store, begin_first):
    install = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: print('mine'))\n"
    program = START + install if begin_first else install + START
    assert run_program(program + "os.kill(os.getpid(), signal.SIGTERM)").stdout == "mine\n"
    assert find_runs(store)[0].state == "finished"


def test_handlers_of_signals_are_removed_when_a_run_ends(store):
    with rosenblatt.track("end"):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_signal_ends_a_forked_child_at_once_and_not_its_parents_run(store):
    program = """
import os, signal, rosenblatt
run = rosenblatt.track("parent")
for _ in range(20):
    child = os.fork()
    if not child:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        while True:
            signal.pause()
    os.kill(child, signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == signal.SIGTERM
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""
    assert run_program(program).returncode == 0
    assert find_runs(store)[0].state == "finished"


def test_a_failed_run_is_not_reused(store):
    code = "import sys, rosenblatt\nrun = rosenblatt.track('again', reuse=True)\nsys.exit(9 if run.reused else 3)"
    assert [run_program(code).returncode for _ in range(2)] == [3, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(("code", "state"), [("pass", "finished"), ("1 / 0", "failed"), ("sys.exit(3)", "failed")])
def test_a_run_of_a_multiprocessing_child_ends_with_it(store, code, state):
    program = f"""
import multiprocessing, sys, rosenblatt
def work():
    run = rosenblatt.track("child")
    {code}
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""
    run_program(program)
    assert find_runs(store)[0].state == state


@pytest.mark.parametrize(
    ("cells", "state", "reason"),
    [
        (["1 / 0"], "failed", "ZeroDivisionError: division by zero"),
        (["1 / 0", "run.log({'loss': 2.0})"], "finished", None),
        (["print("], "failed", None),
        ([], "finished", None),
    ],
)
@pytest.mark.slow
def test_a_run_of_a_notebook_ends_as_its_last_cell(store, cells, state, reason):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook()
    sources = ["import rosenblatt\nrun = rosenblatt.track('notebook')\nrun.log({'loss': 1.0})", *cells]
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbclient.NotebookClient(notebook, timeout=100, kernel_name="python3", allow_errors=True).execute()
    wait_until(lambda: find_runs(store)[0].state != "running", description="the kernel to end")
    run = find_runs(store)[0]
    assert run.state == state
    if reason or state == "finished":
        assert run.reason == reason
