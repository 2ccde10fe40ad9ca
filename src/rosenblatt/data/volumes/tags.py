"""Tags: names of versions, which can be moved."""

from __future__ import annotations

import time

from pydantic import BaseModel, ConfigDict, ValidationError

from rosenblatt.data.volumes.locations import check_name
from rosenblatt.data.volumes.storage.log import Commit, current_user
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.errors import VolumeError, did_you_mean

TAG_FOLDER = "tags"


class Tag(BaseModel):
    """What a tag says of its version."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    root: str
    who: str
    created: float  # seconds since 1970


def set_tag(objects: Objects, volume: str, tag: str, commit: Commit) -> Tag | None:
    """Give a version a tag, and return what the tag named before.

    Raises:
        VolumeError: if the name cannot be a tag.
        ConflictError: if another process moved the tag at the same time.
    """
    check_name(tag, "tag")
    path = _path(volume, tag)
    info = objects.info(path)
    before = read_tag(objects, volume, tag) if info else None
    record = Tag(version=commit.version, root=commit.root, who=current_user(), created=time.time())
    objects.replace(path, record.model_dump_json().encode(), info.etag if info else None)
    return before


def read_tag(objects: Objects, volume: str, tag: str) -> Tag:
    """Read a tag. Raises VolumeError if there is none of this name."""
    check_name(tag, "tag")
    try:
        return Tag.model_validate_json(objects.read(_path(volume, tag)))
    except FileNotFoundError:
        names = [] if objects.address.startswith("http") else list(list_tags(objects, volume))
        raise VolumeError(
            f"{volume!r} has no version or tag {tag!r}.{did_you_mean(tag, names)} `rosenblatt data log {volume}` shows "
            "all versions."
        ) from None
    except ValidationError as error:
        raise VolumeError(f"The tag {tag!r} of {volume!r} is damaged. Set it again.") from error


def list_tags(objects: Objects, volume: str) -> dict[str, Tag]:
    """Return all tags of a volume by name."""
    names = [info.path.rsplit("/", 1)[-1] for info in objects.list(f"{volume}/{TAG_FOLDER}")]
    return {name: read_tag(objects, volume, name) for name in names if not name.startswith(".")}


def _path(volume: str, tag: str) -> str:
    return f"{volume}/{TAG_FOLDER}/{tag}"
