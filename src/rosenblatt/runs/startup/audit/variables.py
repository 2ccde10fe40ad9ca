"""Environment variables and standard input, replaced by objects that say when they are read.

They tell it to all audits of the process: there are two where a script that `rosenblatt run` records calls `track`.
"""

from __future__ import annotations

import io
import os
import sys

from .paths import LIBRARY
from .programs import STARTUP_FOLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

_SESSION_VARIABLES = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "SHLVL", "PWD", "OLDPWD", "HOSTNAME", "TERM", "COLORTERM",
    "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TMPDIR", "TEMP", "TMP", "LANG", "LANGUAGE", "DISPLAY",
    "WAYLAND_DISPLAY", "EDITOR", "PAGER", "MAIL", "LS_COLORS", "VIRTUAL_ENV", "PS1", "_", "CI",
    "_RJEM_MALLOC_CONF", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK",  # set by libraries when they are imported
})  # fmt: skip
_SESSION_PREFIXES = (
    "TERM_", "SSH_", "XDG_", "LC_", "DBUS_", "VSCODE_", "GPG_", "WT_", "ITERM_", "TMUX", "PYTHON", "CONDA_",
)  # fmt: skip
OWN_PREFIX = "ROSENBLATT_"
ALL_VARIABLES = "*"  # in place of a name: the names of all variables
_ENVIRONMENT_CODE = (
    "<frozen os>",
    "<frozen _collections_abc>",
    os.__file__,
    os.path.join(LIBRARY, "_collections_abc.py"),
)
_SELECTED_PREFIXES = (
    (os.path.join(LIBRARY, "subprocess.py"), None),  # the environment of a program
    (f"{os.sep}numba{os.sep}core{os.sep}config.py", "NUMBA_"),
    (f"{os.sep}tqdm{os.sep}utils.py", "TQDM_"),
)  # code that reads all variables, and the prefix of those that it uses; None: it uses none


def is_session_variable(name: str) -> bool:
    """Whether a variable describes the terminal or the session: libraries read it, but results do not depend on it."""
    return name in _SESSION_VARIABLES or name.startswith(_SESSION_PREFIXES)


def selects_variable(code: str, name: str) -> bool:
    """Whether code that reads all variables may use this one."""
    for file, prefix in _SELECTED_PREFIXES:
        if code.endswith(file):
            return prefix is not None and name.startswith(prefix)
    return True


def variable_names() -> frozenset[str]:
    """The names of all variables that are set but those of the session."""
    return frozenset(
        name for name in dict(os.environ) if not is_session_variable(name) and not name.startswith(OWN_PREFIX)
    )


def find_reader(frame: FrameType | None) -> tuple[str, bool]:
    """The file of the code that reads a variable, "" if it is Python's own, and whether it reads all of them."""
    functions = set()
    while frame is not None and frame.f_code.co_filename in _ENVIRONMENT_CODE:
        functions.add(frame.f_code.co_name)
        frame = frame.f_back
    code = "" if frame is None else frame.f_code.co_filename
    return "" if code.startswith("<frozen") else code, "__iter__" in functions


class RecordedEnvironment(type(os.environ)):  # type: ignore[misc]
    """`os.environ` that reports the variables that are read; copies of all of them do not count."""

    audits: list[Any]  # `InputAudit`

    _copy: Any = None  # the instruction that copies all variables: `dict` asks for the names, and then for each value

    def __getitem__(self, name: str) -> str:
        frame = sys._getframe(1)
        if (frame.f_code, frame.f_lasti) != self._copy:
            for audit in self.audits:
                audit.report_variable(name, frame)
        return super().__getitem__(name)

    def __iter__(self) -> Any:
        frame = reader = sys._getframe(1)
        while (reader.f_code, reader.f_lasti) != self._copy:
            if reader.f_code.co_filename not in _ENVIRONMENT_CODE or reader.f_back is None:
                for audit in self.audits:
                    audit.report_all_variables(frame)
                break
            reader = reader.f_back
        return super().__iter__()

    def __setitem__(self, name: str, value: str) -> None:
        if name == "PYTHONPATH" and STARTUP_FOLDER in value:
            return super().__setitem__(name, value)
        for audit in self.audits:
            audit.forget_variable(name)
        return super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        for audit in self.audits:
            audit.forget_variable(name)
        return super().__delitem__(name)

    def keys(self) -> Any:
        """All names, as `dict` asks for them when it copies."""
        frame = sys._getframe(1)
        self._copy = frame.f_code, frame.f_lasti
        return super().keys()


class RecordedBytesEnvironment(type(os.environ)):  # type: ignore[misc]
    """`os.environb` that reports the variables that are read."""

    audits: list[Any]  # `InputAudit`

    def __getitem__(self, name: bytes) -> bytes:
        for audit in self.audits:
            audit.report_variable(os.fsdecode(name), sys._getframe(1))
        return super().__getitem__(name)


class RecordedInput(io.FileIO):
    """Standard input that reports that something was read from it."""

    audits: list[Any]  # `InputAudit`

    def readinto(self, buffer: Any) -> Any:
        """Read into a buffer; returns the number of bytes."""
        n_bytes = super().readinto(buffer)
        return self._reported(n_bytes)

    def readall(self) -> Any:
        """Read the rest."""
        content = super().readall()
        return self._reported(content)

    def read(self, size: Any = -1) -> Any:
        """Read some bytes."""
        content = super().read(size)
        return self._reported(content)

    def _reported(self, result: Any) -> Any:
        if result:
            for audit in self.audits:
                audit.report_standard_input()
        return result
