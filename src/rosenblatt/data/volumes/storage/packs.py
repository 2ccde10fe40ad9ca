"""Packs: tar archives with the bytes of many samples, named by the hash of their content and never changed.

A sample's member is named by its own hash, so that a pack depends on the samples' bytes only: WebDataset reads its key
as `hash` of the volume's table.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass

TARGET_PACK_BYTES = 32 << 20  # size from which a pack takes no further sample
MAX_PACK_BYTES = 64 << 20  # of packs with several samples
MAX_SAMPLE_BYTES = 1 << 30
BLOCK_BYTES = 512  # of tar archives
END_BYTES = 2 * BLOCK_BYTES  # of zeros
_SIZE_FIELD, _CHECKSUM_FIELD = slice(124, 136), slice(148, 156)
_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Pack:
    """A finished pack."""

    name: str  # hex BLAKE3 hash of its content
    content: bytes


def content_hash(content: bytes | memoryview) -> str:
    """Return the hex BLAKE3 hash of bytes."""
    from blake3 import blake3

    return blake3(content).hexdigest()


def is_pack_name(name: str) -> bool:
    """Whether a value of the column `pack` names a pack, and not a linked file."""
    return bool(_HASH.fullmatch(name))


def pack_path(name: str) -> str:
    """Return the path of a pack within its root."""
    return f"packs/{name[:2]}/{name}.tar"


class PackBuilder:
    """Appends samples to a tar archive in memory."""

    def __init__(self) -> None:
        self._content = bytearray()

    def __len__(self) -> int:
        """The number of bytes so far."""
        return len(self._content)

    @property
    def is_full(self) -> bool:
        """Whether the pack takes no further sample."""
        return len(self._content) >= TARGET_PACK_BYTES

    def add(self, content: bytes, hash_: str, extension: str) -> int:
        """Append a sample and return the offset of its bytes."""
        self._content += _header(f"{hash_}.{extension or 'bin'}", len(content))
        offset = len(self._content)
        self._content += content
        self._content += bytes(-len(content) % BLOCK_BYTES)
        return offset

    def finish(self) -> Pack:
        """Return the pack."""
        self._content += bytes(END_BYTES)
        content = bytes(self._content)
        return Pack(content_hash(content), content)


def _make_template() -> bytes:
    info = tarfile.TarInfo("")
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


_TEMPLATE = _make_template()


def _header(name: str, size: int) -> bytes:
    """The header of a member: `tarfile`'s, with this name and size (POSIX.1-1988, ustar)."""
    header = bytearray(_TEMPLATE)
    encoded = name.encode("ascii")
    header[: len(encoded)] = encoded
    header[_SIZE_FIELD] = b"%011o\0" % size
    header[_CHECKSUM_FIELD] = b" " * 8
    header[_CHECKSUM_FIELD] = b"%06o\0 " % sum(header)
    return bytes(header)
