"""Packs: tar archives with the bytes of many samples, named by the hash of their content and never changed.

A sample's member is named by its own hash, so that a pack depends on the samples' bytes only: WebDataset reads its key
as `hash` of the volume's table.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TARGET_PACK_BYTES = 32 << 20  # size from which a pack takes no further sample
MAX_PACK_BYTES = 64 << 20  # of packs with several samples
MAX_SAMPLE_BYTES = 1 << 30
BLOCK_BYTES = 512  # of tar archives
END_BYTES = 2 * BLOCK_BYTES  # of zeros
_HEADER_BYTES = 156  # of a header, up to the end of what differs between members
_NAME_BYTES, _SIZE_DIGITS, _CHECKSUM_FIELD, _CHECKSUM_DIGITS = 100, slice(124, 135), slice(148, 156), slice(148, 154)
PACK_NAME = "^[0-9a-f]{64}$"  # pattern of names, unlike the URIs of linked files


@dataclass(frozen=True)
class Pack:
    """A finished pack."""

    name: str  # hex BLAKE3 hash of its content
    content: bytes


def content_hash(content: bytes | memoryview) -> str:
    """Return the hex BLAKE3 hash of bytes."""
    from blake3 import blake3

    return blake3(content).hexdigest()


def content_hashes(contents: Sequence[bytes]) -> list[str]:
    """Return the hex BLAKE3 hashes of several contents."""
    from blake3 import blake3

    return [blake3(content).hexdigest() for content in contents]


def is_pack_name(name: str) -> bool:
    """Whether a value of the column `pack` names a pack, and not a linked file."""
    return bool(re.fullmatch(PACK_NAME, name))


def pack_path(name: str) -> str:
    """Return the path of a pack within its root."""
    return f"packs/{name[:2]}/{name}.tar"


class PackBuilder:
    """Collects samples, and makes a tar archive of them."""

    def __init__(self) -> None:
        self.hashes, self.offsets = list[str](), list[int]()  # of the samples
        self._names, self._contents, self._n_bytes = list[str](), list[bytes](), 0

    def __len__(self) -> int:
        """The number of bytes so far."""
        return self._n_bytes

    @property
    def is_full(self) -> bool:
        """Whether the pack takes no further sample."""
        return self._n_bytes >= TARGET_PACK_BYTES

    def add(self, content: bytes, hash_: str, extension: str) -> int:
        """Append a sample and return the offset of its bytes."""
        offset = self._n_bytes + BLOCK_BYTES
        self.hashes.append(hash_)
        self.offsets.append(offset)
        self._names.append(f"{hash_}.{extension or 'bin'}")
        self._contents.append(content)
        self._n_bytes = offset + len(content) + -len(content) % BLOCK_BYTES
        return offset

    def finish(self) -> Pack:
        """Return the pack, and release the samples."""
        sizes = np.fromiter(map(len, self._contents), np.int64, len(self._contents))
        headers, parts = _headers(self._names, sizes), list[bytes]()
        for k, content in enumerate(self._contents):
            header = headers[_HEADER_BYTES * k : _HEADER_BYTES * (k + 1)]
            parts += (header, _HEADER_END, content, _PADDINGS[-len(content) % BLOCK_BYTES])
        self._names, self._contents = [], []
        archive = b"".join([*parts, bytes(END_BYTES)])
        return Pack(content_hash(archive), archive)


def _make_template() -> bytes:
    info = tarfile.TarInfo("")
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


_TEMPLATE = _make_template()
_HEADER, _HEADER_END = np.frombuffer(_TEMPLATE[:_HEADER_BYTES], np.uint8), _TEMPLATE[_HEADER_BYTES:]
_DIGIT_SHIFTS = np.arange(30, -3, -3)  # of the octal digits of a size
_CHECKSUM_SHIFTS = np.arange(15, -3, -3)
_PADDINGS = [bytes(n) for n in range(BLOCK_BYTES)]


def _headers(names: list[str], sizes: np.ndarray) -> bytes:
    """The first parts of headers: those of `tarfile`, with these names and sizes (n,) (POSIX.1-1988, ustar)."""
    headers = np.tile(_HEADER, (len(names), 1))
    encoded = np.array([name.encode("ascii") for name in names], f"S{_NAME_BYTES}")
    headers[:, :_NAME_BYTES] = encoded.view(np.uint8).reshape(-1, _NAME_BYTES)
    headers[:, _SIZE_DIGITS] = _octal(sizes, _DIGIT_SHIFTS)
    headers[:, _CHECKSUM_FIELD] = np.frombuffer(b"      \0 ", np.uint8)
    checksums = headers.sum(axis=1, dtype=np.int64) + ord(" ") + sum(_HEADER_END)  # the field counts as eight spaces
    headers[:, _CHECKSUM_DIGITS] = _octal(checksums, _CHECKSUM_SHIFTS)
    return headers.tobytes()


def _octal(numbers: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """The octal digits (n, len(shifts)) of numbers (n,), as ASCII."""
    return (numbers[:, None] >> shifts & 7) + ord("0")
