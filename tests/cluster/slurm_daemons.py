"""Slurm itself with two nodes on this machine: munged, slurmctld and two slurmd, with all files in a folder."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
NodeName=rb1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=rb2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=cpu Nodes=rb1,rb2 Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm_daemons(folder: Path) -> Iterator[None]:
    """Run Slurm with the nodes rb1 and rb2 of one core, without accounting; skip the test where it is not installed."""
    missing = [program for program in PROGRAMS if not shutil.which(program, path=SEARCH_PATH)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"Slurm on this machine needs root and {', '.join(missing) or 'its programs'}")
    for name in ("state", "spool-rb1", "spool-rb2"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=socket.gethostname(), folder=folder, ports=_free_ports(3)))
    settings = pytest.MonkeyPatch()
    settings.setenv("SLURM_CONF", str(config))
    settings.setenv("PATH", SEARCH_PATH)
    files = {"socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munged.seed"}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    with ExitStack() as stack:
        stack.callback(settings.undo)
        stack.enter_context(_daemon(*munge, *(f"--{option}={folder / name}" for option, name in files.items())))
        wait_until((folder / "munge.socket").exists, description="munged")
        for program in (["slurmctld", "-D"], ["slurmd", "-D", "-N", "rb1"], ["slurmd", "-D", "-N", "rb2"]):
            stack.enter_context(_daemon(*program))
        wait_until(lambda: _states() == ["idle", "idle"], timeout=30, description="the nodes of Slurm")
        yield


@contextmanager
def _daemon(*program: str) -> Iterator[None]:
    process = subprocess.Popen(
        program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _states() -> list[str]:
    run = subprocess.run(["sinfo", "-hN", "-o", "%t"], capture_output=True, text=True, check=False)
    return run.stdout.split()


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n)]
        return [listener.getsockname()[1] for listener in sockets]
