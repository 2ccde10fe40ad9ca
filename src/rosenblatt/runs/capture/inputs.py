"""Inputs of a script's processes, as their audit hook reports them: files, folders, variables, and what is not seen."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.util import source_from_cache
from pathlib import Path
from typing import IO, Any

from rosenblatt.runs.capture.source import MAX_FILE_BYTES
from rosenblatt.runs.recorded import InputFile
from rosenblatt.runs.secret_names import is_secret_name
from rosenblatt.runs.startup.audit.hook import unescape
from rosenblatt.runs.startup.audit.programs import REPORT_NAME, REPORT_VARIABLE, STARTUP_FOLDER
from rosenblatt.runs.startup.audit.variables import ALL_VARIABLES, variable_names
from rosenblatt.runs.store.places import file_hash

OWN_PACKAGE = Path(__file__).parents[2]
MAX_FINGERPRINT_BYTES = 20_000_000_000  # larger files that a script reads are not recorded
_NATIVE_READERS = frozenset({
    "av", "cv2", "datasets", "decord", "duckdb", "fiona", "geopandas", "h5py", "lmdb", "netCDF4", "onnxruntime",
    "polars", "pyarrow", "pyogrio", "rasterio", "safetensors", "sentencepiece", "soundfile", "tables", "tensorflow",
    "tokenizers", "torchaudio", "xarray",
})  # libraries that open files in C or Rust, which the audit hook does not see  # fmt: skip
_MODULE_SUFFIXES = (".py", ".pyc", ".so")


class InputReport:
    """The report of the processes of one run; see `startup.audit.hook` for its lines.

    The report is a file without a name, which the processes open through the one that made it: it is gone with it.

    Args:
        root: The folder of the source, to which the paths of outputs are relative.
        ignored: Beginnings of the paths of files that do not count: those of the store.
    """

    def __init__(self, root: Path, ignored: tuple[str, ...]) -> None:
        self._root, self._ignored = root, ignored
        self._file, self._path = _open_shared_file()
        self._unread = b""
        self._pending: dict[Path, int] = {}  # files that were read and are still to be hashed, and when, nanoseconds
        self._files: dict[Path, InputFile | None] = {}  # files that were read; None: not recorded yet
        self._removed = set[Path]()
        self._listings: dict[tuple[str, str], InputFile] = {}
        self._written, self._variables, self._unseen = dict[Path, None](), dict[str, None](), dict[str, None]()
        self._variable_names = variable_names()  # before the program sets any
        self._n_published = 0
        self.main_process: str = ""  # the first process that reports
        self.libraries: list[dict[str, Any]] | None = None  # of linear algebra, that the first process has loaded
        self.torch_seed: int | None = None

    def variables(self, env: Mapping[str, str]) -> dict[str, str]:
        """What is to be added to an environment, so that Python processes that have it report their inputs."""
        python_path = [STARTUP_FOLDER, *filter(None, [env.get("PYTHONPATH")])]
        return {REPORT_VARIABLE: str(self._path), "PYTHONPATH": os.pathsep.join(python_path)}

    def read(self) -> list[Path]:
        """Read what was reported since the last time; returns the modules among the files."""
        lines = (self._unread + self._file.read()).split(b"\n")
        self._unread = lines.pop()
        for line in lines:
            kind, *fields = (unescape(field) for field in os.fsdecode(line).split("\t"))
            try:
                self._HANDLERS[kind](self, *fields)
            except (LookupError, TypeError, ValueError, RecursionError):  # the script, or a full disk, has damaged it
                self._unseen["an input whose report is damaged"] = None
        return self._hash_pending()

    def close(self) -> None:
        """Close the file, and with it remove it."""
        with suppress(OSError):
            self._file.close()

    def has_grown(self) -> bool:
        """Whether there is twice as much to record as when this was true the last time."""
        n_inputs = len(self._files) + len(self._listings) + len(self._written)
        if n_inputs < 2 * self._n_published + 1:
            return False
        self._n_published = n_inputs
        return True

    def metadata(self, salt: str, *, has_named_data: bool) -> dict[str, Any]:
        """What is to be recorded with a run, as far as it was read.

        Args:
            salt: Is hashed with the values of variables.
            has_named_data: Whether the user has named the data, also those that libraries read in C or Rust.
        """
        files = [file for file in self._files.values() if file is not None]
        unseen = [*self._unseen, *(f"{self._name(path)}, which changed after it was read" for path in self._pending)]
        if not has_named_data:
            unseen += [f"{name}, whose files are not seen: name the data" for name in self._native_readers()]
        if not self.main_process:
            unseen.append("the files that the script read: its Python ignores PYTHONPATH")
        return {
            "data_read": [file.to_json() for file in files if not file.path.endswith(_MODULE_SUFFIXES)],
            "modules": [file.to_json() for file in files if file.path.endswith(_MODULE_SUFFIXES)],
            "listings": [listing.to_json() for listing in self._listings.values()],
            "variables_read": {name: hash_variable(name, salt, self._variable_names) for name in self._variables},
            "unseen": unseen,
            "outputs": self._outputs(),
        }

    def add_files(self, paths: Iterable[Path]) -> None:
        """Add files that were read before the report was begun, as they are now."""
        for path in paths:
            self._on_read(str(time.time_ns()), str(path))

    def add_unseen(self, phrase: str) -> None:
        """Add an input that is not checked."""
        self._unseen[phrase] = None

    def _native_readers(self) -> list[str]:
        """Libraries that the user's modules import and that may read files which the hook does not see."""
        libraries = set[str]()
        for path in self._files:
            if path.suffix == ".py" and not path.is_relative_to(OWN_PACKAGE):
                with suppress(OSError):
                    libraries |= _NATIVE_READERS & _find_imports(path.read_bytes())
        return sorted(libraries)

    def _outputs(self) -> list[dict[str, Any]]:
        """The files that the script wrote, with the hashes of those that could be taken for source."""
        outputs = []
        for path in self._written:
            with suppress(OSError):
                if path.is_relative_to(self._root) and path.is_file():
                    n_bytes = path.stat().st_size
                    digest = file_hash(path) if n_bytes <= MAX_FILE_BYTES else ""
                    outputs.append(
                        InputFile(name=self._name(path), path=str(path), hash=digest, bytes=n_bytes).to_json()
                    )
        return outputs

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else str(path)

    def _is_ignored(self, path: Path) -> bool:
        return ".git" in path.parts or f"{path}{os.sep}".startswith(self._ignored)

    def _on_begin(self, process: str) -> None:
        self.main_process = self.main_process or process

    def _on_read(self, moment: str, name: str) -> None:
        path = _find_source(Path(name))
        if path in self._files or path in self._written or self._is_ignored(path):
            return
        self._files[path], self._pending[path] = None, int(moment)

    def _on_hash(self, digest: str, name: str) -> None:
        path = _find_source(Path(name))
        if self._pending.pop(path, None):
            self._files[path] = InputFile(name=path.name, path=str(path), hash=digest)

    def _on_remove(self, name: str) -> None:
        self._removed.add(Path(name))

    def _on_write(self, name: str) -> None:
        if not self._is_ignored(Path(name)):
            self._written[Path(name)] = None

    def _on_names(self, digest: str, pattern: str, folder: str) -> None:
        path = Path(folder)
        if path not in self._written and not self._is_ignored(path):
            self._listings.setdefault((folder, pattern), InputFile(name=pattern, path=folder, hash=digest))

    def _on_variable(self, name: str) -> None:
        self._variables[name] = None

    def _on_standard_input(self, device: str, number: str) -> None:
        with suppress(OSError):
            status = os.fstat(0)
            if (str(status.st_dev), str(status.st_ino)) == (device, number):
                self._unseen["standard input"] = None

    def _on_unseen(self, phrase: str) -> None:
        self._unseen[phrase] = None

    def _on_libraries(self, process: str, text: str) -> None:
        if process == self.main_process:
            self.libraries = json.loads(text)

    def _on_seed(self, process: str, seed: str) -> None:
        if process == self.main_process:
            self.torch_seed = int(seed)

    _HANDLERS: Mapping[str, Callable[..., None]] = {
        "B": _on_begin, "R": _on_read, "H": _on_hash, "W": _on_write, "X": _on_remove, "N": _on_names,
        "V": _on_variable, "I": _on_standard_input, "U": _on_unseen, "L": _on_libraries, "S": _on_seed,
    }  # fmt: skip

    def _hash_pending(self) -> list[Path]:
        """Hash files that have not changed since they were read; returns the modules among them."""
        modules = []
        for path, moment in list(self._pending.items()):
            try:
                file = self._hash(path, moment)
            except FileNotFoundError:
                file = None if path in self._removed else InputFile(name=path.name, path=str(path), hash="")
            except OSError:
                continue
            if file is not None:
                self._files[path] = file
                del self._pending[path]
                modules += [path] if path.suffix == ".py" and file.hash else []
        return modules

    def _hash(self, path: Path, moment: int) -> InputFile | None:
        """Hash a file that was read at a moment; None if it has changed since. Raises OSError."""
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            if not stat.S_ISDIR(status.st_mode):
                self._unseen[f"{self._name(path)}, which is no file on a disk"] = None
            del self._pending[path], self._files[path]
            return None
        if status.st_size > MAX_FINGERPRINT_BYTES:
            self._unseen[f"{self._name(path)}, which is larger than {MAX_FINGERPRINT_BYTES:,} bytes"] = None
            del self._pending[path]
            return None
        digest = file_hash(path)
        if max(status.st_mtime_ns, status.st_ctime_ns) > moment or _version(path.stat()) != _version(status):
            return None
        return InputFile(name=path.name, path=str(path), hash=digest, bytes=status.st_size)


