"""Snapshot of what a run consists of when it begins: source, environment, command, machine, data."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rosenblatt.runs.capture import source as sources
from rosenblatt.runs.capture.environment import capture_environment
from rosenblatt.runs.capture.source import Source, StoreFile, imported_modules, source_hash
from rosenblatt.runs.redaction import redact_arguments
from rosenblatt.runs.store.records import RecordBatch, as_json

MODULE_CHECK_INTERVAL_S = 2.0  # seconds between two looks for modules that were imported since


class RunSnapshot:
    """Source and environment of one run or of a whole search, taken once, when it begins.

    Args:
        path: the script, or the folder of what runs.
        store_file: stores a file of the source: its hash and root.
    """

    def __init__(self, path: Path, store_file: StoreFile) -> None:
        self._store_file = store_file
        self.source: Source = sources.capture_source(path, store_file)
        self.environment = capture_environment()
        self.capture_modules()

    def write(self, batch: RecordBatch, run: str) -> None:
        """Put it into a batch, for one run."""
        batch.add_metadata(run, "source", batch.add_document(self.source))
        batch.add_metadata(run, "source_hash", source_hash(self.source))
        batch.add_metadata(run, "environment", batch.add_document(self.environment))

    def refresh_modules(self) -> bool:
        """Without git, take the modules that were imported since; whether there were any."""
        if (
            "commit" in self.source
            or time.monotonic() - self._last_check < MODULE_CHECK_INTERVAL_S
            or len(sys.modules) == self._n_modules
        ):
            return False
        return self.capture_modules()

    def capture_modules(self) -> bool:
        """Take the modules of the project that are imported now; whether any is new."""
        if "commit" in self.source:
            return False
        self._last_check, self._n_modules = time.monotonic(), len(sys.modules)
        root, n_files = Path(self.source["root"]), len(self.source["files"])
        new_paths = [
            path for path in imported_modules(root) if path.relative_to(root).as_posix() not in self.source["files"]
        ]
        sources.add_files(self.source, new_paths, self._store_file)
        return len(self.source["files"]) > n_files


def process_info() -> dict[str, Any]:
    """Command line, folder and machine of this process."""
    script = sys.argv[0] if sys.argv else ""
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    target = (
        ["-m", module.name.removesuffix(".__main__")] if module else [str(Path(script).absolute())] if script else []
    )
    return {
        "arguments": redact_arguments([*target, *sys.argv[1:]]),  # of Python, to run it again
        "command": redact_arguments([Path(sys.executable).name, *([script] if script else []), *sys.argv[1:]]),
        "folder": str(Path.cwd()),
        "machine": socket.gethostname(),
        "process": os.getpid(),
    }


def read_seeds() -> dict[str, int]:
    """The first seeds of generators that tell theirs."""
    values: dict[str, int] = {}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "initial_seed"):
        values["torch"] = int(torch.initial_seed())
    if os.environ.get("PYTHONHASHSEED", "random") != "random":
        values["PYTHONHASHSEED"] = int(os.environ["PYTHONHASHSEED"])
    return values


def main_script() -> Path:
    """The script that runs, or the working folder where it is a notebook, a prompt or an installed program."""
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    if name:
        path = Path(name).absolute()
        if path.suffix == ".py" and path.is_file() and "site-packages" not in path.parts:
            return path
    return Path.cwd()


def fingerprint_path(path: Path, name: str = "") -> dict[str, Any]:
    """A file, or a folder with all below it, by its content: {name, path, hash, bytes}. Raises OSError."""
    from rosenblatt.runs.store.artifacts import file_hash

    if not path.is_dir():
        digest, size = file_hash(path), path.stat().st_size
    else:
        files = sorted(p for p in path.rglob("*") if p.is_file())
        entries = [(p.relative_to(path).as_posix(), file_hash(p)) for p in files]
        digest = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
        size = sum(p.stat().st_size for p in files)
    return {"name": name or path.name, "path": str(path.absolute()), "hash": digest, "bytes": size}


def run_identity(
    kind: str, source: str, spec: Mapping[str, Any], data: list[str], environment: Mapping[str, Any]
) -> str:
    """A hash that two runs share only where source, spec, data and environment are the same."""
    relevant = {key: environment.get(key) for key in ("python", "packages", "processor", "gpus", "variables")}
    return hashlib.sha256(as_json([kind, source, spec, sorted(data), relevant]).encode()).hexdigest()
