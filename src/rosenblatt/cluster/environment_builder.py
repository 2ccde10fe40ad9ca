"""Build a virtual environment on a machine: the controller sends this file, the wheel and the requirements there.

python environment_builder.py FOLDER PARTS PYTHON UV

It ends, with what it has started, when its standard input ends: then the controller was interrupted or killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Lock, Thread

MARKER = "complete"  # a file that is there once the environment is
# What a node imports when it starts; Ray waits 30 s for its processes, which is too short to compile all of it
NODE_MODULES = (
    "ray.scripts.scripts",
    "ray.dashboard.dashboard",
    "ray.dashboard.agent",
    "ray._private.log_monitor",
    "ray._private.runtime_env.agent.runtime_env_agent",
    "ray._private.workers.default_worker",
    "ray.util.client.server",
    "rosenblatt.cluster.node_commands",
    "rosenblatt.tuning.ray_driver",
    "rosenblatt.tuning.ray_processes",
    "rosenblatt.tuning.ray_ranks",
)


def build(folder: Path, parts: Path, python: str, uv: str) -> None:
    """Build the environment in a folder unless it is complete; several machines may share the folder.

    Args:
        folder: gets the environment, `env`, and the marker.
        parts: folder with requirements.txt, the wheel, and optionally `wheels`; removed at the end.
        python: path or, for uv, version of the interpreter.
        uv: path of uv, "" to use venv and pip.
    """
    os.umask(0o077)  # nobody else may write what is run here
    run = Programs(parts).run
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / MARKER).exists():
            shutil.rmtree(parts, ignore_errors=True)
            return
        environment = folder / "env"
        shutil.rmtree(environment, ignore_errors=True)
        if uv:
            run(uv, "venv", "--quiet", "--python", python, str(environment))
            install = [uv, "pip", "install", "--quiet", "--python", str(environment / "bin" / "python")]
        else:
            run(python, "-m", "venv", str(environment))
            install = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
            install.append("--no-compile")  # as uv does: Python compiles what is imported
        if (parts / "wheels").is_dir():
            install += ["--no-index", "--find-links", str(parts / "wheels")]
        wheels = sorted(map(str, parts.glob("*.whl")))
        run(*install, "--requirement", str(parts / "requirements.txt"), *wheels)
        run(str(environment / "bin" / "python"), "-c", f"import {', '.join(NODE_MODULES)}")
        (folder / MARKER).touch()
        shutil.rmtree(parts, ignore_errors=True)


class Programs:
    """Runs programs one after the other, until the standard input of this process ends."""

    def __init__(self, parts: Path) -> None:
        self._parts = parts
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        Thread(target=self._end_with_input, daemon=True).start()

    def run(self, *program: str) -> None:
        """Run a program; if it fails, end with its output on standard error."""
        settings = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
        with self._lock:
            self._process = subprocess.Popen(  # noqa: S603 - what `build` names
                program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=settings,
                start_new_session=True,
            )  # fmt: skip
        output = self._process.communicate()[0]
        if self._process.returncode:
            with self._lock:  # not before `_end_with_input` has removed the parts, if it has killed the program
                sys.stderr.buffer.write(output)
                sys.exit(1)

    def _end_with_input(self) -> None:
        while os.read(0, 1024):
            pass
        with self._lock:  # nothing is started any more
            if self._process and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            shutil.rmtree(self._parts, ignore_errors=True)
            os._exit(1)


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[1]) / sys.argv[2], *sys.argv[3:])
