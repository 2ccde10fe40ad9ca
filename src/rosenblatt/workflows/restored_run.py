"""Restore the source and the data of a run in a new folder, where its script runs again without touching the first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rosenblatt.errors import RunError
from rosenblatt.runs.capture.restore import restore
from rosenblatt.runs.capture.reuse import names_changed
from rosenblatt.runs.capture.source import Source
from rosenblatt.runs.recorded import InputFile
from rosenblatt.runs.store.artifacts import Artifacts, has_changed
from rosenblatt.runs.store.details import RunDetails
from rosenblatt.runs.verdict import Gap

MAX_COPIED_BYTES = 1_000_000_000  # larger files and folders of data are linked instead of copied


class RestoredRun:
    """Copies of the folders of a run below `base`, a new folder, which mirrors the folders around the original ones."""

    def __init__(self, run: RunDetails, source: Source, base: Path) -> None:
        self._run, self._source, self._base = run, source, base
        self._folders = (Path(source.root), Path(run.folder or source.root))
        self._linked: dict[Path, tuple[int, int]] = {}  # state of data that is used in place

    @property
    def working_folder(self) -> Path:
        """The copy of the working folder."""
        return self.locate(self._folders[1])

    @property
    def import_folders(self) -> tuple[str, ...]:
        """The copies of the folders outside of the source from which the run imported modules."""
        return tuple(map(str, self._restored.import_folders))

    @property
    def left_out(self) -> tuple[str, ...]:
        """Files of the source that were not restored, because they are unsafe."""
        return self._restored.left_out

    def locate(self, path: Path) -> Path:
        """The place of a path in the copies; the path itself if it has none."""
        place = self._restored.locate(path)
        is_inside = any(map(path.is_relative_to, self._folders))
        return place if place and (is_inside or os.path.lexists(place)) else path

    def restore(self, artifacts: Artifacts) -> None:
        """Write the source, and copy the data files that were beside it.

        Raises:
            RunError, StorageError: If a part of the source is gone, or the disk is full.
        """
        data = (*self._run.data, *self._run.data_read)
        paths = [self._folders[1], *(Path(file.path) for file in data)]
        self._restored = restore(self._source, self._base / "source", artifacts.fetch, paths=paths)
        try:
            self.working_folder.mkdir(parents=True, exist_ok=True)
            for file in data:
                self._copy_data(file)
        except OSError as error:
            raise RunError(f"The data of run {self._run.id} could not be copied: {error}.") from error

    def _copy_data(self, file: InputFile) -> None:
        """Copy a file or folder of data, so that the script may write to it; large and distant ones are linked."""
        path = Path(file.path)
        copy = self._restored.locate(path)
        if not path.exists() or copy is None or copy.is_file():
            return
        copy.parent.mkdir(parents=True, exist_ok=True)
        if any(map(path.is_relative_to, self._folders)) and _state(path)[0] <= MAX_COPIED_BYTES:
            _copy(path, copy)
            return
        if not copy.exists():
            copy.symlink_to(path)
        self._linked[path] = _state(path)

    @property
    def used_in_place(self) -> list[Path]:
        """Data that was not copied: large files, and files outside the folders of the run."""
        return list(self._linked)

    def changed_in_place(self) -> list[Path]:
        """Data used in place that has changed since it was restored."""
        return [path for path, state in self._linked.items() if not path.exists() or _state(path) != state]

    def gaps(self) -> Iterator[Gap]:
        """Modules that the run imported and folders that it listed, which are not in the copies as they were."""
        root = self._restored.root
        for module in dict.fromkeys(self._run.modules):
            path = self.locate(Path(module.path))
            if not has_changed(path, module.hash):
                continue
            name = path.relative_to(root).as_posix() if path.is_relative_to(root) else module.path
            problem = "has other content than the run imported" if path.is_file() else "is missing"
            yield Gap("source", f"{name} {problem}")
        for listing in self._run.listings:
            path = self.locate(Path(listing.path))
            if names_changed(replace(listing, path=str(path))):
                yield Gap("data", f"the folder {listing.path}, which the script listed, holds other names")


def _copy(path: Path, copy: Path) -> None:
    """Copy a file or folder; files that are there already, which are part of the source, stay."""
    if path.is_file():
        if not copy.exists():
            shutil.copy2(path, copy)
        return
    for file in path.rglob("*"):
        if file.is_file():
            (copy / file.relative_to(path)).parent.mkdir(parents=True, exist_ok=True)
            _copy(file, copy / file.relative_to(path))


def _state(path: Path) -> tuple[int, int]:
    """Size and time of the last change of a file, or of the newest file in a folder."""
    files = [p.stat() for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file()]
    return sum(info.st_size for info in files), max((info.st_mtime_ns for info in files), default=0)
