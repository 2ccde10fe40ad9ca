"""Ask the autoscaler of a cluster for machines while a driver runs, and let them go when it ends.

python -m rosenblatt.cluster.ray_demand ADDRESS MACHINES COMMAND...
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

MACHINE_RESOURCE = "rosenblatt_machine"  # of which each worker has one


def run_with_machines(address: str, n_machines: int, command: Sequence[str]) -> int:
    """Run a command that uses a cluster, for which up to so many machines are started; returns its exit status.

    An actor that needs nothing but a machine of its own waits for each. All of them end with this process, however it
    ends, unlike a request of `ray.autoscaler.sdk`, which stays in force.
    """
    import ray

    process = subprocess.Popen(command)  # noqa: S603 - the driver; it has this process's input and output
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # which Ray may not write to
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: process.send_signal(number))
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    holder: Any = ray.remote(num_cpus=0, resources={MACHINE_RESOURCE: 1}, max_restarts=-1)(_Machine)
    machines = [holder.remote() for _ in range(n_machines)]
    status = process.wait()
    del machines
    ray.shutdown()
    return status


class _Machine:
    """Holds a machine."""


if __name__ == "__main__":
    sys.exit(run_with_machines(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
