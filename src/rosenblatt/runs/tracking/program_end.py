"""How this program ends: by an exception, an exit status or a signal; callbacks of `atexit` do not get it.

The interpreter sets `sys.last_value` for an uncaught exception, but says nothing of a SystemExit. It reads `code` of
the one that ends the program after all frames have ended, and a descriptor in its place notes that.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import multiprocessing
import opcode
import os
import signal
import sys
import threading
from contextlib import suppress
from functools import cache
from types import FrameType
from typing import Any, NoReturn, Protocol

SIGNAL_REASON = "ended by"  # begins the reason of a run that a signal ended, followed by its name
_STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # with which users and schedulers stop a program
_HANDLED_SIGNALS = tuple(getattr(signal, name) for name in _STOP_SIGNALS[1:] if hasattr(signal, name))
_RETURN_OPCODES = {opcode.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in opcode.opmap}


class Endable(Protocol):
    """A run that can be ended."""

    def finish(self, state: str = "finished", reason: str | None = None) -> None:
        """End it."""


def state_of_error(error: BaseException | None) -> tuple[str, str | None]:
    """The state and reason of a run that an error has ended; None: no error."""
    if error is None:
        return "finished", None
    if isinstance(error, SystemExit):
        is_status = error.code is None or isinstance(error.code, int)
        state, reason = state_of_status(int(error.code or 0) & 0xFF) if is_status else ("failed", None)
        return state, None if state == "finished" else (reason if state == "stopped" else describe_error(error))
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted"
    return "failed", describe_error(error)


def state_of_block_error(error: BaseException | None) -> tuple[str, str | None]:
    """Like `state_of_error`, for the error that ends a `with` block, which may be that a generator or task is ended."""
    if isinstance(error, GeneratorExit) or type(error).__name__ == "CancelledError":
        return "stopped", type(error).__name__
    return state_of_error(error)


def describe_error(error: BaseException) -> str:
    """The type and message of an error, which may fail to format it."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - the user's class
        message = "(its message cannot be formatted)"
    return f"{type(error).__name__}: {message}"[:2000]


def state_of_status(status: int) -> tuple[str, str | None]:
    """The state and reason of a run whose program has ended with an exit status; 128 + N stands for signal N."""
    if status == 0:
        return "finished", None
    with suppress(ValueError):
        name = signal.Signals(status - 128).name
        state = "stopped" if name in _STOP_SIGNALS else "failed"
        return state, "interrupted" if name == "SIGINT" else f"{SIGNAL_REASON} {name}"
    return "failed", f"exit status {status}"


def uncaught_error() -> BaseException | None:
    """The exception that ends the program, at exit; in a notebook, that of the last cell. None: it ends normally.

    In a child process of multiprocessing, to be called by a `multiprocessing.util.Finalize`.
    """
    if multiprocessing.parent_process():
        return sys.exc_info()[1]
    if _cells.is_watched:
        return _cells.last_error
    if _program.frame is None or not _was_unwound(_program.frame):
        return None
    # `last_exc`: Python 3.12 and later
    last_error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return _program.exit or last_error or SystemExit("the status is not known")


@cache
def watch_program() -> None:
    """Note from now on how the program ends, so that `uncaught_error` can tell."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - the only way
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    _program.frame = frame
    _cells.watch()
    with suppress(Exception):  # another implementation of Python
        gc.get_referents(SystemExit.__dict__)[0]["code"] = _ExitCode(SystemExit.__dict__["code"])
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(SystemExit))
        if sys.version_info < (3, 12):
            sys.exit = _exit  # that of Python 3.11 raises a SystemExit that has no `code` yet


@atexit.register  # before the writers are, so that it is called after them
def _keep_interrupt() -> None:
    """Let Python die by SIGINT after Ctrl-C, as it does unless code that is compiled at the end resets its flag."""
    if not _cells.is_watched and isinstance(uncaught_error(), KeyboardInterrupt):
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102


def _was_unwound(frame: FrameType) -> bool:
    """Whether an exception has ended a frame; otherwise its last instruction is to return."""
    return frame.f_code.co_code[frame.f_lasti] not in _RETURN_OPCODES


class _Program:
    frame: FrameType | None = None  # the outermost one of the main thread
    exit: SystemExit | None = None  # that ended the program


class _ExitCode:
    """Stands for `SystemExit.code`, and notes the exception if it is read when no frame is left."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __get__(self, error: SystemExit | None, kind: type | None = None) -> Any:
        if error is None:
            return self
        try:
            sys._getframe(1)  # noqa: SLF001 - the only way
        except ValueError:
            _program.exit = error
        return self._original.__get__(error, kind)

    def __set__(self, error: SystemExit, code: Any) -> None:
        self._original.__set__(error, code)


def _exit(status: Any = None, /) -> NoReturn:
    """Exit Python, as `sys.exit` does."""
    raise SystemExit(status)


class _Cells:
    """The cells that IPython runs, in a notebook or at its prompt."""

    is_watched, last_error = False, None

    def watch(self) -> None:
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython and hasattr(ipython, "get_ipython") else None
        if shell is not None:
            self.is_watched = True
            shell.events.register("post_run_cell", self._on_cell)

    def _on_cell(self, result: Any) -> None:
        self.last_error = result.error_before_exec or result.error_in_exec


_program, _cells = _Program(), _Cells()
_open_runs: dict[int, Endable] = {}


def end_on_signals(run: Endable) -> None:
    """End a run as stopped if SIGTERM or SIGHUP would kill this process, which then still dies by the signal."""
    _open_runs[id(run)] = run
    if threading.current_thread() is threading.main_thread():
        _leave_children_alone()
        for number in _HANDLED_SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _on_signal)


@cache
def _leave_children_alone() -> None:
    """Let forked children die by these signals: they do not own the run, and pools wait for them to end.

    A handler would run only when the code that a child waits in returns, which code of a pool may never do. A signal
    that comes during the fork is delivered after it; Python would forget it.
    """
    if not hasattr(os, "register_at_fork"):
        return
    blocked = threading.local()

    def block() -> None:
        blocked.previous = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED_SIGNALS)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked.previous)

    def unblock_child() -> None:
        _open_runs.clear()
        for number in _HANDLED_SIGNALS:
            if signal.getsignal(number) is _on_signal:
                signal.signal(number, signal.SIG_DFL)
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=unblock_child)


def ignore_signals(run: Endable) -> None:
    """Leave a run that has ended as it is."""
    _open_runs.pop(id(run), None)
    if not _open_runs and threading.current_thread() is threading.main_thread():
        for number in _HANDLED_SIGNALS:
            if signal.getsignal(number) is _on_signal:
                signal.signal(number, signal.SIG_DFL)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    if _open_runs:
        with suppress(RuntimeError):  # the interpreter ends already
            # a thread, because the signal may have interrupted this one while it holds the writer's lock
            threading.Thread(target=_end_runs, args=(number,), name="rosenblatt-signal").start()
            return
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _end_runs(number: int) -> None:
    """End all runs, then send the signal again."""
    for key, run in list(_open_runs.items()):
        with suppress(Exception):
            run.finish(*state_of_status(128 + number))
        _open_runs.pop(key, None)
    os.kill(os.getpid(), number)
