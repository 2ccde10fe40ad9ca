"""Snapshot of a run when it begins: source, environment, command, machine, data and seeds."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rosenblatt.errors import RunError
from rosenblatt.runs.capture.environment import Environment, capture_environment, loaded_libraries, user_name
from rosenblatt.runs.capture.program import program_kind
from rosenblatt.runs.capture.source import SourceCapture, StoreFile, is_installed, source_hash
from rosenblatt.runs.recorded import InputFile
from rosenblatt.runs.redaction import find_masked, redact_arguments
from rosenblatt.runs.store.locations import store_prefixes
from rosenblatt.runs.store.records import RecordBatch, as_json

MODULE_CHECK_INTERVAL_S = 2.0  # seconds between two checks for newly imported modules


class RunSnapshot:
    """Source and environment of a run, or of a whole search, taken once when it begins.

    Args:
        path: The script, or the folder of the code that runs.
        store_file: Stores a file of the source and returns its hash and root.
        url: The address of the store, whose files are not part of the source.
        of_this_process: Whether the run is part of this process, so that the modules and linear algebra libraries
            that this process has loaded belong to it.
    """

    def __init__(
        self, path: Path, store_file: StoreFile, url: str | None = None, *, of_this_process: bool = True
    ) -> None:
        excluded = store_prefixes(url) if url else ()
        self._capture = SourceCapture(path, store_file, excluded, partial(_find_outputs, url))
        self.source = self._capture.source
        self.environment = capture_environment(with_libraries=of_this_process)
        self._module_files = set[Any]()  # of all modules that were looked at
        if of_this_process:
            self.capture_modules()

    def write(self, batch: RecordBatch, run: str) -> None:
        """Add the snapshot to a batch, for one run."""
        batch.add_metadata(run, "source", batch.add_document(self.source.to_json()))
        batch.add_metadata(run, "source_hash", source_hash(self.source))
        batch.add_metadata(run, "environment", batch.add_document(self.environment.to_json()))

    def identify(self, kind: str, spec: Mapping[str, Any], data: Iterable[InputFile], source: str = "") -> str:
        """Compute the identity of a run of this source and environment; see `run_identity`.

        `source` is the hash of the source as it was at an earlier time, by default as it is now.
        """
        files = [f"{os.path.relpath(file.path, self.source.root or '.')} {file.hash}" for file in data]
        return run_identity(kind, source or source_hash(self.source), spec, files, self.environment)

    def refresh_modules(self) -> bool:
        """Capture newly imported modules if it is time to check; returns whether there are any."""
        if time.monotonic() - self._last_check < MODULE_CHECK_INTERVAL_S or len(sys.modules) == self._n_modules:
            return False
        return self.capture_modules()

    def capture_modules(self) -> bool:
        """Capture newly imported modules, and linear algebra libraries if there were none; whether there are any."""
        self._last_check, self._n_modules = time.monotonic(), len(sys.modules)
        files = {getattr(module, "__file__", None) for module in list(sys.modules.values())} - self._module_files
        self._module_files |= files
        names = (name for name in files if isinstance(name, str) and name.endswith(".py"))
        has_changed = self.add_modules(Path(name) for name in names if not is_installed(name))
        if not self.environment.linear_algebra and (libraries := loaded_libraries()):
            self.environment = replace(self.environment, linear_algebra=libraries)
            has_changed = True
        return has_changed

    def add_modules(self, paths: Iterable[Path]) -> bool:
        """Add modules that are not yet part of the source; returns whether there are any."""
        return self._capture.add(paths)


def _find_outputs(url: str | None) -> dict[str, str]:
    from rosenblatt.runs.store.queries import written_files

    return written_files(url) if url else {}


def process_info() -> dict[str, Any]:
    """Describe the command line, folder, machine and user of this process."""
    script = sys.argv[0] if sys.argv else ""
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    target = (
        ["-m", module.name.removesuffix(".__main__")] if module else [str(Path(script).absolute())] if script else []
    )
    arguments = [*target, *sys.argv[1:]]
    return {
        "arguments": redact_arguments(arguments),
        "masked_arguments": find_masked(arguments),
        "command": redact_arguments([Path(sys.executable).name, *([script] if script else []), *sys.argv[1:]]),
        "program": program_kind(),
        "folder": str(Path.cwd()),
        "machine": socket.gethostname(),
        "user": user_name(),
        "user_id": os.geteuid() if hasattr(os, "geteuid") else None,
        "process": os.getpid(),
    }


def read_seeds() -> dict[str, int]:
    """Read the initial seeds of random number generators that reveal them: PyTorch's, and that of hashes."""
    values: dict[str, int] = {}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "initial_seed"):
        values["torch"] = int(torch.initial_seed())
    if os.environ.get("PYTHONHASHSEED", "random") != "random":
        values["PYTHONHASHSEED"] = int(os.environ["PYTHONHASHSEED"])
    return values


def main_script() -> Path:
    """The running script, or the working folder in a notebook, at a prompt and for an installed program."""
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    if name:
        path = Path(name).absolute()
        if path.suffix == ".py" and path.is_file() and "site-packages" not in path.parts:
            return path
    return Path.cwd()


def default_experiment(script: Path) -> str:
    """The experiment of runs of a script, or in a folder, if the user names none."""
    return script.stem if script.is_file() else script.name


def fingerprint_path(path: Path, name: str = "") -> InputFile:
    """Hash the content of a file, or of a folder with everything below it. Raises OSError."""
    from rosenblatt.runs.store.places import file_hash

    if not path.is_dir():
        digest, size = file_hash(path), path.stat().st_size
    else:
        files = sorted(p for p in path.rglob("*") if p.is_file())
        entries = [(p.relative_to(path).as_posix(), file_hash(p)) for p in files]
        digest = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
        size = sum(p.stat().st_size for p in files)
    return InputFile(name=name or path.name, path=str(path.absolute()), hash=digest, bytes=size)


def fingerprint_data(path: str | Path, name: str = "") -> InputFile:
    """Hash the content of a file or folder of data. Raises RunError if it cannot be read."""
    try:
        return fingerprint_path(Path(path), name)
    except OSError as error:
        raise RunError(f"The data {str(path)!r} cannot be read: {error.strerror or error}.") from error


def run_identity(kind: str, source: str, spec: Mapping[str, Any], data: list[str], environment: Environment) -> str:
    """Hash kind, source, spec, data and environment; runs with equal identities are interchangeable."""
    inputs = [kind, source, spec, sorted(data), environment.identity_facts()]
    return hashlib.sha256(as_json(inputs).encode()).hexdigest()
