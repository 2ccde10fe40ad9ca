"""Cluster on machines that are namespaces on this one, for parts of cluster.py that count bytes or lose machines."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from rosenblatt.cluster.hosts import read_hosts
from rosenblatt.cluster.open import driver_connection
from rosenblatt.cluster.up import UpOptions, bring_up, take_down
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.ray_workers import RayWorkers
from tests.cluster import machines as rig
from tests.cluster.machines import Machine, machines, write_hosts


class MachineCluster(NamedTuple):
    """A cluster, the machines that it runs on (the first is the head), and the workers of a search on it."""

    machines: tuple[Machine, ...]
    workers: RayWorkers
    messages: list[str]


@contextmanager
def machine_cluster(n: int, disk: str = "2g") -> Iterator[MachineCluster]:
    """Bring a cluster up on machines with a core each, which also find the modules of this folder."""
    print_error, messages = partial(print, file=sys.stderr, flush=True), list[str]()
    path = f"PYTHONPATH={{sources}}:{Path(__file__).parent}"
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, XDG_STATE_HOME=folder),
        patch.object(rig, "SSHD_CONFIG", rig.SSHD_CONFIG.replace("PYTHONPATH={sources}", path)),
        machines(n, disk=disk) as members,
    ):
        record = bring_up(read_hosts(write_hosts(Path(folder), members)), UpOptions("benchmark"), print_error)
        try:
            workers = RayWorkers(driver_connection(record), messages.append, lambda: WorkerPool(n))
            try:
                yield MachineCluster(members, workers, messages)
            finally:
                workers.close()
        finally:
            take_down(record, print_error)
            print_error(*messages, sep="\n")