def _version(status: os.stat_result) -> tuple[int, ...]:
    """What changes with the content of a file, unlike the time of its last access."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _find_imports(code: bytes) -> set[str]:
    """The packages that a module imports, also in its functions; empty if its code cannot be parsed."""
    if not any(name.encode() in code for name in _NATIVE_READERS):  # parsing is slow
        return set()
    names = set()
    with suppress(SyntaxError, ValueError, RecursionError):
        for node in ast.walk(ast.parse(code)):
            match node:
                case ast.Import():
                    names |= {alias.name for alias in node.names}
                case ast.ImportFrom(module=str(module), level=0):
                    names.add(module)
                case ast.Call(
                    func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                    args=[ast.Constant(value=str(module)), *_],
                ):
                    names.add(module)
    return {name.partition(".")[0] for name in names}


def _find_source(path: Path) -> Path:
    """Find the source of a compiled module; any other file is its own source, also a module whose source is gone."""
    if path.suffix != ".pyc":
        return path
    try:
        source = Path(source_from_cache(path))
    except ValueError:
        return path
    return source if source.is_file() else path


def _open_shared_file() -> tuple[IO[bytes], Path]:
    """Open a file for the processes that are started, in memory where this is possible; returns also its path."""
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create(REPORT_NAME), "rb")
        path = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        if os.access(path, os.W_OK):
            return file, path
    named_file = tempfile.NamedTemporaryFile(prefix="rosenblatt-")  # noqa: SIM115 - open as long as the report
    return named_file, Path(named_file.name)


def describe_variable(name: str) -> str:
    """Name an environment variable, or all of them, in a message."""
    return "the set of environment variables" if name == ALL_VARIABLES else f"the environment variable {name}"


def hash_variable(name: str, salt: str, names: frozenset[str] | None = None) -> str:
    """Hash the value of an environment variable; "" if it is not set.

    Of `ALL_VARIABLES` it is a hash of `names`, by default those that are set now.
    """
    if name == ALL_VARIABLES:
        return _hash_value(name, "=".join(sorted(variable_names() if names is None else names)), salt)
    value = os.environ.get(name)
    return "" if value is None else _hash_value(name, value, salt)


@lru_cache
def _hash_value(name: str, value: str, salt: str) -> str:
    """Hash a value; that of a password slowly (scrypt, RFC 7914), so that it cannot be found by trying many."""
    text, salt_bytes = f"{name}={value}".encode(errors="surrogateescape"), salt.encode()
    if is_secret_name(name):
        return hashlib.scrypt(text, salt=salt_bytes, n=2**14, r=8, p=1, dklen=32).hex()
    return hashlib.sha256(salt_bytes + b" " + text).hexdigest()
