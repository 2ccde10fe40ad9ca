"""A machine gets the same environment as here, built once, or an explanation of what is in the way."""

from __future__ import annotations

import os
import signal
import sys
import tarfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from rosenblatt.cluster import environment
from rosenblatt.cluster.checks import check_hosts
from rosenblatt.cluster.environment import (
    EnvironmentSource,
    check_ray_version,
    check_wheels_folder,
    compare_versions,
    prepare_environment,
)
from rosenblatt.cluster.hosts import Host
from rosenblatt.cluster.record import list_records
from rosenblatt.cluster.ssh import SshSessions
from rosenblatt.cluster.up import UpOptions, _Skipping, bring_up
from rosenblatt.errors import ClusterError
from tests.waiting import wait_until

# Instead of uv: an environment whose Python is the one of these tests
UV = """
echo "$@" >> {log}
if [ "$1" = venv ]; then
  for folder; do :; done
  mkdir -p "$folder/bin"
  printf '#!/bin/sh\n[ "$1" = -c ] || exec {python} "$@"\n' > "$folder/bin/python"
  chmod 700 "$folder/bin/python"
fi
if [ "$2" = install ] && [ -e {log}.hangs ]; then sleep 1234 & echo $! > {log}.pid; wait; fi
if [ "$2" = install ] && [ -e {failure} ]; then cat {failure} >&2; exit 1; fi
exit 0
"""


@pytest.fixture
def uv(fake_ssh, tmp_path, monkeypatch):
    """A stand-in for uv; returns the file of its calls."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    log, failure = tmp_path / "uv.log", tmp_path / "uv.failure"
    log.touch()
    (fake_ssh / "uv").write_text("#!/bin/sh" + UV.format(log=log, failure=failure, python=sys.executable))
    (fake_ssh / "uv").chmod(0o700)
    return log


def prepare(messages, **settings):
    with SshSessions() as sessions:
        [machine] = _Skipping(False, print).filter_checks(check_hosts([Host("here")], sessions))
        return prepare_environment(machine, EnvironmentSource(**settings), sessions, messages.append)


def test_an_environment_is_built_once_from_exact_versions(uv, tmp_path):
    messages = []
    python = prepare(messages)
    assert python.startswith(str(tmp_path / "cache" / "rosenblatt" / "environments"))
    assert "installing" in messages[0]
    assert "with uv" in messages[0]
    assert "environment ready after" in messages[1]
    create, install = uv.read_text().splitlines()
    assert create.startswith("venv ")
    assert "--requirement" in install
    assert install.endswith("-py3-none-any.whl")
    assert prepare(messages) == python
    assert len(uv.read_text().splitlines()) == len(messages) == 2


def test_a_machine_without_index_is_sent_the_wheels(uv, tmp_path):
    (tmp_path / "uv.failure").write_text("error: Failed to fetch: https://index/simple/numpy\n")
    with pytest.raises(ClusterError, match=r"here: it reaches no package index.*--wheels FOLDER"):
        prepare([])
    (tmp_path / "uv.failure").unlink()
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with pytest.raises(ClusterError, match=r"expected a folder with \.whl files"):
        check_wheels_folder(wheels)
    (wheels / "numpy.whl").touch()
    check_wheels_folder(wheels)
    prepare([], wheels=wheels)
    assert "--no-index --find-links" in uv.read_text().splitlines()[-1]


def test_a_build_that_fails_otherwise_says_why(uv, tmp_path):
    (tmp_path / "uv.failure").write_text("noise\nerror: no solution for numpy==9\n")
    with pytest.raises(ClusterError, match="could not be built: error: no solution for numpy==9"):
        prepare([])


def test_a_build_ends_with_all_of_its_processes_when_the_controller_is_interrupted(uv, tmp_path):
    Path(f"{uv}.hangs").touch()
    pid_file = Path(f"{uv}.pid")

    def interrupt():
        wait_until(lambda: pid_file.exists() and pid_file.read_text())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    start = time.monotonic()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells ignore in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            bring_up([Host("here")], UpOptions("lab"), print)
    finally:
        signal.signal(signal.SIGINT, handler)
    thread.join()
    assert time.monotonic() - start < 60  # and not as long as the build
    pid = int(pid_file.read_text())
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    folder = next((tmp_path / "cache" / "rosenblatt" / "environments").iterdir())
    wait_until(lambda: sorted(path.name for path in folder.iterdir()) == ["env", "lock"])
    assert list_records() == []


def test_an_interpreter_is_used_as_it_is_if_versions_and_sources_agree(fake_ssh, monkeypatch):
    host = Host("here", python=sys.executable)
    with SshSessions() as sessions:
        compare_versions(host, sys.executable, sessions)
        monkeypatch.setattr(environment, "sources_digest", lambda: "other")
        with pytest.raises(ClusterError, match="other sources of Rosenblatt"):
            compare_versions(host, sys.executable, sessions)
        monkeypatch.setattr(environment, "installed_versions", lambda names: dict.fromkeys(names, "0"))
        with pytest.raises(ClusterError, match=r"has other versions: .*\(here 0\)"):
            compare_versions(host, sys.executable, sessions)
        with pytest.raises(ClusterError, match="Rosenblatt cannot be used with /bin/false"):
            compare_versions(host, "/bin/false", sessions)


@pytest.mark.parametrize("version", ["2.53.0", "3.0.0", ""])
def test_versions_of_ray_without_authentication_are_refused(monkeypatch, version):
    check_ray_version()
    monkeypatch.setattr(environment, "installed_versions", lambda _: {"ray": version})
    with pytest.raises(ClusterError, match=r"rosenblatt\[cluster\]"):
        check_ray_version()


def test_the_name_of_an_environment_follows_what_it_is_made_from():
    source = EnvironmentSource()
    assert source.key == EnvironmentSource().key
    other = EnvironmentSource()
    other.__dict__["requirements"] = ["numpy==0"]
    assert other.key != source.key
    with source.open_archive("parts") as file, tarfile.open(fileobj=file) as archive:
        assert {name.split("/")[-1] for name in archive.getnames()} == {
            "requirements.txt", source.wheel[0], "environment_builder.py",
        }  # fmt: skip
