"""Open files, standard input, pipes and bytes as the uncompressed content of a table."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import mmap
import stat
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rosenblatt.data.readers.decompression import UnpackingLimit
from rosenblatt.errors import TableError

SAMPLE_BYTES = 1 << 18  # bytes from which formats and encodings are detected
STANDARD_INPUT = "-"
EXPECTED_FORMATS = "CSV, TSV, JSON, JSON lines, Parquet or Arrow"
DECOMPRESSORS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
BINARY_HINTS = {
    b"PK\x03\x04": "a spreadsheet or a damaged zip archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"\x89PNG": "a picture",
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "a picture",
    b"\x28\xb5\x2f\xfd": "compressed with zstd, which is not supported",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"SQLite format 3": "a SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
}

TEXT_HINTS = {  # in lower case
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML document",
    b"version https://git-lfs": "a pointer of Git LFS, in place of the file itself",
    b"@relation": "an ARFF file",
}


@dataclass(frozen=True)
class Source:
    """The uncompressed content of a table."""

    name: str
    content: bytes | mmap.mmap
    path: Path | None = None  # a file that holds the same content

    @property
    def sample(self) -> bytes:
        """The first bytes of the content."""
        return self.content[:SAMPLE_BYTES]

    def open(self) -> IO[bytes]:
        """Open the content as a file."""
        return self.path.open("rb") if self.path else io.BytesIO(self.content[:])

    @property
    def is_zip(self) -> bool:
        """Whether the content starts like a zip archive."""
        return self.content[:4] in ZIP_MAGIC


def open_source(path: str | Path) -> Source:
    """Open a file, or `-` for standard input, and decompress it. Raises TableError."""
    name = str(path)
    try:
        content, is_file = _read(name)
    except FileNotFoundError:
        raise TableError(f"There is no file {name!r}. Check its name and folder.") from None
    except IsADirectoryError:
        raise TableError(f"{name!r} is a folder, but a file with a table was expected.") from None
    except OSError as error:
        raise TableError(f"{name!r} cannot be read: {error}. Check the file and its permissions.") from error
    return decompress_source(Source(name, content, Path(name) if is_file else None))


def decompress_source(source: Source) -> Source:
    """The source itself, or with its content decompressed. Raises TableError."""
    for magic, decompress in DECOMPRESSORS.items():
        if source.content[: len(magic)] == magic:
            limit = UnpackingLimit(source.name, len(source.content))
            try:
                with source.open() as file, decompress(file) as stream:
                    return Source(source.name, limit.read(stream))
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                raise TableError(f"{source.name!r} cannot be read: {error}. The file may be damaged.") from error
    return source


def _read(name: str) -> tuple[bytes | mmap.mmap, bool]:
    """The content, and whether it is that of a regular file; other content, such as a pipe's, is read once."""
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read(), False
    with Path(name).open("rb") as file:
        if stat.S_ISREG(Path(name).stat().st_mode) and Path(name).stat().st_size > SAMPLE_BYTES:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), True
        return file.read(), False


def check_source(source: Source) -> None:
    """Raises TableError if the content is empty or in a binary format that holds no table."""
    sample = source.sample
    if not sample.strip(b" \t\r\n\x1a\xef\xbb\xbf"):
        raise TableError("it is empty, but a table was expected.")
    for magic, kind in BINARY_HINTS.items():
        if sample.startswith(magic):
            raise TableError(f"it is {kind}, but a table was expected: {EXPECTED_FORMATS}.")
    start = sample[:100].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    for prefix, kind in TEXT_HINTS.items():
        if start.startswith(prefix):
            raise TableError(f"it is {kind}, but a table was expected: {EXPECTED_FORMATS}.")
    if sample[257:262] == b"ustar":
        raise TableError("it is a tar archive, but a table was expected. Unpack it.")
