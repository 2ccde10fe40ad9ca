"""Runners of the queue start, watch and end the processes of experiments. A shell stands for `rosenblatt`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rosenblatt.cluster import experiment_process, queue_runner
from rosenblatt.cluster.queue import (
    NewExperiment,
    add_experiments,
    cancel_experiments,
    load_experiments,
    update_started,
)
from rosenblatt.cluster.queue_logs import read_log
from rosenblatt.cluster.queue_runner import QueueRunner, RunnerOptions, has_option
from rosenblatt.errors import RunError, StoreUnavailableError
from rosenblatt.runs.store.owners import is_alive_here
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from tests.waiting import wait_until

RUNNER = """
import sys
from rosenblatt.cluster import experiment_process, queue_runner
from rosenblatt.runs.store.store import Store
queue_runner.COMMAND = ("/bin/sh", "-c")
queue_runner.QueueRunner(Store(sys.argv[1]), queue_runner.RunnerOptions(), lambda text: print(text, flush=True)).run()
"""


@pytest.fixture(autouse=True)
def shell(monkeypatch):
    """Start experiments as scripts of the shell."""
    monkeypatch.setattr(queue_runner, "COMMAND", ("/bin/sh", "-c"))
    monkeypatch.setattr(queue_runner, "POLL_INTERVAL_S", 0.005)
    monkeypatch.setattr(queue_runner, "HEARTBEAT_INTERVAL_S", 0.02)


@pytest.fixture
def add(sqlite, tmp_path):
    """Add shell scripts to the queue; returns their numbers."""

    def add(*scripts, **fields):
        values = {"folder": str(tmp_path), "machine": socket.gethostname(), "user": "ana"} | fields
        return add_experiments(sqlite, [NewExperiment(arguments=(script,), **values) for script in scripts])

    return add


def run_queue(store, **options):
    messages = []
    return QueueRunner(store, RunnerOptions(**options), messages.append).run(), messages


def read(store, number):
    return "".join(read_log(store, number))


def test_experiments_run_in_their_folder_until_none_waits(sqlite, add, tmp_path):
    add("pwd", "echo second; echo error >&2")
    ended, messages = run_queue(sqlite)
    assert [(experiment.number, experiment.state) for experiment in ended] == [(2, "finished"), (1, "finished")]
    assert read(sqlite, 1) == f"$ rosenblatt pwd\n{tmp_path.resolve()}\n"
    assert read(sqlite, 2).splitlines()[1:] == ["second", "error"]
    assert messages[0] == "1: started: pwd"
    assert messages[1].startswith("1: finished after ")
    log = Path(ended[0].log.partition(":")[2])
    assert log.stat().st_mode & 0o077 == 0


def test_a_failed_experiment_names_its_status_and_last_line(sqlite, add):
    add("echo 'Error: no such column'; exit 2", "kill -9 $$", "true")
    ended, _ = run_queue(sqlite)
    assert {experiment.number: (experiment.state, experiment.reason) for experiment in ended} == {
        1: ("failed", "exit status 2: Error: no such column"),
        2: ("failed", "signal SIGKILL: $ rosenblatt 'kill -9 $$'"),
        3: ("finished", ""),
    }


def test_a_failed_experiment_without_its_output_ends_no_runner(sqlite, add):
    add(f"rm -r '{queue_runner.Artifacts(sqlite.url, sqlite).folder}/queue'; exit 3", "true")
    ended, _ = run_queue(sqlite)
    assert {experiment.number: (experiment.state, experiment.reason) for experiment in ended} == {
        1: ("failed", "exit status 3: its output cannot be read: No such file or directory"),
        2: ("finished", ""),
    }


def test_workers_run_at_the_same_time_and_share_the_cores(sqlite, add, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(queue_runner, "cores", lambda: 8)
    os.mkfifo(tmp_path / "meeting")
    add("echo $OMP_NUM_THREADS > meeting", "cat meeting")
    ended, messages = run_queue(sqlite, workers=2)
    assert [experiment.state for experiment in ended] == ["finished", "finished"]
    assert read(sqlite, 2).splitlines()[-1] == "4"
    assert messages[0] == "2 workers: each experiment uses 4 of 8 cores"


def test_a_config_is_that_of_the_time_when_it_was_added(sqlite, tmp_path):
    (tmp_path / "a.toml").write_text("changed later")
    fields = {"folder": str(tmp_path), "machine": socket.gethostname(), "user": "ana", "config": "[x]\n"}
    add_experiments(sqlite, [NewExperiment(arguments=('cat "$1"', "--config", "a.toml"), **fields)])
    ended, _ = run_queue(sqlite)
    assert ended[0].state == "finished"
    assert read(sqlite, 1).splitlines()[-1] == "[x]"


def test_fits_train_where_the_runner_says_unless_they_do(sqlite, tmp_path, monkeypatch):
    monkeypatch.setattr(queue_runner, "COMMAND", ("/bin/echo",))
    fields = {"folder": str(tmp_path), "machine": socket.gethostname(), "user": "ana"}
    commands = [("fit", "a.csv"), ("fit", "a.csv", "--on=b.txt"), ("run", "a.py")]
    add_experiments(sqlite, [NewExperiment(arguments=command, **fields) for command in commands])
    run_queue(sqlite, on="hosts.txt")
    printed = [read(sqlite, number).splitlines()[1] for number in (1, 2, 3)]
    assert printed == ["fit --on hosts.txt a.csv", "fit a.csv --on=b.txt", "run a.py"]
    assert has_option(["--on", "x"], "--on")


def test_experiments_of_other_machines_wait_unless_they_are_asked_for(sqlite, add):
    add("echo here", machine="elsewhere")
    ended, messages = run_queue(sqlite)
    assert ended == []
    assert "added in" in messages[0]
    assert "--any-machine" in messages[0]
    ended, _ = run_queue(sqlite, any_machine=True)
    assert [experiment.state for experiment in ended] == ["finished"]


def test_a_folder_that_is_gone_is_reported(sqlite, add):
    add("true", folder="/nowhere/at/all")
    ended, messages = run_queue(sqlite, any_machine=True)
    assert ended == []
    assert "/nowhere/at/all" in messages[0]
    assert len(messages) == 1


def _has_text(path):
    return path.exists() and path.read_text().strip()


def _run_and_cancel(store, has_started):
    """Run the queue, and cancel the first experiment from another connection when it has started."""

    def cancel_when_started():
        wait_until(has_started)
        other = Store(store.url)
        cancel_experiments(other, [1])
        other.close()

    thread = threading.Thread(target=cancel_when_started)
    thread.start()
    result = run_queue(store)
    thread.join()
    return result


def test_a_cancelled_experiment_ends_with_all_its_processes(sqlite, add, tmp_path):
    add("sleep 60 & echo $! > child; wait", "true")
    ended, messages = _run_and_cancel(sqlite, lambda: _has_text(tmp_path / "child"))
    assert [experiment.number for experiment in ended] == [2]
    assert load_experiments(sqlite, [1])[0].state == "cancelled"
    assert "1: cancelled, not by this runner; its process has ended" in messages
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not _is_running(child))


def test_a_process_that_does_not_end_when_asked_is_killed(sqlite, add, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment_process, "STOP_TIMEOUT_S", 0.05)
    add("trap '' TERM; touch started; while :; do sleep 0.02; done")
    ended, messages = _run_and_cancel(sqlite, (tmp_path / "started").exists)
    assert ended == []
    assert messages[-1] == "1: cancelled, not by this runner; its process has ended"


def _is_running(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX"


def start_runner(store):
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, store.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_lets_experiments_wait_again(sqlite, add, tmp_path):
    add("trap 'echo saved; exit 130' INT; touch started; while :; do sleep 0.02; done")
    runner = start_runner(sqlite)
    wait_until((tmp_path / "started").exists)
    runner.send_signal(signal.SIGINT)
    output, errors = runner.communicate()
    assert "1: waits again, because its runner was stopped" in output
    assert errors.strip().endswith("KeyboardInterrupt")
    (experiment,) = load_experiments(sqlite)
    assert (experiment.state, experiment.owner) == ("waiting", None)
    assert read(sqlite, 1).splitlines()[-1] == "saved"


def test_the_process_of_a_killed_runner_ends_and_the_next_runner_takes_it(sqlite, add, tmp_path):
    add("test -e started && exit; trap 'echo saved; exit' TERM; touch started; while :; do sleep 0.02; done")
    runner = start_runner(sqlite)
    wait_until((tmp_path / "started").exists)
    wait_until(lambda: load_experiments(sqlite)[0].process)
    process = load_experiments(sqlite)[0].process
    runner.kill()
    runner.communicate()
    ended, messages = run_queue(sqlite)
    assert not is_alive_here(process)
    assert messages[0] == "1: waiting, because its runner was killed or lost"
    assert [(experiment.state, experiment.attempts) for experiment in ended] == [("finished", 2)]
    assert "saved" in read(sqlite, 1)


def test_an_interrupted_search_is_resumed(sqlite, add, monkeypatch):
    monkeypatch.setattr(queue_runner, "new_id", iter(["search1", "other"]).__next__)
    add("echo run $ROSENBLATT_RUN_ID resume $ROSENBLATT_RESUME; exit 2")
    run_queue(sqlite)
    batch = RecordBatch()
    batch.add_run("search1", "e", "", "search", state="stopped")
    sqlite.write(batch)
    with sqlite.writing() as connection:
        connection.exec_driver_sql("UPDATE queue SET state = 'waiting'")
    run_queue(sqlite)
    lines = read(sqlite, 1).splitlines()
    assert lines[1].strip() == "run search1 resume"
    assert lines[3] == "run other resume search1"


def test_a_store_that_does_not_answer_ends_no_experiment(sqlite, add, monkeypatch):
    add("sleep 0.1; echo done")
    beat, failures = queue_runner.give_sign_of_life, iter([True] * 3)

    def cut_off(*arguments):
        if next(failures, False):
            raise StoreUnavailableError("The store cannot be reached.")
        return beat(*arguments)

    monkeypatch.setattr(queue_runner, "give_sign_of_life", cut_off)
    ended, messages = run_queue(sqlite)
    assert [experiment.state for experiment in ended] == ["finished"]
    assert sum("cannot be reached" in message for message in messages) == 1


def test_logs_of_what_was_not_started_or_is_elsewhere_are_refused(sqlite, add):
    add("true")
    with pytest.raises(RunError, match="was never started"):
        read(sqlite, 1)
    with sqlite.writing() as connection:
        connection.exec_driver_sql("UPDATE queue SET log = 'elsewhere:/log.txt', state = 'finished', run = 'abc'")
    with pytest.raises(RunError, match=r"is on elsewhere, in /log\.txt"):
        read(sqlite, 1)
    batch = RecordBatch()
    batch.add_run("abc", "e", "", "script")
    batch.add_output("abc", "w", 0, "stdout", 0.0, "recorded\n")
    sqlite.write(batch)
    assert read(sqlite, 1) == "recorded\n"


def test_a_log_is_followed_until_its_experiment_ends(sqlite, add, tmp_path):
    add("echo first; cat go; echo last")
    os.mkfifo(tmp_path / "go")
    texts, has_gone = [], []

    def follow():
        store = Store(sqlite.url)
        for text in read_log(store, 1, follow=True):
            texts.append(text)
            if not has_gone and "first" in "".join(texts):
                has_gone.append((tmp_path / "go").write_text("middle\n"))
        store.close()

    reader = threading.Thread(target=follow)
    reader.start()
    ended, _ = run_queue(sqlite)
    reader.join()
    assert ended[0].state == "finished"
    assert "".join(texts).splitlines()[1:] == ["first", "middle", "last"]


def test_a_command_begins_once_the_store_has_its_process(sqlite, add, tmp_path, monkeypatch):
    add("touch began")
    calls = []

    def update(*arguments):
        calls.append((tmp_path / "began").exists())
        if len(calls) < 3:
            raise StoreUnavailableError("The store does not answer.")
        return update_started(*arguments)

    monkeypatch.setattr(queue_runner, "update_started", update)
    ended, messages = run_queue(sqlite)
    assert calls == [False] * 3
    assert ended[0].state == "finished"
    assert ended[0].log
    assert (tmp_path / "began").exists()
    assert [text for text in messages if "does not answer" in text]


def test_an_experiment_that_is_cancelled_while_it_starts_never_begins(sqlite, add, tmp_path, monkeypatch):
    add("touch began")

    def update(*arguments):
        cancel_experiments(sqlite, [1])
        return update_started(*arguments)

    monkeypatch.setattr(queue_runner, "update_started", update)
    ended, messages = run_queue(sqlite)
    assert ended == []
    assert messages[-1] == "1: cancelled, not by this runner; its process has ended"
    assert not (tmp_path / "began").exists()


def test_a_runner_that_is_killed_before_the_store_has_the_process_leaves_no_command(sqlite, add, tmp_path):
    add("echo began >> began")
    killed = "queue_runner.update_started = lambda *_: (print('killed', flush=True), os.kill(os.getpid(), 9))\n"
    code = RUNNER.replace("queue_runner.COMMAND", f"{killed}queue_runner.COMMAND", 1).replace(
        "import sys", "import os, sys"
    )
    subprocess.run([sys.executable, "-c", code, sqlite.url], stdout=subprocess.DEVNULL, check=False)
    ended, _ = run_queue(sqlite)
    assert (ended[0].state, ended[0].attempts) == ("finished", 2)
    assert (tmp_path / "began").read_text() == "began\n"
