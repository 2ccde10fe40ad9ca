"""Tests of the driver of a cluster, as a child process."""

import sys

import pytest

from rosenblatt.errors import ClusterError
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.ray_connection import RayConnection
from rosenblatt.tuning.ray_workers import RayWorkers


def test_a_driver_that_prints_something_else_is_refused_with_it():
    command = (sys.executable, "-c", "print('This account is not available.')")
    with pytest.raises(ClusterError, match=r"cannot be used: it printed 'This account is not available\.'"):
        RayWorkers(RayConnection("lab", command), print, lambda: WorkerPool(1))


def test_a_driver_that_cannot_start_is_refused_with_its_last_words():
    connection = RayConnection("lab", (sys.executable, "-c", "raise SystemExit('no rosenblatt here')"))
    with pytest.raises(ClusterError, match="Cluster lab cannot be used: no rosenblatt here"):
        RayWorkers(connection, print, lambda: WorkerPool(1))


def test_a_driver_that_sends_nonsense_is_ended_with_the_reason(tmp_path):
    program = tmp_path / "driver.py"
    program.write_text(
        "import sys\nfrom rosenblatt.tuning.start_marker import write_start\n"
        "write_start(sys.stdout.buffer)\nsys.stdout.buffer.write(b'\\xff' * 64)\nsys.stdout.flush()\nsys.stdin.read()\n"
    )
    with pytest.raises(ClusterError, match="it sent a message that cannot be read"):
        RayWorkers(RayConnection("lab", (sys.executable, str(program))), print, lambda: WorkerPool(1))


def test_a_command_that_does_not_exist_is_refused():
    with pytest.raises(ClusterError, match="The driver of cluster lab cannot be started"):
        RayWorkers(RayConnection("lab", ("no-such-program",)), print, lambda: WorkerPool(1))
