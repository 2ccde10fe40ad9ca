"""Programs that a script starts: whether they report their inputs, or read nothing that counts."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

REPORT_VARIABLE = "ROSENBLATT_REPORT"  # environment variable with the path of the report
REPORT_NAME = "rosenblatt-report"  # of the file in memory that is the report
STARTUP_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # in PYTHONPATH of processes that report
# programs that read nothing a result could depend on; the files in their arguments count
HARMLESS_PROGRAMS = frozenset({
    "clear", "echo", "false", "fc-list", "free", "getconf", "git", "hostname", "id", "ldconfig", "lsb_release",
    "lscpu", "lspci", "mkdir", "nproc", "nvidia-smi", "ptxas", "pwd", "sleep", "stty", "sysctl", "tput", "true",
    "uname", "which", "whoami",
})  # fmt: skip
SHELLS = ("sh", "bash", "dash", "zsh")
SHELL_SYNTAX = frozenset("|&;<>()$`\\\"'*?[]#~=%{}\n")


def is_audited(env: Mapping[Any, Any] | None) -> bool:
    """Whether a Python process with this environment, or that of this process, reports its inputs."""
    env = os.environ if env is None else env
    items = {os.fsdecode(name): os.fsdecode(value) for name, value in dict(env).items()}
    return REPORT_VARIABLE in items and STARTUP_FOLDER in items.get("PYTHONPATH", "")


def ignores_variables(command: Sequence[str]) -> bool:
    """Whether a command of Python has an option with which it does not read PYTHONPATH or import `sitecustomize`."""
    for word in command[1:]:
        if not word.startswith("-") or word[:2] in ("-c", "-m"):
            return False
        if not word.startswith("--") and set("EIS") & set(word):
            return True
    return False


def is_python(program: str) -> bool:
    """Whether a program is Python, or a script for it."""
    if os.path.basename(program).startswith(("python", "pypy")):
        return True
    folders = [""] if os.sep in program else dict(os.environ).get("PATH", "").split(os.pathsep)
    for folder in folders:
        path = os.path.join(folder, program)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                first_line = file.readline(200)
            return first_line.startswith(b"#!") and b"python" in first_line
    return False
