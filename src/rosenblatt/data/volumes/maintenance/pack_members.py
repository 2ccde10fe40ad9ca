"""The samples in a pack, read from its tar headers."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass

from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.packs import content_hash, pack_path
from rosenblatt.errors import DamagedDataError


@dataclass(frozen=True)
class PackMember:
    """A sample in a pack."""

    hash: str
    extension: str
    offset: int
    content: bytes


def read_members(objects: Objects, pack: str) -> list[PackMember]:
    """Read all samples of a pack; none if it is missing.

    Raises:
        DamagedDataError: if it does not match its name.
    """
    try:
        content = objects.read(pack_path(pack))
    except FileNotFoundError:
        return []
    if content_hash(content) != pack:
        raise DamagedDataError(
            f"{objects.address}/{pack_path(pack)} is damaged. Run `rosenblatt data repair` on the volume first."
        )
    return parse_members(content)


def parse_members(content: bytes) -> list[PackMember]:
    """The intact samples of a pack, up to the first damaged header."""
    members = list[PackMember]()
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for info in archive:
                member = content[info.offset_data : info.offset_data + info.size]
                hash_, _, extension = info.name.partition(".")
                if content_hash(member) == hash_:
                    members.append(PackMember(hash_, extension, info.offset_data, member))
    except (tarfile.TarError, EOFError, ValueError):
        pass
    return members
