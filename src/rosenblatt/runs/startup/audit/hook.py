"""Audit hook that reports what a Python process reads and writes: files, folders, variables, programs, network.

It imports nothing but what Python has loaded when it starts, so that a script finds the modules loaded that it would
find without it. Each line of a report is a kind and its fields, separated by tabs:

    B process                        a process of the run began
    R time, path                     a file is read, if there is one
    H hash, path                     content of a file that was read, before it is written
    W path                           a file is written, or a folder is made
    X path                           a file is removed or moved
    N hash, pattern, folder          the names in a folder that match a pattern (all if it is empty)
    V name                           an environment variable is read; *: the names of all
    I device, number                 standard input is read: the file that it is
    U phrase                         something else is read, which is not checked
    L process, JSON                  at the end: libraries of linear algebra
    S process, number                at the end: seed of PyTorch
"""

from __future__ import annotations

import atexit
import io
import os
import sys
import time
from _thread import get_ident

from .paths import absolute, hash_names, ignored_prefixes, is_globbing, is_library_cache, lists_packages
from .programs import (
    HARMLESS_PROGRAMS,
    REPORT_NAME,
    REPORT_VARIABLE,
    SHELL_SYNTAX,
    SHELLS,
    STARTUP_FOLDER,
    ignores_variables,
    is_audited,
    is_python,
)  # fmt: skip
from .variables import (
    ALL_VARIABLES,
    OWN_PREFIX,
    RecordedBytesEnvironment,
    RecordedEnvironment,
    RecordedInput,
    find_reader,
    is_session_variable,
    selects_variable,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType
    from typing import Any

MAX_HASHED_BYTES = 100_000_000  # of a file that is hashed before the script may change it

_ESCAPES = {ord("\n"): "\0", ord("\t"): "\1"}  # in fields of a report
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_SKIPS_CONTENT = os.O_TRUNC | os.O_EXCL  # flags with which a file is opened for both, but not read
_PIPES = ("/dev/fd/", "/proc/self/fd/")
_GLOB_CHARACTERS = "*?["
_OWN_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(STARTUP_FOLDER)), "")


def install() -> None:
    """Install the audit hook in this process if it belongs to a run that is recorded."""
    path = os.environ.get(REPORT_VARIABLE)
    if not path:
        return
    try:
        audit = InputAudit(Report(path))
    except OSError:  # the process that records the run has ended
        return
    audit.install()
    atexit.register(audit.report_libraries)


def unescape(field: str) -> str:
    """A field of a report as it was given to `Report.write`."""
    return field.replace("\0", "\n").replace("\1", "\t")


