"""Read linked files, which a volume names by their URI, and parts of objects that may be missing."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from rosenblatt.data.volumes.sources.addresses import FILE_SCHEME
from rosenblatt.data.volumes.storage.objects import Objects, open_objects
from rosenblatt.data.volumes.storage.packs import MAX_SAMPLE_BYTES
from rosenblatt.errors import DamagedDataError


def read_part(objects: Objects, path: str, offset: int, length: int) -> bytes:
    """Read a part of an object; nothing if it is not there, so that the sample will not match its hash."""
    try:
        return objects.read_ranges(path, [offset], [length])[0]
    except DamagedDataError:
        return b""


def read_link(uri: str, offset: int, length: int) -> bytes:
    """Read a part of a linked file; nothing if it is missing, so that the sample will not match its hash.

    The volume may be someone else's: only regular files are opened, as a pipe would wait, and a device never ends.
    """
    if "://" not in uri or offset < 0 or not 0 <= length <= MAX_SAMPLE_BYTES:
        return b""
    parts = urlsplit(uri)
    try:
        if uri.startswith(FILE_SCHEME):
            path = Path(url2pathname(parts.path))
            if not path.is_file():
                return b""
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(length)
        objects = open_objects(f"{parts.scheme}://{parts.netloc}")
        key = uri.removeprefix(f"{parts.scheme}://{parts.netloc}/")
        if parts.scheme.startswith("http") and not offset:
            return objects.read(unquote(key))[:length]  # some web servers know no ranges
        return read_part(objects, key, offset, length)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return b""
