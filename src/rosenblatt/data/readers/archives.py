"""List the files of a folder or a zip archive, and find the table among them if there is only one."""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rosenblatt.data.media.images import has_image_suffix
from rosenblatt.data.readers.decompression import UnpackingLimit
from rosenblatt.data.readers.encodings import decode_text
from rosenblatt.data.readers.separators import splits_evenly
from rosenblatt.data.readers.sources import SAMPLE_BYTES, Source
from rosenblatt.errors import TableError

READ_ERRORS = (  # of a file in an archive
    OSError,
    EOFError,
    zipfile.BadZipFile,  # wrong checksum
    zlib.error,
    lzma.LZMAError,
    RuntimeError,  # encrypted
    NotImplementedError,  # unknown compression
    ValueError,  # damaged directory of the archive
)
TEXT_SUFFIX = ".txt"
DELIMITED_SUFFIXES = (".csv", ".tsv", ".dat", ".data")
TYPED_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
COMPRESSED_SUFFIX = re.compile(r"\.(gz|bz2|xz)$")
DOCUMENTATION = re.compile(
    r"read.?me|licen[cs]e|changelog|citation|codebook|(data.?)?(description|dictionary)|about", re.IGNORECASE
)


@dataclass(frozen=True)
class CollectionFile:
    """A file of a folder or an archive."""

    name: str  # path relative to the folder or archive, with slashes
    read: Callable[[], bytes]
    path: str = ""  # absolute path; empty in an archive

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of its relative path."""
        return PurePosixPath(self.name).parts[:-1]

    @property
    def stem(self) -> str:
        """Its name without folders and suffix."""
        return PurePosixPath(self.name).stem

    @property
    def is_text(self) -> bool:
        """Whether its name is that of a text file."""
        return self.name.lower().endswith(TEXT_SUFFIX)

    @property
    def is_delimited(self) -> bool:
        """Whether its name is that of delimited text."""
        return self.name.lower().endswith(DELIMITED_SUFFIXES)

    @property
    def is_table(self) -> bool:
        """Whether its name is that of a table, compressed or not."""
        return COMPRESSED_SUFFIX.sub("", self.name.lower()).endswith((*DELIMITED_SUFFIXES, *TYPED_SUFFIXES))


def list_folder(path: Path) -> list[CollectionFile]:
    """All files of a folder sorted by name, without hidden ones. Raises TableError if there are none."""
    files = [
        CollectionFile(entry.relative_to(path).as_posix(), entry.read_bytes, str(entry.absolute()))
        for entry in sorted(path.rglob("*"))
        if entry.is_file()
    ]
    return _visible(files, str(path))


def list_archive(source: Source) -> list[CollectionFile]:
    """All files of a zip archive sorted by name, without hidden ones. Raises TableError if there are none."""
    try:
        archive = zipfile.ZipFile(source.path or source.open())
    except READ_ERRORS as error:
        raise TableError(f"{source.name!r} is a damaged zip archive: {error}.") from error
    names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
    limit = UnpackingLimit(source.name, len(source.content))
    return _visible([CollectionFile(name, _reader(archive, name, source.name, limit)) for name in names], source.name)


def _reader(archive: zipfile.ZipFile, name: str, source_name: str, limit: UnpackingLimit) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with archive.open(name) as stream:
                return limit.read(stream, name)
        except READ_ERRORS as error:
            raise TableError(f"{name!r} in {source_name!r} cannot be read: {error}.") from error

    return read


def _visible(files: Sequence[CollectionFile], source_name: str) -> list[CollectionFile]:
    hidden = (".", "__MACOSX")
    visible = [file for file in files if not any(part.startswith(hidden) for part in PurePosixPath(file.name).parts)]
    if not visible:
        raise TableError(f"{source_name!r} is empty, but images, texts or sequences were expected.")
    return visible


def without_documentation(files: Sequence[CollectionFile]) -> list[CollectionFile]:
    """The files other than texts such as `readme.txt` beside others; all files if there are no others."""
    return [file for file in files if not (file.is_text and DOCUMENTATION.match(file.stem))] or list(files)


def find_single_table(files: Sequence[CollectionFile]) -> CollectionFile | None:
    """The only table among the files; None if there are several, or images or texts."""
    if any(has_image_suffix(file.name) for file in files):
        return None
    tables = [file for file in files if file.is_table]
    texts = [file for file in without_documentation(files) if file.is_text]
    if len(tables) == 1 and not texts:
        return tables[0]
    if not tables and len(texts) == 1:
        lines = re.split(r"\r\n|\r|\n", decode_text(texts[0].read()[:SAMPLE_BYTES]))[:-1]
        return texts[0] if splits_evenly(lines) else None
    return None
