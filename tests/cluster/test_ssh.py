"""Commands of machines give their own output, and end with the sessions."""

from __future__ import annotations

import threading
import time

import pytest

from rosenblatt.cluster.hosts import Host
from rosenblatt.cluster.ssh import SshSessions, run_at_once
from rosenblatt.errors import ClusterError
from tests.waiting import wait_until

HERE = Host("here")


def add_noise(fake_ssh, text):
    program = (fake_ssh / "ssh").read_text()
    (fake_ssh / "ssh").write_text(program.replace("exec sh -c", f"{text}; exec sh -c"))


def test_a_command_gets_its_input_and_gives_status_output_and_errors(fake_ssh):
    with SshSessions() as sessions:
        assert sessions.run_unchecked(HERE, "cat; echo b >&2; exit 3", b"a" * 200_000) == (3, "a" * 200_000, "b\n")
        assert sessions.run(HERE, "echo a") == "a\n"
        with pytest.raises(ClusterError, match=r"here: b$"):
            sessions.run(HERE, "echo a; echo b >&2; exit 1")


def test_what_start_files_of_a_shell_print_is_left_out(fake_ssh):
    add_noise(fake_ssh, "printf 'Welcome\\nno end of line'")
    with SshSessions() as sessions:
        assert sessions.run(HERE, "echo a; echo b") == "a\nb\n"


def test_a_shell_that_runs_no_command_is_named(fake_ssh):
    add_noise(fake_ssh, "echo 'This account is not available.'; exit 1")
    with SshSessions() as sessions, pytest.raises(ClusterError, match=r"for this user \(This account is not"):
        sessions.run(HERE, "true")


def test_a_command_that_takes_too_long_is_given_up(fake_ssh):
    with SshSessions() as sessions, pytest.raises(ClusterError, match=r"here: no answer within 0\.2 s"):
        sessions.run(HERE, "exec sleep 60", timeout=0.2)


def test_the_input_of_a_command_ends_with_the_sessions(fake_ssh, tmp_path):
    errors = []

    def run():
        try:
            sessions.run_unchecked(
                HERE, f"touch {tmp_path}/begun; sh -c 'cat; touch {tmp_path}/ended'; true", holds_stdin=True
            )
        except ClusterError as error:
            errors.append(str(error))

    with SshSessions() as sessions:
        thread = threading.Thread(target=run)
        thread.start()
        wait_until((tmp_path / "begun").exists)
        assert not (tmp_path / "ended").exists()
    thread.join()
    assert errors == ["here: the command was interrupted."]
    wait_until((tmp_path / "ended").exists)
    with pytest.raises(ClusterError, match="was interrupted"):
        sessions.run(HERE, "true")


def test_an_interrupt_does_not_wait_for_steps(fake_ssh):
    is_over = threading.Event()

    def step(number):
        if number == 0:
            raise KeyboardInterrupt
        is_over.wait(60)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_at_once([0, 1], step)
    assert time.monotonic() - start < 30
    is_over.set()
