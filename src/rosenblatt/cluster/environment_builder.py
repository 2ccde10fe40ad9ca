"""Build a virtual environment on a machine: the controller sends this file, the wheel and the requirements there.

python environment_builder.py FOLDER PARTS PYTHON UV
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

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
)


def build(folder: Path, parts: Path, python: str, uv: str) -> None:
    """Build the environment in a folder unless it is complete; several machines may share the folder.

    Args:
        folder: gets the environment, `env`, and the marker.
        parts: folder with requirements.txt, the wheel, and optionally `wheels`; removed at the end.
        python: path or, for uv, version of the interpreter.
        uv: path of uv, "" to use venv and pip.
    """
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


def run(*program: str) -> None:
    """Run a program; if it fails, end with its output on standard error."""
    settings = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    process = subprocess.run(  # noqa: S603 - what `build` names
        program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=settings, check=False
    )
    if process.returncode:
        sys.stderr.buffer.write(process.stdout)
        sys.exit(1)


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[1]) / sys.argv[2], *sys.argv[3:])
