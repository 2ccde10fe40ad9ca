"""Check machines before anything is changed on them: reachable, Python, clock, disk, memory."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, ValidationError

from rosenblatt.cluster.hosts import Host
from rosenblatt.cluster.ssh import SshSessions, run_at_once
from rosenblatt.errors import ClusterError

MAX_CLOCK_OFFSET_S = 30.0  # certificates and leases depend on the clock
MIN_FREE_DISK = 2 * 2**30  # bytes: an environment with Ray takes 380 MB, without PyTorch
MIN_FREE_DISK_READY = 200 * 2**20  # bytes, where the environment is there already
MIN_MEMORY = 2 * 2**30  # bytes: an idle node takes about 1 GB
CHECK_TIMEOUT_S = 30
NO_PYTHON = 72  # exit status of the script of the check
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class HostFacts(BaseModel):
    """What `host_facts` reports of a machine; sizes are in bytes, and `identity` is "" if it is unknown."""

    model_config = ConfigDict(frozen=True)

    python: tuple[int, int, int]
    executable: str
    implementation: str
    system: str
    machine: str
    cores: int
    memory: int
    shared_memory: int
    free_disk: dict[str, int]
    gpus: int
    address: str
    identity: str = ""
    uv: str


class Machine(BaseModel):
    """A machine that passed the checks."""

    model_config = ConfigDict(frozen=True)

    host: Host
    facts: HostFacts


class HostCheck(BaseModel):
    """The result of the checks of one machine.

    Attributes:
        facts: None if the machine cannot be reached or has no Python.
        clock_offset: seconds that its clock is ahead of this one's.
        problems: one sentence for each check that fails.
    """

    host: Host
    facts: HostFacts | None = None
    clock_offset: float = 0.0
    problems: tuple[str, ...] = ()


def check_hosts(hosts: Sequence[Host], sessions: SshSessions) -> list[HostCheck]:
    """Check all hosts at once; returns their results in the same order."""
    checks = run_at_once(hosts, lambda host: _check_host(host, hosts, sessions))
    first: dict[str, HostCheck] = {}
    for i, check in enumerate(checks):
        identity = check.facts.identity if check.facts else ""
        if identity and (other := first.setdefault(identity, check)) is not check:
            checks[i] = check.model_copy(update={"problems": (*check.problems, _same_machine(other.host, check.host))})
    return checks


def _same_machine(first: Host, second: Host) -> str:
    lines = f", lines {first.line} and {second.line} of the hosts file" if first.line and second.line else ""
    return f"it is the same machine as {first.name}{lines}. Remove one of both."


def _check_host(host: Host, hosts: Sequence[Host], sessions: SshSessions) -> HostCheck:
    others = [other.address for other in hosts if other is not host] or ["192.0.2.1"]  # of no machine (RFC 5737)
    start = time.time()
    try:
        status, output, errors = sessions.run_unchecked(host, "sh", _script(host, others[0]), CHECK_TIMEOUT_S)
    except ClusterError as error:
        return HostCheck(host=host, problems=(str(error).removeprefix(f"{host.name}: "),))
    end = time.time()
    clock, _, report = output.partition("\n")
    try:
        facts = HostFacts.model_validate(json.loads(report))
        remote = float(clock)
    except (ValueError, ValidationError):
        detail = (errors.strip() or f"exit status {status}").splitlines()[-1]
        reason = _missing_python(host) if host.python or status == NO_PYTHON else "its Python does not answer"
        return HostCheck(host=host, problems=(f"{reason} ({detail}).",))
    offset = remote - end if remote > end else min(remote + 1 - start, 0.0)  # it is in whole seconds
    return HostCheck(host=host, facts=facts, clock_offset=offset, problems=tuple(_problems(host, facts, offset)))


def _script(host: Host, other_address: str) -> bytes:
    """A script for `sh`: the time, then the facts, by the first Python of the right version, or else by any."""
    facts = files("rosenblatt.cluster").joinpath("host_facts.py").read_text()
    names = [host.python] if host.python else [f"python{PYTHON}", "python3", "python"]
    ending = "ROSENBLATT_END_OF_FACTS"
    return (
        "date +%s\n"
        "PATH=$PATH:$HOME/.local/bin\n"
        f"for name in {shlex.join(names)}; do\n"
        f'  if command -v "$name" >/dev/null; then exec "$name" - {shlex.quote(other_address)} <<\'{ending}\'\n'
        f"{facts}\n{ending}\n"
        "  fi\n"
        "done\n"
        f"echo no Python >&2; exit {NO_PYTHON}\n"
    ).encode()


def _missing_python(host: Host) -> str:
    if host.python:
        return f"python={host.python} does not run there"
    return f"there is no Python. Install Python {PYTHON}, or name it in the hosts file with python=PATH"


def _problems(host: Host, facts: HostFacts, offset: float) -> list[str]:
    version = ".".join(map(str, facts.python))
    problems = []
    if facts.system != "Linux":
        problems.append(f"it runs {facts.system}; nodes of a cluster need Linux.")
    is_same = facts.python[:2] == sys.version_info[:2] and facts.implementation == "CPython"
    if not is_same and (host.python or not facts.uv):
        problems.append(
            f"its Python is {facts.implementation} {version}, and here it is {PYTHON}. Install Python {PYTHON} or uv "
            "there, or name the interpreter in the hosts file with python=PATH."
        )
    if abs(offset) > MAX_CLOCK_OFFSET_S:
        direction = "ahead of" if offset > 0 else "behind"
        problems.append(
            f"its clock is {abs(offset):,.0f} s {direction} the clock here (at most {MAX_CLOCK_OFFSET_S:g} s). "
            "Synchronize both by NTP."
        )
    smallest = MIN_FREE_DISK_READY if host.python else MIN_FREE_DISK
    problems += [
        f"{folder} has {free / 2**20:,.0f} MB of free disk ({smallest / 2**20:,.0f} MB are needed)."
        for folder, free in facts.free_disk.items()
        if free < smallest
    ]
    if facts.memory < MIN_MEMORY:
        problems.append(f"it has {facts.memory / 2**30:.1f} GB of memory ({MIN_MEMORY / 2**30:g} GB are needed).")
    if host.cores and host.cores > facts.cores:
        problems.append(f"cores={host.cores}, but it has {facts.cores}.")
    if host.gpus and host.gpus > facts.gpus:
        problems.append(f"gpus={host.gpus}, but nvidia-smi lists {facts.gpus}.")
    return problems
