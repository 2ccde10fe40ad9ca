"""A volume of small files in several packs, and its originals."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from rosenblatt.data.volumes.add import AddOptions, add
from rosenblatt.data.volumes.storage import markers, packs
from rosenblatt.data.volumes.storage.objects import Objects, open_objects

N_SAMPLES = 12


@dataclass
class Photos:
    """A volume `photos` of the root, with the folder that it was added from."""

    root: str
    originals: Path

    @property
    def objects(self) -> Objects:
        return open_objects(self.root)

    @property
    def name(self) -> str:
        return f"{self.root}/photos"

    def add(self, volume="photos", notify=lambda _: None, **options):
        return add(f"{self.root}/{volume}", str(self.originals), AddOptions(kind="files", **options), notify)

    def packs(self) -> list[str]:
        return [info.path for info in self.objects.list("packs")]

    def files(self) -> list[str]:
        return [info.path for info in self.objects.list("photos/data")]

    def damage(self, path: str, position: int = 600) -> bytes:
        """Flip a bit of an object; returns what it was."""
        content = self.objects.read(path)
        damaged = bytearray(content)
        damaged[position] ^= 1
        self.objects.put(path, bytes(damaged))
        return content


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Photos:
    pytest.importorskip("deltalake", reason="deltalake is not installed: pip install 'rosenblatt[volumes]'")
    monkeypatch.setattr(packs, "TARGET_PACK_BYTES", 8000)
    monkeypatch.setattr(markers, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ROSENBLATT_VOLUMES", str(tmp_path / "default"))
    originals = tmp_path / "originals"
    originals.mkdir()
    for k in range(N_SAMPLES):
        (originals / f"{k:02}.bin").write_bytes(random.Random(k).randbytes(2000))
    return Photos(str(tmp_path / "volumes"), originals)


@pytest.fixture(autouse=True)
def wide_lines(monkeypatch):
    """Lines of commands are not wrapped, also by workers of pytest-xdist, which have a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "400")
