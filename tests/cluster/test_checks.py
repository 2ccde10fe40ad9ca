"""Machines are checked before anything is changed on them; each failed check is one sentence."""

from __future__ import annotations

import sys

import pytest

from rosenblatt.cluster import checks
from rosenblatt.cluster.checks import PYTHON, check_hosts
from rosenblatt.cluster.hosts import Host
from rosenblatt.cluster.ssh import SshSessions


def check(*hosts):
    with SshSessions() as sessions:
        return check_hosts(hosts, sessions)


def write_program(folder, name, text):
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o700)


def test_a_machine_like_this_one_passes(fake_ssh, monkeypatch):
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 5 10.0.0.2 22")
    [result] = check(Host("here", python=sys.executable))
    assert result.problems == ()
    assert result.facts.python == sys.version_info[:3]
    assert result.facts.address == "10.0.0.2"
    assert abs(result.clock_offset) < checks.MAX_CLOCK_OFFSET_S


def test_all_machines_are_checked_and_each_failure_is_a_sentence(fake_ssh):
    here, unreachable, stranger = check(Host("here"), Host("unreachable"), Host("stranger", "ann", 22))
    assert here.facts is not None
    assert unreachable.problems == ("there is no route to it.",)
    assert "its host key is not known here. Connect once with `ssh -p 22 ann@stranger`" in stranger.problems[0]


@pytest.mark.parametrize(("offset", "direction"), [(90, "ahead of"), (-90, "behind")])
def test_a_clock_that_is_off_is_refused(fake_ssh, offset, direction):
    write_program(fake_ssh, "date", f"expr $(/bin/date +%s) + {offset}")
    [result] = check(Host("here", python=sys.executable))
    assert len(result.problems) == 1
    assert f"s {direction} the clock here (at most 30 s)" in result.problems[0]


def test_another_python_is_refused_unless_uv_can_install_the_right_one(fake_ssh):
    program = "import sys; sys.version_info = (3, 9, 2); sys.argv = ['-', 'x']; exec(sys.stdin.read())"
    for name in ("old-python", f"python{PYTHON}"):
        write_program(fake_ssh, name, f'exec {sys.executable} -c "{program}"')
    [result] = check(Host("here", python="old-python"))
    assert f"its Python is CPython 3.9.2, and here it is {PYTHON}" in result.problems[0]
    write_program(fake_ssh, "uv", "exit 0")
    [result] = check(Host("here"))
    assert result.problems == ()
    assert result.facts.python == (3, 9, 2)


def test_a_machine_without_python_is_refused(fake_ssh):
    [result] = check(Host("here", python="/absent/python"))
    assert result.problems == ("python=/absent/python does not run there (no Python).",)


def test_what_start_files_of_the_shell_print_is_not_read(fake_ssh):
    text = (fake_ssh / "ssh").read_text()
    noise = "echo 'Welcome to {\"lab\"}'; printf 'no newline'"
    (fake_ssh / "ssh").write_text(text.replace("exec sh -c", f"{noise}; exec sh -c"))
    [result] = check(Host("here", python=sys.executable))
    assert result.problems == ()
    assert result.facts.python == sys.version_info[:3]


def test_a_user_without_a_shell_and_a_python_that_fails_are_named(fake_ssh):
    write_program(fake_ssh, f"python{PYTHON}", "echo 'libpython is missing' >&2; exit 1")
    [result] = check(Host("here"))
    assert result.problems == ("its Python does not answer (libpython is missing).",)
    text = (fake_ssh / "ssh").read_text()
    (fake_ssh / "ssh").write_text(text.replace("exec sh", "echo This account is not available.; exit 1; exec sh"))
    [result] = check(Host("here"))
    assert result.problems == ("its shell runs no commands for this user (This account is not available.).",)


def test_one_machine_under_two_names_is_refused_with_both_lines(fake_ssh):
    python = sys.executable
    first, second = check(Host("here", python=python, line=1), Host("10.0.0.7", python=python, line=4))
    assert first.problems == ()
    assert second.problems == ("it is the same machine as here, lines 1 and 4 of the hosts file. Remove one of both.",)
    assert check(Host("a", python=python), Host("b", python=python))[1].problems == (
        "it is the same machine as a. Remove one of both.",
    )


def test_too_little_disk_and_too_many_cores_are_refused(fake_ssh, monkeypatch):
    monkeypatch.setattr(checks, "MIN_FREE_DISK_READY", 2**60)
    [result] = check(Host("here", cores=5000, gpus=9, python=sys.executable))
    texts = " ".join(result.problems)
    assert "/tmp has" in texts
    assert "MB of free disk" in texts
    assert "cores=5000, but it has" in texts
    assert "gpus=9, but nvidia-smi lists" in texts
