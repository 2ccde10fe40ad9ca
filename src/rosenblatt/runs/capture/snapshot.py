"""In: a run that begins. Out: what is known of it without being told: source, environment, command, machine."""

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
from rosenblatt.runs.capture.environment import environment
from rosenblatt.runs.capture.source import Keep, Source, hash_of, imported_modules
from rosenblatt.runs.redaction import masked_arguments
from rosenblatt.runs.store.records import Batch, as_json

AGAIN = 2.0  # seconds between two looks for modules that were imported since


class Captured:
    """Source and environment of one run or of a whole search, taken once, when it begins.

    Args:
        place: the script, or the folder of what runs.
        keep: keeps a file of the source: its hash and root.
    """

    def __init__(self, place: Path, keep: Keep) -> None:
        self._keep = keep
        self.source: Source = sources.capture(place, keep)
        self.environment = environment()
        self.take_modules()

    def write(self, batch: Batch, run: str) -> None:
        """Put it into a batch, for one run."""
        batch.fact(run, "source", batch.document(self.source))
        batch.fact(run, "source_hash", hash_of(self.source))
        batch.fact(run, "environment", batch.document(self.environment))

    def look_again(self) -> bool:
        """Without git, take the modules that were imported since; whether there were any."""
        if "commit" in self.source or time.monotonic() - self._looked < AGAIN or len(sys.modules) == self._modules:
            return False
        return self.take_modules()

    def take_modules(self) -> bool:
        """Take the modules of the project that are imported now; whether any is new."""
        if "commit" in self.source:
            return False
        self._looked, self._modules = time.monotonic(), len(sys.modules)
        root, known = Path(self.source["root"]), len(self.source["files"])
        news = [p for p in imported_modules(root) if p.relative_to(root).as_posix() not in self.source["files"]]
        sources.add(self.source, news, self._keep)
        return len(self.source["files"]) > known


def circumstances() -> dict[str, Any]:
    """Command line, folder and machine of this process."""
    script = sys.argv[0] if sys.argv else ""
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    how = ["-m", module.name.removesuffix(".__main__")] if module else [str(Path(script).absolute())] if script else []
    return {
        "arguments": masked_arguments([*how, *sys.argv[1:]]),  # of Python, to run it again
        "command": masked_arguments([Path(sys.executable).name, *([script] if script else []), *sys.argv[1:]]),
        "folder": str(Path.cwd()),
        "machine": socket.gethostname(),
        "process": os.getpid(),
    }


def seeds() -> dict[str, int]:
    """The first seeds of generators that tell theirs."""
    found: dict[str, int] = {}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "initial_seed"):
        found["torch"] = int(torch.initial_seed())
    if os.environ.get("PYTHONHASHSEED", "random") != "random":
        found["PYTHONHASHSEED"] = int(os.environ["PYTHONHASHSEED"])
    return found


def main_place() -> Path:
    """The script that runs, or the working folder where it is a notebook, a prompt or an installed program."""
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    if name:
        path = Path(name).absolute()
        if path.suffix == ".py" and path.is_file() and "site-packages" not in path.parts:
            return path
    return Path.cwd()


def data_of(path: Path, name: str = "") -> dict[str, Any]:
    """A file, or a folder with all below it, by its content: {name, path, hash, bytes}. Raises OSError."""
    from rosenblatt.runs.store.artifacts import hash_of as file_hash

    if not path.is_dir():
        digest, size = file_hash(path), path.stat().st_size
    else:
        files = sorted(p for p in path.rglob("*") if p.is_file())
        listed = [(p.relative_to(path).as_posix(), file_hash(p)) for p in files]
        digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
        size = sum(p.stat().st_size for p in files)
    return {"name": name or path.name, "path": str(path.absolute()), "hash": digest, "bytes": size}


def identity_of(kind: str, source: str, spec: Mapping[str, Any], data: list[str], where: Mapping[str, Any]) -> str:
    """A hash that two runs share only where source, spec, data and environment are the same."""
    known = {key: where.get(key) for key in ("python", "packages", "processor", "gpus", "variables")}
    return hashlib.sha256(as_json([kind, source, spec, sorted(data), known]).encode()).hexdigest()
