"""Tombstones of erased packs and metadata files: what opens an old version learns why it cannot be read."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.errors import DamagedDataError, ErasedDataError, StorageError, VolumeError

ERASED_FOLDER = "erased"
METADATA_FILE_HASH = slice(-len(".parquet") - 64, -len(".parquet"))  # in the path of a metadata file


class Tombstone(BaseModel):
    """Who erased an object, and when. It does not tell what was in it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    who: str
    created: float  # seconds since 1970


def put_tombstones(objects: Objects, names: list[str], who: str) -> None:
    """Record that objects are erased, before they are. Raises StorageError.

    Args:
        objects: the root.
        names: hex hashes by which packs and metadata files are named.
        who: erases them.
    """
    content = Tombstone(who=who, created=time.time()).model_dump_json().encode()
    for name in names:
        objects.put(f"{ERASED_FOLDER}/{name}", content)


def remove_tombstones(objects: Objects, names: list[str]) -> None:
    """Forget that objects were erased, which were written again. Raises StorageError."""
    objects.delete([f"{ERASED_FOLDER}/{name}" for name in names])


def erased_names(objects: Objects) -> set[str]:
    """The hex hashes of all packs and metadata files that were erased."""
    return {info.path.removeprefix(f"{ERASED_FOLDER}/") for info in objects.list(ERASED_FOLDER)}


def find_tombstone(objects: Objects, name: str) -> Tombstone | None:
    """The tombstone of an object; None if it was not erased."""
    try:
        return Tombstone.model_validate_json(objects.read(f"{ERASED_FOLDER}/{name}"))
    except (FileNotFoundError, StorageError, ValidationError):
        return None


def missing_error(objects: Objects, path: str, name: str) -> VolumeError:
    """The error of an object that is missing: erased, or damaged."""
    tombstone = find_tombstone(objects, name)
    if tombstone is None:
        return DamagedDataError(f"{objects.address}/{path} is missing. Restore it from a copy of the volume.")
    day = datetime.fromtimestamp(tombstone.created, UTC).date()
    return ErasedDataError(
        f"This version can no longer be read: {tombstone.who} erased samples of it on {day}. Use a later version."
    )