class Report:
    """The file to which all processes of a run append lines."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_lost = False
        self._open()

    def _open(self) -> None:
        """Open the file. Raises OSError if it is gone, also if another process has got the number in its path."""
        if self._path.startswith("/proc/") and REPORT_NAME not in os.readlink(self._path):
            raise FileNotFoundError(self._path)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._number = os.fstat(self._file).st_ino

    def write(self, *fields: str) -> None:
        """Append a line in one call, so that lines of several processes do not mix."""
        self.write_line("\t".join([field.translate(_ESCAPES) for field in fields]) + "\n")

    def write_read(self, name: str) -> None:
        """Append the line of a file that is read; nothing is reported so often."""
        if "\n" in name or "\t" in name:
            name = name.translate(_ESCAPES)
        self.write_line(f"R\t{time.time_ns()}\t{name}\n")

    def write_line(self, line: str) -> None:
        """Append a line, to a newly opened file if the script has closed all files that it did not know.

        Once that fails, because the process that records the run has ended, nothing is reported any more.
        """
        if self._is_lost:
            return
        try:
            if not self._is_open():
                self._open()
            os.write(self._file, line.encode("utf-8", "surrogateescape"))
        except OSError:
            self._is_lost = True

    def _is_open(self) -> bool:
        try:
            return os.fstat(self._file).st_ino == self._number
        except OSError:
            return False


class InputAudit:
    """Reports each input once, except files of Python, its packages and the system."""

    def __init__(self, report: Report) -> None:
        self._report, self._report_read = report.write, report.write_read
        self._folder = ""  # the working folder, if it is known
        self._process = os.getpid()
        self._ignored = ignored_prefixes()
        self._reads: dict[str | tuple[str, str], bool] = {}  # whether nothing is left to hash
        self._writes: set[str] = set()
        self._variables: set[str] = set()  # and other names that were reported
        self._started = time.time() - 0.01  # clocks of files are coarser
        self._listing_threads: set[int] = set()  # threads in which this hook itself lists a folder
        self._host = ""  # the last that was looked up
        self._watches_pytorch = False
        self._handlers: dict[str, Callable[..., Any]] = {
            "open": self._on_open,
            "import": self._on_import,
            "os.listdir": self._on_list,
            "os.scandir": self._on_list,
            "glob.glob": lambda pattern, _recursive: self._on_glob(os.getcwd(), pattern),
            "pathlib.Path.glob": self._on_glob,
            "pathlib.Path.rglob": lambda path, pattern: self._on_glob(path, os.path.join("**", pattern)),
            "os.chdir": self._on_change_of_folder,
            "os.mkdir": self._on_make_folder,
            "os.rename": self._on_rename,
            "os.link": lambda _source, target, *_: self._write(target),
            "os.symlink": lambda _source, target, *_: self._write(target),
            "os.remove": self._on_remove,
            "os.truncate": lambda path, _length: self._write(path),
            "sqlite3.connect": self._on_database,
            "ctypes.dlopen": self._on_library,
            "subprocess.Popen": lambda path, arguments, folder, env: self._on_program(path, arguments, env, folder),
            "os.exec": self._on_program,
            "os.posix_spawn": self._on_program,
            "os.spawn": lambda _mode, path, arguments, env: self._on_program(path, arguments, env),
            "os.system": lambda command: self._on_command(os.fsdecode(command), None),
            "socket.getaddrinfo": self._on_lookup,
            "socket.connect": lambda _socket, address: self._on_connection(address),
            "socket.sendto": lambda _socket, address: self._on_connection(address),
        }

    def install(self) -> None:
        """Report what this process reads from now on."""
        self._report("B", str(self._process))
        get_handler = self._handlers.get

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            handler = get_handler(event)
            if handler is not None:
                try:
                    handler(*arguments)
                except Exception:  # noqa: BLE001 - errors here must not stop the script
                    self.report_unseen(f"something that could not be recorded ({event})")

        if hasattr(os.environ, "audits"):  # another copy of this module has replaced it
            os.environ.audits.append(self)
        else:
            _replace_variables_and_standard_input([self])
        sys.addaudithook(hook)
        self._watch_pytorch()

    # files

    def _on_open(self, path: Any, mode: Any, flags: int) -> None:
        if type(path) is str and path:
            name = path if path[0] == "/" else f"{self._folder or self._find_folder()}/{path}"
            if "/." in name or "//" in name:
                name = os.path.normpath(name)
        elif type(path) is not int:
            name = absolute(path)
        else:
            name = "/dev/fd/0" if path == 0 else "/dev/null"
        access = flags & _ACCESS
        if not access and name in self._reads:
            return
        if name.startswith(self._ignored):
            self._on_device(name)
            return
        if mode is None and not os.path.exists(name) and not access:
            return  # absent, or relative to an open folder that the event does not name
        if not access or (access == os.O_RDWR and not flags & _SKIPS_CONTENT and os.path.exists(name)):
            self._read(name)
        if access:
            self._write(name)

    def _on_device(self, name: str) -> None:
        if name in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
            self.report_standard_input()
        elif name.startswith(_PIPES):
            self.report_unseen(f"the pipe {name}")

    def _find_folder(self) -> str:
        self._folder = os.getcwd()
        return self._folder

    def _on_change_of_folder(self, _path: Any) -> None:
        self._folder = ""

    def _read(self, name: str) -> None:
        if name in self._reads:
            return
        if name in self._writes and os.path.exists(name) and os.stat(name).st_mtime >= self._started:
            return  # written first, so not an input
        if is_library_cache(name):
            return
        self._reads[name] = False
        self._report_read(name)

    def _write(self, path: Any) -> None:
        name = absolute(path)
        if name in self._writes or name.startswith(self._ignored):
            return
        self._hash_before_change(name)
        self._writes.add(name)
        self._report("W", name)

    def report_artifact(self, path: Any) -> None:
        """Report a file that is stored with the run as written, if it is new: PyTorch and others write files in C++."""
        name = absolute(path)
        if name not in self._reads and os.path.exists(name) and os.stat(name).st_mtime >= self._started:
            self._write(name)

    def _on_rename(self, source: Any, target: Any, source_folder: int = -1, target_folder: int = -1) -> None:
        self._on_remove(source, source_folder)
        self._write(_in_folder(target, target_folder))

    def _on_remove(self, path: Any, folder: int = -1) -> None:
        name = _in_folder(path, folder)
        if not name.startswith(self._ignored):
            self._hash_before_change(name)
            self._report("X", name)

    def _hash_before_change(self, name: str) -> None:
        """Report the content of a file that was read, while it still has that content."""
        if self._reads.get(name, True):  # not read, or hashed already
            return
        self._reads[name] = True
        if os.path.isfile(name) and os.path.getsize(name) <= MAX_HASHED_BYTES:
            import hashlib

            with open(name, "rb") as file:
                self._report("H", hashlib.sha256(file.read()).hexdigest(), name)

    def _on_database(self, database: Any) -> None:
        name = os.fsdecode(database)
        if name.startswith("file:"):
            name = name[5:].partition("?")[0]
        if name and name != ":memory:":
            name = absolute(name)
            if os.path.isfile(name):
                self._read_if_counted(name)
            else:
                self._write(name)

    def _watch_pytorch(self) -> None:
        """Report the files that PyTorch writes in C++ from now on, if it is loaded."""
        writer = getattr(sys.modules.get("torch.serialization"), "_open_zipfile_writer_file", None)
        if writer is None:
            return
        self._watches_pytorch = True
        open_file = writer.__init__

        def open_and_report(file: Any, name: Any, *arguments: Any) -> None:
            sys.audit("open", name, "w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # as by Python's own `open`
            open_file(file, name, *arguments)

        writer.__init__ = open_and_report

    def _on_import(self, _module: str, path: str | None, *_: Any) -> None:
        if not self._watches_pytorch:
            self._watch_pytorch()
        if path and path.endswith(".so"):
            self._read_if_counted(absolute(path))

    def _on_library(self, path: Any) -> None:
        if path and os.sep in os.fsdecode(path):
            self._read_if_counted(absolute(path))

    def _read_if_counted(self, name: str) -> None:
        if not name.startswith(self._ignored) and "/site-packages/" not in name:
            self._read(name)

    # folders

    def _on_list(self, path: Any) -> None:
        frame = sys._getframe(2)
        code = frame.f_code.co_filename
        if lists_packages(code) or is_globbing(frame):
            return
        folder = os.readlink(f"/proc/self/fd/{path}") if type(path) is int else absolute(path or ".")
        self._list(folder, "")

    def _on_glob(self, folder: Any, pattern: Any) -> None:
        parts = os.path.join(absolute(folder), os.fsdecode(pattern)).split(os.sep)
        magic = [k for k, part in enumerate(parts) if any(character in part for character in _GLOB_CHARACTERS)]
        split = magic[0] if magic else len(parts) - 1
        self._list(os.sep.join(parts[:split]) or os.sep, os.sep.join(parts[split:]))

    def _on_make_folder(self, path: Any, _mode: int, parent: int = -1) -> None:
        name = _in_folder(path, parent)
        if not os.path.exists(name):
            self._write(name)

    def _list(self, folder: str, pattern: str) -> None:
        key, thread = (folder, pattern), get_ident()
        is_listed = key in self._reads or folder in self._writes or thread in self._listing_threads
        if is_listed or f"{folder}{os.sep}".startswith(self._ignored):
            return
        self._reads[key] = True
        self._listing_threads.add(thread)
        try:
            digest = hash_names(folder, pattern)
        except OSError:
            digest = ""
        finally:
            self._listing_threads.discard(thread)
        self._report("N", digest, pattern, folder)

    # what is not a file

    def report_variable(self, name: Any, frame: FrameType | None) -> None:
        """Report an environment variable that is read; those of the terminal and the session only for user code."""
        if name in self._variables or type(name) is not str or name.startswith(OWN_PREFIX):
            return
        code, reads_all = find_reader(frame)
        if reads_all and not selects_variable(code, name):
            return
        is_library = reads_all or not code or absolute(code).startswith(self._ignored)
        if is_library and is_session_variable(name):
            return
        self._variables.add(name)
        self._report("V", name)

    def report_all_variables(self, frame: FrameType | None) -> None:
        """Report that user code iterates over the names of all environment variables."""
        code, _ = find_reader(frame)
        if (
            code
            and ALL_VARIABLES not in self._variables
            and not absolute(code).startswith((*self._ignored, _OWN_PACKAGE))
        ):
            self._variables.add(ALL_VARIABLES)
            self._report("V", ALL_VARIABLES)

    def forget_variable(self, name: str) -> None:
        """Note that the process sets a variable itself: what it reads then is no input."""
        self._variables.add(name)
        if name == "PYTHONPATH":
            self.report_unseen("Python processes that the script starts with a PYTHONPATH of its own")

    def report_unseen(self, phrase: str) -> None:
        """Report an input that is not checked."""
        if phrase not in self._variables:
            self._variables.add(phrase)
            self._report("U", phrase)

    def report_standard_input(self) -> None:
        """Report that standard input is read; it is one of the run only if it is that of its first process."""
        status = os.fstat(0)
        key = f"standard input {status.st_dev} {status.st_ino}"
        if key not in self._variables:
            self._variables.add(key)
            self._report("I", str(status.st_dev), str(status.st_ino))

    def _on_program(self, executable: Any, arguments: Any, env: Mapping[Any, Any] | None, folder: Any = None) -> None:
        words = [os.fsdecode(word) for word in ([arguments] if isinstance(arguments, (str, bytes)) else arguments)]
        path = os.fsdecode(executable)
        name = os.path.basename(path)
        if name in SHELLS and len(words) == 3 and words[1] == "-c":
            self._on_command(words[2], env, folder)
            return
        is_reporting = is_python(path) and is_audited(env) and not ignores_variables(words)
        for word in [path] if is_reporting else [path, *words[1:]]:
            file = os.path.join(os.fsdecode(folder or ""), word)
            if os.path.isfile(file):
                self._read_if_counted(absolute(file))
        if not is_reporting and name not in HARMLESS_PROGRAMS:
            self.report_unseen(f"a program that the script started: {name}")

    def _on_command(self, command: str, env: Mapping[Any, Any] | None, folder: Any = None) -> None:
        """A command of the shell: a program if it has no syntax of the shell."""
        words = command.split()
        if words and not SHELL_SYNTAX & set(command):
            self._on_program(words[0], words, env, folder)
        elif words:
            self.report_unseen(f"a program that the script started: {os.path.basename(words[0])}")

    def _on_lookup(self, host: Any, *_: Any) -> None:
        self._host = os.fsdecode(host) if isinstance(host, (str, bytes)) else ""

    def _on_connection(self, address: Any) -> None:
        if isinstance(address, tuple) and isinstance(address[0], str):  # not a socket between processes
            self.report_unseen(f"the network: {self._host or address[0]}")

    def report_libraries(self) -> None:
        """Report the libraries of linear algebra that the script has loaded, and the seed of PyTorch."""
        if os.getpid() != self._process or "numpy" not in sys.modules:
            return
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)  # last_exc: Python 3.12 and later
        try:
            import json

            import threadpoolctl

            self._report("L", str(self._process), json.dumps(threadpoolctl.threadpool_info()))
        except Exception:  # noqa: BLE001, S110 - without threadpoolctl they are unknown
            pass
        torch = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "initial_seed"):
            self._report("S", str(self._process), str(torch.initial_seed()))
        if isinstance(error, KeyboardInterrupt):
            # Python dies by SIGINT if Ctrl-C ended the last code that was compiled, which was code of threadpoolctl
            try:  # noqa: SIM105 - contextlib may not be loaded
                exec("raise KeyboardInterrupt")  # noqa: S102
            except KeyboardInterrupt:
                pass


def _in_folder(path: Any, folder: int) -> str:
    """The absolute path of one that may be relative to an open folder; -1: to the working folder."""
    if folder < 0:
        return absolute(path)
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))


def _replace_variables_and_standard_input(audits: list[InputAudit]) -> None:
    RecordedEnvironment.audits = audits
    os.environ.__class__ = RecordedEnvironment
    if hasattr(os, "environb"):
        RecordedBytesEnvironment.audits = audits
        os.environb.__class__ = RecordedBytesEnvironment
    try:
        is_replaced = sys.stdin is None or sys.stdin is not sys.__stdin__  # as by tests and notebooks
        if is_replaced or sys.stdin.isatty() or os.path.samestat(os.fstat(0), os.stat(os.devnull)):
            return
    except (OSError, ValueError):
        return
    raw = RecordedInput(0, "rb", False)
    raw.audits, raw.name = audits, "<stdin>"
    encoding, errors = sys.stdin.encoding, sys.stdin.errors
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(raw), encoding, errors)  # type: ignore[misc]
