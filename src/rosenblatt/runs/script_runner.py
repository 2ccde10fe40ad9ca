"""Entry point of the process of `rosenblatt run`: runs the script, and reports the files it imports and reads.

It uses only the standard library, so that the script finds the modules loaded that it would find without it.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import sys
import sysconfig
from contextlib import suppress
from importlib.util import source_from_cache
from typing import Any

REPORT_VARIABLE = "ROSENBLATT_REPORT"
"""Environment variable with the path of the report. Its lines begin with a letter: M, path of a module; D, path of a
data file; at the end L, libraries of linear algebra as JSON, and S, seed of PyTorch."""


def main() -> None:
    """Run `script_runner.py SCRIPT ARGUMENTS` or `script_runner.py -m MODULE ARGUMENTS`."""
    argv = sys.argv[1:]
    is_module = argv[0] == "-m"
    target, arguments = (argv[1], argv[2:]) if is_module else (argv[0], argv[1:])
    report = os.environ.pop(REPORT_VARIABLE, "")
    if report:
        audit_hook = _AuditHook(report)
        sys.addaudithook(audit_hook)
        atexit.register(audit_hook.report_libraries)
    sys.argv = [target, *arguments]
    if is_module:
        sys.path[0] = os.getcwd()  # noqa: PTH109 - as Python does it
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(target))  # noqa: PTH100, PTH120 - as Python does it
        runpy.run_path(target, run_name="__main__")


class _AuditHook:
    """Reports each file that is opened for reading once, except those of Python, its packages and the system."""

    def __init__(self, report: str) -> None:
        self._file = os.open(report, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._process = os.getpid()
        folders = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")} | {
            sys.prefix,
            sys.base_prefix,
        }
        self._ignored_prefixes = tuple(
            f"{folder}{os.sep}" for folder in (*folders, "/proc", "/sys", "/dev", "/etc") if folder != os.sep
        )
        self._seen: set[str] = {os.path.abspath(report)}  # noqa: PTH100

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and os.getpid() == self._process:
            with suppress(Exception):  # errors here must not stop the script
                self._record(*arguments)

    def _record(self, path: Any, mode: str | None, flags: int | None) -> None:
        if not isinstance(path, str | bytes):
            return
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        if name in self._seen or name.startswith(self._ignored_prefixes):
            return
        self._seen.add(name)
        if (mode or "r")[0] != "r" or "+" in (mode or "") or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            return  # written first, so not an input
        kind = "D"
        if name.endswith(".pyc"):
            try:
                kind, name = "M", source_from_cache(name)
            except ValueError:
                return
        elif name.endswith(".py"):
            kind = "M"
        if os.path.isfile(name):  # noqa: PTH113
            os.write(self._file, f"{kind}{name}\n".encode(errors="surrogateescape"))

    def report_libraries(self) -> None:
        """Report the libraries of linear algebra that the script has loaded, and the seed of PyTorch."""
        if os.getpid() != self._process or "numpy" not in sys.modules:
            return
        with suppress(Exception):
            import threadpoolctl

            info = json.dumps(threadpoolctl.threadpool_info())
            os.write(self._file, f"L{info}\n".encode())
        torch = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "initial_seed"):
            os.write(self._file, f"S{torch.initial_seed()}\n".encode())


if __name__ == "__main__":
    main()
