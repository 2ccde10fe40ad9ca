"""The machines in namespaces are apart from one another as real ones are."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cluster.machines import REPOSITORY, machines
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def pair():
    with machines(2) as (a, b):
        yield a, b


def ssh(machine, command):
    run = subprocess.run(
        ["ssh", "-o", "ConnectTimeout=2", machine.address, command], capture_output=True, text=True, check=False
    )
    return run.returncode, run.stdout.strip()


def connects(a, b):
    return a.run(f"timeout 1 bash -c '</dev/tcp/{b.address}/22'", check=False).returncode == 0


def test_sessions_find_the_package_and_this_python(pair):
    program = "import rosenblatt, os; print(rosenblatt.__file__, os.uname().nodename)"
    status, output = ssh(pair[0], f"{sys.executable} -c '{program}'")
    assert status == 0
    assert output == f"{REPOSITORY}/src/rosenblatt/__init__.py {pair[0].name}"


def test_machines_share_neither_files_they_write_nor_processes(pair):
    a, b = pair
    a.run("touch /tmp/own /dev/shm/own ~/own; sleep 1000 >/dev/null 2>&1 &")
    assert len(a.processes("sleep 1000")) == 1
    assert not b.processes("sleep 1000")
    assert b.run("ls /tmp/own /dev/shm/own ~/own", check=False).stdout == ""


def test_a_cut_network_is_silent_and_can_be_mended(pair):
    a, b = pair
    wait_until(lambda: connects(a, b))
    b.cut()
    assert not connects(a, b)
    assert b.run("hostname").stdout.strip() == b.name
    b.mend()
    wait_until(lambda: connects(a, b))


def test_a_slow_network_delays_each_packet_and_is_as_before_when_mended(pair):
    a, b = pair
    program = f"""
import socket, time
start = time.monotonic()
with socket.create_connection(("{b.address}", 22)) as connection:
    connection.recv(100)
print(time.monotonic() - start)
"""
    b.slow(60)
    assert float(a.run(f"{sys.executable} -c '{program}'").stdout) > 0.12
    b.mend()
    wait_until(lambda: connects(a, b))


def test_a_machine_that_is_powered_off_answers_no_more():
    with machines(1) as (a,):
        assert ssh(a, "true")[0] == 0
        a.power_off()
        assert ssh(a, "true")[0] == 255
