"""Inputs of this process, seen by the audit hook that `track` and `tune` install with `reuse=True`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rosenblatt.runs.capture.inputs import OWN_PACKAGE, InputReport
from rosenblatt.runs.capture.program import program_kind
from rosenblatt.runs.capture.source import is_installed
from rosenblatt.runs.recorded import InputFile
from rosenblatt.runs.startup.audit.hook import InputAudit, Report
from rosenblatt.runs.startup.audit.programs import REPORT_VARIABLE
from rosenblatt.runs.store.locations import store_prefixes

_PROMPTS = ("notebook", "prompt", "command", "stdin")  # programs whose code is not in a file
_lock = threading.Lock()  # of the report: several trials may end at the same time
_reports: dict[int, InputReport] = {}  # by process: a hook cannot be removed, and reports each input once


def watch_inputs(url: str, root: str, run: str, data: Sequence[InputFile]) -> Callable[[], dict[str, Any]]:
    """Report what this process and its children read from now on, and the modules that it has imported.

    Args:
        url: The store.
        root: The folder of the source.
        run: The id of the run that reads it.
        data: Data that the user has named.

    Returns:
        A function that returns what was read so far, as metadata of the run.
    """
    report = _reports.get(os.getpid())
    if report is None:
        report = _reports[os.getpid()] = InputReport(Path(root), store_prefixes(url))
        report.add_files(_user_modules())
        if program_kind() in _PROMPTS:
            report.add_unseen(f"code that is not in a file ({program_kind()})")
        os.environ.update(report.variables(os.environ))
        InputAudit(Report(os.environ[REPORT_VARIABLE])).install()

    def read_inputs() -> dict[str, Any]:
        with _lock:
            report.read()
            return report.metadata(run, has_named_data=bool(data))

    return read_inputs


def report_artifact(path: Path) -> None:
    """Report a file that is stored with the run as an output, if the inputs of this process are recorded."""
    for audit in getattr(os.environ, "audits", ()):
        audit.report_artifact(path)


def unwatched_inputs() -> dict[str, Any]:
    """The metadata of a run of which nothing is known."""
    return {"unseen": ["files and variables that are recorded only with reuse=True"]}


def _user_modules() -> list[Path]:
    """The files of imported modules that belong neither to Python nor to an installed package."""
    names = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    paths = {Path(name).absolute() for name in names if isinstance(name, str)}
    return sorted(path for path in paths if not is_installed(path) and not path.is_relative_to(OWN_PACKAGE))
