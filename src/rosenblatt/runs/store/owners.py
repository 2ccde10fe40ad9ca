"""Owners of runs: which process may write a run, and whether that process is alive.

The token of an owner is `MACHINE:PID:START:RANDOM`. MACHINE stands for the host, its boot and its namespace of
processes, so that processes of other machines and containers are never mistaken for one of this machine.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, select

from rosenblatt.runs.store.filters import LOST_REASON
from rosenblatt.runs.store.schema import runs
from rosenblatt.runs.store.store import Store

_LINUX_PROCESSES = Path("/proc")
_START_FIELD = 19  # of /proc/PID/stat after the name of the program: ticks from boot to the start of the process
_DEAD_STATES = b"ZX"


def new_owner(pid: int | None = None) -> str:
    """Make the token of a process of this machine, by default this one, as the owner of runs."""
    pid = os.getpid() if pid is None else pid
    return f"{_machine()}:{pid}:{_process_start(pid)}:{secrets.token_hex(8)}"


def has_died(owner: str | None) -> bool:
    """Whether the process of a token ran on this machine and has ended; False if that cannot be known from here."""
    if not owner or not owner.startswith(f"{_machine()}:"):
        return False
    _, pid, start, _ = owner.split(":")
    return not start or _process_start(int(pid)) != start


def is_alive_here(owner: str | None) -> bool:
    """Whether the process of a token runs on this machine; False if it runs on another one."""
    return bool(owner) and str(owner).startswith(f"{_machine()}:") and not has_died(owner)


def owner_process(owner: str) -> int:
    """The number of the process of a token, on its machine."""
    return int(owner.split(":")[1])


def end_dead_runs(store: Store) -> int:
    """End the running runs whose process on this machine has ended without finishing them. Raises StoreError."""
    with store.reading() as connection:
        dead_owners = _find_dead_owners(connection)
    if not dead_owners:
        return 0
    with store.writing() as connection:
        return end_runs(connection, runs.c.owner.in_(dead_owners))


def end_runs(connection: Connection, condition: ColumnElement[bool]) -> int:
    """End the running runs that fulfil a condition as those of processes that were killed; returns their number."""
    ended = runs.update().where(runs.c.state == "running", condition)
    return connection.execute(ended.values(state="failed", reason=LOST_REASON, ended=runs.c.heartbeat)).rowcount


def _find_dead_owners(connection: Connection) -> list[str]:
    query = select(runs.c.owner).where(runs.c.state == "running", runs.c.owner.startswith(f"{_machine()}:")).distinct()
    return [owner for owner in connection.execute(query).scalars() if has_died(owner)]


@cache
def _machine() -> str:
    """A name of this machine from its last start on, and of this container."""
    boot, namespace = "", ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it names no file
    return hashlib.sha256(f"{socket.gethostname()}\0{boot}\0{namespace}".encode()).hexdigest()[:12]


def _process_start(pid: int) -> str:
    """When a process started, to tell it from a later one of the same number; empty if it has ended."""
    try:
        if _LINUX_PROCESSES.is_dir():  # in ticks since boot, which a change of the clock leaves as they are
            fields = (_LINUX_PROCESSES / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
            return "" if fields[0] in _DEAD_STATES else fields[_START_FIELD].decode()
        import psutil

        return f"{psutil.Process(pid).create_time():.2f}" if psutil.pid_exists(pid) else ""
    except OSError:
        return ""
