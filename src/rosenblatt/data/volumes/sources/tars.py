"""Tar archives of WebDataset as sources of samples: members of one key are a sample, read in place.

The member with an image or sound gives the bytes; others, such as .json, .cls and .txt, give columns.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import polars as pl

from rosenblatt.data.readers.encodings import decode_text
from rosenblatt.data.readers.folders import TEXT
from rosenblatt.data.readers.json_tables import rows_frame
from rosenblatt.data.readers.sources import DECOMPRESSORS
from rosenblatt.data.table import TableFormat
from rosenblatt.data.volumes.columns import ID, RESERVED_COLUMNS
from rosenblatt.data.volumes.sources.archives import check_member_names
from rosenblatt.data.volumes.sources.contents import FILE_SCHEMA, FileContents, file_state
from rosenblatt.data.volumes.sources.folders import is_hidden
from rosenblatt.data.volumes.sources.identity import free_names, identify_files
from rosenblatt.data.volumes.sources.listings import count_names
from rosenblatt.data.volumes.sources.media import INSPECTED, INSPECTIONS, KIND_SUFFIXES
from rosenblatt.data.volumes.sources.source import LABEL, SampleKind, SampleSource, frame_chunks
from rosenblatt.data.volumes.sources.tables import keep_types
from rosenblatt.errors import TableError, VolumeError

KEY = "__key__"  # column of the keys, as WebDataset names them
MAX_METADATA_BYTES = 1 << 24  # of a member that gives columns
TEXT_SUFFIXES, LABEL_SUFFIXES = ("txt", "text", "caption"), ("cls", "class")


class _Member(NamedTuple):
    name: str
    offset: int
    length: int

    @property
    def key(self) -> str:
        """What its sample's members share: the path up to the first dot of the file's name, as in WebDataset."""
        folder, slash, name = self.name.rpartition("/")
        return folder + slash + name.partition(".")[0]

    @property
    def suffix(self) -> str:
        """What follows the key, in lower case without the dot."""
        return self.name[len(self.key) + 1 :].lower()


@dataclass
class _Samples:
    """The samples of tar archives, while these are read."""

    kind: SampleKind | None = None  # that of the first member which is an image or a sound
    rows: list[dict[str, Any]] = field(default_factory=list)
    files: list[tuple[Any, ...]] = field(default_factory=list)  # `FILE_SCHEMA`
    names: list[str] = field(default_factory=list)  # of the members that give the bytes
    shards: list[str] = field(default_factory=list)  # names of the archives, without their suffix
    unused: dict[str, int] = field(default_factory=dict)  # members that give nothing, by suffix

    def add(self, members: Sequence[_Member], path: Path, file: BinaryIO, state: tuple[int, ...]) -> None:
        """Add the sample of members of one key."""
        media = [member for member in members if self._is_medium(member)]
        if media and self.kind is None and not self.rows:
            self.kind = _media_kind(media[0])
        if bool(media) != (self.kind is not None):
            raise VolumeError(
                f"{members[0].key!r} in {str(path)!r} has {'an' if media else 'no'} image or sound, unlike the samples "
                "before it. Pack those with and without as archives of their own."
            )
        row = dict[str, Any]()
        for member in members:
            if member in media[:1]:
                self.files.append((str(path.absolute()), member.offset, member.length, *state))
                self.names.append(member.name)
            elif (columns := _columns(member, file, path)) is not None:
                row |= columns
            else:
                self.unused[member.suffix] = self.unused.get(member.suffix, 0) + 1
        self.rows.append(row | {KEY: members[0].key})
        self.shards.append(path.stem)

    def _is_medium(self, member: _Member) -> bool:
        kind = _media_kind(member)
        return kind is not None and self.kind in (None, kind)


def open_tars(paths: Sequence[Path], location: str, id_column: str | None, notes: list[str]) -> SampleSource:
    """The samples of tar archives in order, identified by their keys unless a column is given.

    Raises:
        VolumeError: if there are none, or they cannot be added.
        TableError: if an archive is damaged or compressed.
    """
    samples = _Samples()
    for path in paths:
        with _open(path) as file:
            state = file_state(os.fstat(file.fileno()))
            for members in _grouped(path, file, notes):
                samples.add(members, path, file, state)
    if not samples.rows:
        raise VolumeError(f"{location!r} holds no samples. Check the archive.")
    if samples.unused:
        counts = ", ".join(f"{n:,} .{suffix}" for suffix, n in sorted(samples.unused.items()))
        notes.append(f"members that give no column left out: {counts}")
    kind: SampleKind = samples.kind or "table"
    frame = keep_types(_unique_ids(rows_frame(samples.rows), samples.shards, location, notes), notes)
    inspected, has_bytes = INSPECTED[kind], samples.kind is not None
    ids, metadata, origin = identify_files(frame[KEY], frame.drop(KEY), id_column, notes)
    reserved = (*RESERVED_COLUMNS, *inspected) if has_bytes else (ID,)
    metadata = metadata.rename(free_names(metadata.columns, reserved, notes))
    frame = metadata.insert_column(0, ids)
    contents = FileContents(
        pl.DataFrame(samples.files, FILE_SCHEMA, orient="row"), pl.Series(samples.names, dtype=pl.String)
    )
    return SampleSource(
        location=location, kind=kind, columns=pl.Schema(dict(frame.schema) | inspected), id_origin=origin,
        n_samples=frame.height, chunks=frame_chunks(frame, contents if has_bytes else None), inspect=INSPECTIONS[kind],
        target=LABEL if LABEL in frame.columns else "", notes=tuple(notes), format=TableFormat(is_typed=True),
    )  # fmt: skip


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """Open an archive, and raise errors of the operating system and of damage as TableError."""
    try:
        with path.open("rb") as file:
            if file.read(6).startswith(tuple(DECOMPRESSORS)):
                raise TableError(
                    f"{str(path)!r} is a compressed tar archive. Decompress it, so that samples are read in place."
                )
            file.seek(0)
            yield file
    except (OSError, tarfile.TarError) as error:
        raise TableError(f"{str(path)!r} cannot be read: {error}. The archive may be damaged.") from error


def _grouped(path: Path, file: BinaryIO, notes: list[str]) -> Iterator[list[_Member]]:
    """The members of each sample: consecutive files of one key."""
    size, others, group = os.fstat(file.fileno()).st_size, list[str](), list[_Member]()
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isreg() or is_hidden(info.name.rpartition("/")[2]):
                others.append(info.name)
                continue
            check_member_names([info.name], str(path))
            if info.sparse is not None or info.offset_data + info.size > size:
                raise tarfile.ReadError(f"{info.name!r} is {'sparse' if info.sparse is not None else 'cut off'}")
            member = _Member(unicodedata.normalize("NFC", info.name), info.offset_data, info.size)
            if group and group[0].key != member.key:
                yield group
                group = []
            group.append(member)
    if group:
        yield group
    notes += [count_names(others, f"hidden files, links or devices in {path.name}")] if others else []


def _media_kind(member: _Member) -> SampleKind | None:
    """Whether a member is an image or a sound, by its name."""
    suffix = f".{member.suffix.rpartition('.')[2]}"
    return next((kind for kind, suffixes in KIND_SUFFIXES.items() if suffix in suffixes), None)


def _columns(member: _Member, file: BinaryIO, path: Path) -> dict[str, Any] | None:
    """The columns that a member gives; None if it is not text."""
    if member.suffix not in (*TEXT_SUFFIXES, *LABEL_SUFFIXES, "json"):
        return None
    if member.length > MAX_METADATA_BYTES:
        raise VolumeError(f"{member.name!r} in {str(path)!r} has {member.length:,} bytes, too many for a column.")
    text = decode_text(os.pread(file.fileno(), member.length, member.offset))
    if member.suffix in LABEL_SUFFIXES:
        label = text.strip()
        return {LABEL: int(label) if re.fullmatch(r"-?(0|[1-9]\d{0,17})", label) else label}
    if member.suffix != "json":
        return {TEXT if member.suffix == "txt" else member.suffix: text}
    try:
        document = json.loads(text)
    except ValueError as error:
        raise VolumeError(f"{member.name!r} in {str(path)!r} is not JSON: {error}. Correct it.") from error
    return document if isinstance(document, dict) else {"json": document}


def _unique_ids(frame: pl.DataFrame, shards: Sequence[str], location: str, notes: list[str]) -> pl.DataFrame:
    """Samples with unique keys: after the names of their archives if keys repeat in others."""
    if frame[KEY].n_unique() == frame.height:
        return frame
    notes.append("keys repeat in several archives: ids start with the name of the archive")
    frame = frame.with_columns((pl.Series(shards) + "/" + frame[KEY]).alias(KEY))
    repeated = frame[KEY].filter(frame[KEY].is_duplicated())
    if len(repeated):
        raise VolumeError(f"{location!r} holds several samples of one key, {repeated[0]!r}. Rename or remove them.")
    return frame
