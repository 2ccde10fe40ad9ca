"""The script of `rosenblatt run`, in a process of its own: runs it, and writes down what it imports and reads.

Standard library only: nothing is loaded here before the script ends that it does not load itself.
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

REPORT_VARIABLE = (
    "ROSENBLATT_REPORT"  # the file that takes lines: "M" for modules, "D" for data, "L" and "S" at the end
)


def main() -> None:
    """`script_runner.py SCRIPT ARGUMENTS`, or `script_runner.py -m MODULE ARGUMENTS`."""
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
        sys.path[0] = os.getcwd()  # noqa: PTH109 - as Python has it
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(target))  # noqa: PTH100, PTH120 - as Python has it
        runpy.run_path(target, run_name="__main__")


class _AuditHook:
    """Writes down each file that is opened to be read, once, but for those of Python, its packages and the system."""

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
            with suppress(Exception):  # whatever is wrong here must not stop the script
                self._record(*arguments)

    def _record(self, path: Any, mode: str | None, flags: int | None) -> None:
        if not isinstance(path, str | bytes):
            return
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        if name in self._seen or name.startswith(self._ignored_prefixes):
            return
        self._seen.add(name)
        if (mode or "r")[0] != "r" or "+" in (mode or "") or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            return  # written first: no data of its own
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
        """At the end: which libraries of linear algebra the script has loaded, and the seed of PyTorch."""
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
