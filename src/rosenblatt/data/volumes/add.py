"""Add data to a volume: compare a source with the latest version, write what is new, and commit a version."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.data.volumes.columns import BYTES_SCHEMA, ID, KINDS_WITH_BYTES, describe_kind
from rosenblatt.data.volumes.contents import ContentWriter
from rosenblatt.data.volumes.locations import VolumeAddress, list_volumes, parse_address, record_location
from rosenblatt.data.volumes.merge import Merge, Side, VersionChanges, merge_schemas
from rosenblatt.data.volumes.requirements import require_volumes
from rosenblatt.data.volumes.sources.addresses import is_address, local_path
from rosenblatt.data.volumes.sources.folders import is_hidden
from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.data.volumes.sources.source import SampleKind, SampleSource
from rosenblatt.data.volumes.sources.stat_index import StatIndex
from rosenblatt.data.volumes.storage.cache import MachineCache, machine_cache
from rosenblatt.data.volumes.storage.log import (
    LOG_FOLDER,
    Commit,
    LogVersion,
    VolumeLog,
    compute_root,
    current_user,
    new_token,
)
from rosenblatt.data.volumes.storage.markers import check_references, commit_section
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.stored_contents import StoredContents
from rosenblatt.data.volumes.tags import TAG_FOLDER
from rosenblatt.errors import Notify, StorageError, VolumeError, format_list
from rosenblatt.runs.store.locations import public_address

PROGRESS_SAMPLES = 64  # after which progress is shown
ProgressCallback = Callable[[int, int, int], None]  # samples so far, bytes read so far, samples in all


@dataclass(frozen=True)
class AddOptions:
    """How data is added to a volume."""

    to: str | None = None  # root of a new volume
    append: bool = False  # whether samples that the source does not hold stay
    link: bool = False  # whether files stay where they are, and only their hashes are stored
    kind: SampleKind | None = None  # of samples; detected by default
    id_column: str | None = None  # of a table
    sidecar: str | None = None  # table of further columns of files
    message: str = ""
    format: TableFormat = DETECT_FORMAT


@dataclass(frozen=True)
class AddResult:
    """What was added."""

    address: VolumeAddress
    commit: Commit  # the new version, or the latest one if nothing changed
    is_new: bool  # whether a version was committed
    bytes_written: int  # of packs and metadata files
    seconds: float


def add(
    name: str,
    path: str,
    options: AddOptions | None = None,
    notify: Notify = print,
    on_progress: ProgressCallback | None = None,
) -> AddResult:
    """Add a file, folder, archive or bucket to a volume as a new version.

        add("people", "people.csv")

    The new version holds what the source holds: samples with an identity that the volume has already keep their place
    and, if their content did not change, their bytes; samples that the source does not hold are left out, unless
    `options.append` is set. Versions before stay as they are.

    Args:
        name: of the volume, which is created if it does not exist.
        path: the source, see `sources.open.open_samples`.
        options: see `AddOptions`.
        notify: called with what was guessed, converted or left out.
        on_progress: called as samples are read.

    Raises:
        VolumeError, TableError: if the source cannot be used, or holds another kind of samples than the volume.
        ConflictError: if another process committed a version in the meantime.
        StorageError: if the store cannot be written.
    """
    require_volumes()
    started, options = time.time(), options or AddOptions()
    address = _target(name, options.to)
    source = open_samples(
        path, kind=options.kind, id_column=options.id_column, sidecar=options.sidecar, format=options.format
    )
    for note in source.notes:
        notify(note)
    log = VolumeLog(address.objects, address.name)
    base = log.open() if log.latest() else None
    _check_apart(path, address, is_new=base is None)
    if base and base.commit.kind != source.kind:
        kinds = describe_kind(base.commit.kind), describe_kind(source.kind)
        raise VolumeError(f"{name!r} holds {kinds[0]}, but {path!r} holds {kinds[1]}. Add it to another volume.")
    files = MetadataFiles(address.objects, address.name, _metadata_cache(address))
    schema = _next_schema(source, base, files, append=options.append)
    merge = Merge(files, base, schema, has_bytes=source.kind in KINDS_WITH_BYTES, append=options.append)
    reading = _read_samples(source, merge, address, _Progress(source.n_samples, on_progress), options)
    for note in reading.notes:
        notify(note)
    changes = merge.finish()
    if base and not changes.is_change and base.schema == schema:
        return AddResult(address, base.commit, False, 0, time.time() - started)
    commit = _make_commit(source, options, base, changes, compute_root(schema, changes.files), reading.inspected)
    with commit_section(address.objects, notify):
        paths = [f"{address.name}/{file.path}" for file in changes.added]
        packs = files.packs_written if source.kind in KINDS_WITH_BYTES else ()  # of a table: values of its own column
        check_references(address.objects, packs, paths)
        if not base:
            log.create(schema)
        log.commit(commit, None if base and base.schema == schema else schema, changes.added, changes.removed)
    record_location(address.name, address.root, notify)
    return AddResult(address, commit, True, reading.bytes_written + files.bytes_written, time.time() - started)


def _target(name: str, to: str | None) -> VolumeAddress:
    """The volume to add to. Raises VolumeError if its name says a version, or if it is somewhere else already."""
    if "@" in name.rpartition("/")[2]:
        raise VolumeError(f"{name!r} names a version, but versions do not change. Name the volume without @.")
    address = parse_address(name)
    if to is None:
        return address
    target = parse_address(f"{to.rstrip('/')}/{address.name}")
    if address.root != target.root and address.exists:
        raise VolumeError(
            f"{name!r} is in {public_address(address.root)!r} already. Omit --to, or choose another name."
        )
    return target


def _check_apart(path: str, address: VolumeAddress, *, is_new: bool) -> None:
    """Check that files of the user and of volumes are apart. Raises VolumeError."""
    packs = address.objects.local_path("packs")
    if packs is None:
        return
    root = packs.parent.resolve()
    folder, own = root / address.name, (LOG_FOLDER, TAG_FOLDER, "data")
    source = None if is_address(path) else local_path(path).resolve()
    is_folder = source is not None and source.is_dir()
    if source and is_folder and root.is_relative_to(source) and not any(map(is_hidden, root.relative_to(source).parts)):
        raise VolumeError(f"{path!r} holds the root of the volume, {str(root)!r}. Choose another root with --to.")
    if is_new and folder.is_dir() and any(entry.name not in own for entry in folder.iterdir()):
        raise VolumeError(
            f"{str(folder)!r} holds other files. Choose another name for the volume, or a root with --to."
        )


def _next_schema(source: SampleSource, base: LogVersion | None, files: MetadataFiles, *, append: bool) -> pl.Schema:
    """The schema of the next version. Raises VolumeError if what is appended does not suit it."""

    def is_empty(side: Side, name: str) -> bool:
        """Whether a column of a type that does not suit has no value."""
        if side == "source":
            frames = (chunk.frame for chunk in source.chunks())
            return all(name in frame.columns and not frame[name].count() for frame in frames)
        columns = (files.read(file, base.schema, [name]) for file in base.data_files) if base else ()
        return not any(column[name].count() for column in columns)

    return merge_schemas(base.schema if base else None, _version_schema(source), append=append, is_empty=is_empty)


def _version_schema(source: SampleSource) -> pl.Schema:
    if source.kind not in KINDS_WITH_BYTES:
        return source.columns
    return pl.Schema({**source.columns, **BYTES_SCHEMA})


class _Reading(NamedTuple):
    """What came of reading all samples."""

    bytes_written: int = 0
    inspected: tuple[str, ...] = ()  # columns that were computed from the samples' bytes
    notes: tuple[str, ...] = ()


def _read_samples(
    source: SampleSource, merge: Merge, address: VolumeAddress, progress: _Progress, options: AddOptions
) -> _Reading:
    """Read all samples of a source into a merge, and store their bytes."""
    if source.kind not in KINDS_WITH_BYTES:
        for chunk in source.chunks():
            merge.add(chunk.frame, merge.base_rows(chunk.frame[ID]))
            progress.advance(chunk.frame.height)
        return _Reading()
    stored, unreadable = (StoredContents(), []) if options.link else _stored_contents(address)
    index = StatIndex.open(source.location)
    with ContentWriter(address.objects, stored, source.inspect, index, link=options.link) as writer:
        for chunk in source.chunks():
            rows, base_rows = chunk.frame, merge.base_rows(chunk.frame[ID])
            if chunk.contents is not None:
                rows = writer.store(rows, chunk.contents, source.columns, base_rows, progress.read)
            merge.add(rows, base_rows)
            progress.advance(rows.height)
    if unreadable:
        names = format_list(unreadable)
        writer.notes.append(f"volumes that cannot be read, with whose content nothing was compared: {names}")
    return _Reading(writer.bytes_written, writer.inspected, tuple(writer.notes))


def _stored_contents(address: VolumeAddress) -> tuple[StoredContents, list[str]]:
    """Contents that packs of the root hold: of all versions of the volume, and of the latest versions of others.

    Also returns the names of others that cannot be read.
    """
    stored, unreadable, cache = StoredContents(), list[str](), _metadata_cache(address)
    for name in list_volumes(address.root):
        log, files = VolumeLog(address.objects, name), MetadataFiles(address.objects, name, cache)
        is_own = name == address.name
        try:
            if log.latest() and log.read_commit(log.latest()).kind in KINDS_WITH_BYTES:
                stored.add_files(files, log.every_file() if is_own else log.open().data_files)
        except VolumeError:
            if is_own:
                raise
            unreadable.append(name)
    stored.optimize()
    return stored, unreadable


def _metadata_cache(address: VolumeAddress) -> MachineCache | None:
    """What keeps copies of the metadata files of a bucket, which are read several times; None if it cannot be used."""
    with suppress(StorageError):
        return None if address.objects.local_path(address.name) else machine_cache()
    return None


def _make_commit(
    source: SampleSource,
    options: AddOptions,
    base: LogVersion | None,
    changes: VersionChanges,
    root: str,
    inspected: tuple[str, ...],
) -> Commit:
    return Commit(
        version=base.commit.version + 1 if base else 1,
        root=root,
        parent=base.commit.root if base else None,
        token=new_token(),
        who=current_user(),
        message=options.message,
        created=time.time(),
        kind=source.kind,
        id_origin=source.id_origin,
        is_typed=source.format.is_typed,
        target=source.target,
        texts=source.texts,
        inspected=inspected,
        source=public_address(source.location),
        n_samples=changes.n_samples,
        n_bytes=changes.n_bytes,
        added=changes.n_added,
        changed=changes.n_changed,
        removed=changes.n_removed,
    )


class _Progress:
    """Passes on how many samples and bytes were read."""

    def __init__(self, n_samples: int, callback: ProgressCallback | None) -> None:
        self._n_samples, self._callback = n_samples, callback
        self._done = self._read = self._bytes = 0

    def read(self, n_bytes: int) -> None:
        """Count the bytes of a sample."""
        self._read += 1
        self._bytes += n_bytes
        if self._callback and self._read % PROGRESS_SAMPLES == 0:
            self._callback(self._done, self._bytes, self._n_samples)

    def advance(self, n_samples: int) -> None:
        """Count samples that are finished."""
        self._done += n_samples
        if self._callback:
            self._callback(self._done, self._bytes, self._n_samples)
