"""Runs are recorded without the modules and functions that only POSIX systems have."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_POSIX = """
import importlib, os, pkgutil, signal, sys, types
import numba, polars, psutil, sqlalchemy, alembic.command  # they have variants for Windows

NAMES = {
    os: "geteuid getuid fchown fchmod fork register_at_fork memfd_create O_NOFOLLOW O_NONBLOCK O_DIRECTORY O_CLOEXEC "
        "sched_getaffinity killpg setsid",
    signal: "SIGHUP SIGKILL SIGUSR1 SIGALRM SIGQUIT SIGTSTP",
}
for module, names in NAMES.items():
    for name in filter(lambda name: hasattr(module, name), names.split()):
        delattr(module, name)
os.supports_dir_fd.clear()
resource = sys.modules.get("resource")
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
sys.modules.setdefault("msvcrt", types.SimpleNamespace(LK_LOCK=1, LK_NBLCK=2, locking=lambda *_: None))

import rosenblatt
import rosenblatt.workflows.fit, rosenblatt.workflows.tune
for package in ("cli", "runs"):
    for module in pkgutil.walk_packages([f"{rosenblatt.__path__[0]}/{package}"], f"rosenblatt.{package}."):
        if not {"integrations", "migrations", "sitecustomize"} & set(module.name.split(".")):
            importlib.import_module(module.name)
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.spool import Spool, deliver_pending

if resource:
    sys.modules["resource"] = resource  # psutil measures the peak of the memory only on Windows
with rosenblatt.track() as run:
    run.log({"loss": 1.0})
spool = Spool(run.url, "w")
spool.add({"tags": [{"run": run.id, "name": "a", "value": "b"}]})
spool.release()
print("delivered:", deliver_pending(Store(run.url)))
"""


def test_runs_are_recorded_without_functions_of_posix(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (run.stdout, run.returncode) == ("delivered: 1\n", 0), run.stderr
