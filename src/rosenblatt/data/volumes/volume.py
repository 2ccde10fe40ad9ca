"""A version of a volume, opened: its metadata, its samples, and the part of it that a query selects."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from rosenblatt.data.volumes.columns import BYTES_COLUMNS, KINDS_WITH_BYTES, LENGTH
from rosenblatt.data.volumes.locations import LATEST, VolumeAddress, parse_address, unknown_volume_error
from rosenblatt.data.volumes.requirements import require_torch, require_volumes
from rosenblatt.data.volumes.storage.cache import MachineCache, machine_cache
from rosenblatt.data.volumes.storage.log import Commit, DataFile, LogVersion, VolumeLog
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.tags import read_tag
from rosenblatt.errors import DamagedDataError, Notify, VolumeError, format_list

BATCH_SIZE = 64  # samples of a batch, by default

if TYPE_CHECKING:
    from rosenblatt.data.volumes.query.language import Query
    from rosenblatt.data.volumes.query.selection import SampleSelection
    from rosenblatt.data.volumes.streaming.batches import Batches, Decode
    from rosenblatt.data.volumes.streaming.files import SampleAccess, StreamSource
    from rosenblatt.data.volumes.streaming.torch import BatchDataset, SampleDataset


def volume(name: str | Path) -> Volume:
    """Open a version of a volume.

        photos = rosenblatt.volume("photos@2")
        cats = photos.query("label = 'cat' @split=train")
        for batch in cats.batches(64, seed=7):
            ...

    Args:
        name: such as "photos" (the latest version), "photos@2", "photos@release" or "s3://bucket/volumes/photos@2".

    Raises:
        VolumeError: if there is no such volume or version.
        DamagedDataError: if the version is not what was committed.
        StorageError: if its root cannot be read.
    """
    return open_volume(parse_address(str(name) if isinstance(name, Path) else name))


def open_volume(address: VolumeAddress) -> Volume:
    """Open the version of a volume that an address means. Raises as `volume` does."""
    require_volumes()
    if not address.exists:
        raise unknown_volume_error(address)
    log = VolumeLog(address.objects, address.name)
    if address.version == LATEST:
        version = log.open()
    elif address.version.isdecimal():
        version = log.open(int(address.version))
    else:
        tag = read_tag(address.objects, address.name, address.version)
        version = log.open(tag.version)
        if version.commit.root != tag.root:
            raise DamagedDataError(
                f"The tag {address.version!r} of {address.name!r} names other content than version {tag.version}: the "
                "log was rewritten. Restore it, or set the tag again."
            )
    return Volume(address, version)


class Volume:
    """A version of a volume, or the samples of it that a query selects.

    Made by `rosenblatt.volume`.
    """

    def __init__(
        self,
        address: VolumeAddress,
        log_version: LogVersion,
        selection: SampleSelection | None = None,
        query_text: str = "",
    ) -> None:
        self.address, self.log_version, self.selection, self.query_text = address, log_version, selection, query_text

    def __repr__(self) -> str:
        return f"<Volume {self.name}: {len(self):,} samples ({self.kind})>"

    def __len__(self) -> int:
        """The number of samples."""
        return int(self.file_sizes.sum())

    @cached_property
    def file_sizes(self) -> np.ndarray:
        """The number of samples of each metadata file, (files,) int64."""
        if self.selection:
            return np.array([len(rows) for rows in self.selection.rows], np.int64)
        return np.array([file.rows for file in self.data_files], np.int64)

    def query(self, text: str, notify: Notify = warnings.warn) -> Volume:
        """Select samples by a query, such as "label = 'cat' and width > 200 @split=train @sample=0.1 @seed=7".

        Args:
            text: see docs/data.md.
            notify: receives what the data decided, such as that a column `split` takes the place of @split.

        Raises:
            QueryError: if the query is invalid; the message points at the place.
            VolumeError: if samples were selected already.
        """
        from rosenblatt.data.volumes.query.language import parse_query
        from rosenblatt.data.volumes.query.selection import select

        if self.selection:
            raise VolumeError(f"{self.name} is queried already. Join both queries by `and`.")
        parsed = parse_query(text)
        opened = self.find_version(parsed)
        files, has_row_hashes = opened.log_version.files, opened.commit.id_origin == "generated"
        selection = select(parsed, opened.schema, files, opened.read_whole_file, has_row_hashes=has_row_hashes)
        for note in selection.notes:
            notify(note)
        return Volume(opened.address, opened.log_version, selection, text)

    def find_version(self, query: Query) -> Volume:
        """The version that a query names by @version, or else this one.

        Raises:
            QueryError: if this version was named, and the query names another one.
            VolumeError: if there is no such version.
        """
        if query.version is None:
            return self
        opened = open_volume(replace(self.address, version=str(query.version)))
        if opened.version != self.version and self.address.version != LATEST:
            raise query.places["version"].error(
                f"Expected no @version, because {self.name} is a version already, but got {query.version!r}"
            )
        return opened

    def selected_rows(self, file: int) -> np.ndarray:
        """The numbers of the selected rows of a metadata file, in order."""
        return self.selection.rows[file] if self.selection else np.arange(self.data_files[file].rows)

    @property
    def volume_name(self) -> str:
        """The name of the volume, without version."""
        return self.address.name

    @property
    def version(self) -> int:
        """The number of the version."""
        return self.commit.version

    @property
    def name(self) -> str:
        """Name and version, such as "photos@2"."""
        return f"{self.volume_name}@{self.version}"

    @property
    def uri(self) -> str:
        """Root, name and version, without credentials: what names the version anywhere."""
        return f"{self.objects.address}/{self.name}"

    @property
    def root(self) -> str:
        """The hash of the version's content."""
        return self.commit.root

    @property
    def kind(self) -> str:
        """What the samples are: table, images, audio, texts, sequences or files."""
        return self.commit.kind

    @property
    def has_bytes(self) -> bool:
        """Whether samples have bytes beside their metadata."""
        return self.kind in KINDS_WITH_BYTES

    @property
    def n_bytes(self) -> int:
        """The size of the selected samples' bytes; 0 if they have none."""
        if not (self.selection and self.has_bytes):
            return self.commit.n_bytes
        return int(self.metadata([LENGTH])[LENGTH].sum())

    @property
    def metadata_columns(self) -> list[str]:
        """The columns without those that say where the samples' bytes are."""
        return [name for name in self.schema if not (self.has_bytes and name in BYTES_COLUMNS)]

    @property
    def commit(self) -> Commit:
        """What the log says of the version."""
        return self.log_version.commit

    @property
    def schema(self) -> pl.Schema:
        """The columns of the metadata."""
        return self.log_version.schema

    @property
    def data_files(self) -> list[DataFile]:
        """The metadata files, in the order of the volume."""
        return self.log_version.data_files

    @property
    def objects(self) -> Objects:
        """The objects of the root."""
        return self.address.objects

    @cached_property
    def cache(self) -> MachineCache | None:
        """The cache of this machine; None for a folder, whose files are read in place."""
        return None if self.objects.local_path(self.volume_name) else machine_cache()

    @cached_property
    def _files(self) -> MetadataFiles:
        return MetadataFiles(self.objects, self.volume_name, self.cache)

    def metadata(self, columns: Sequence[str] | None = None, *, files: Sequence[int] | None = None) -> pl.DataFrame:
        """Read the metadata of samples, a row each, in the order of the volume.

        Args:
            columns: names of columns; all by default.
            files: positions of metadata files; all by default.

        Raises:
            VolumeError: if there is no such column.
            DamagedDataError: if a file is missing or damaged.
        """
        names = list(self.schema) if columns is None else list(dict.fromkeys(columns))
        if isinstance(columns, str) or not set(names) <= set(self.schema):
            unknown = repr(columns) if isinstance(columns, str) else format_list(set(names) - set(self.schema))
            raise VolumeError(
                f"Expected a list of columns of {self.name}, {format_list(self.schema)}, but got {unknown}."
            )
        positions = range(len(self.data_files)) if files is None else files
        frames = [self.read_file(position, names) for position in positions if self.file_sizes[position]]
        return pl.concat(frames) if frames else pl.DataFrame(schema={name: self.schema[name] for name in names})

    def to_polars(self) -> pl.DataFrame:
        """Read all metadata as a Polars frame. Raises DamagedDataError."""
        return self.metadata()

    def read_file(self, position: int, columns: Sequence[str]) -> pl.DataFrame:
        """Read columns of the selected samples of one metadata file. Raises DamagedDataError."""
        frame = self.read_whole_file(position, columns)
        return frame[self.selection.rows[position]] if self.selection else frame

    def read_whole_file(self, position: int, columns: Sequence[str]) -> pl.DataFrame:
        """Read columns of all samples of one metadata file, selected or not. Raises DamagedDataError."""
        return self._files.read(self.data_files[position], self.schema, columns)

    def batches(self, batch_size: int = BATCH_SIZE, **options: Any) -> Batches:
        """Iterate over the selected samples in batches, shuffled; the data streams in while you train.

            for batch in rosenblatt.volume("photos@2").batches(64, seed=7):
                batch.frame["label"], batch.samples

        Args:
            batch_size: number of samples of a batch; with several ranks, of all their batches together.
            options: see `streaming.batches.BatchOptions`: seed, shuffle, decode, rank, n_ranks and others.

        Raises:
            VolumeError: if an option is invalid.
            StorageError: if the cache of this machine is too small.
        """
        from rosenblatt.data.volumes.streaming.batches import Batches, BatchOptions

        return Batches(self._sample_source, BatchOptions(batch_size=batch_size, **options))

    def torch_dataset(
        self,
        batch_size: int = BATCH_SIZE,
        *,
        decode: Decode | None = None,
        transform: Decode | None = None,
        **options: Any,
    ) -> BatchDataset:
        """Stream the selected samples as batches for PyTorch; pass `batch_size=None` to the DataLoader.

            dataset = rosenblatt.volume("photos@2").torch_dataset(64, seed=7)
            for epoch in range(10):
                dataset.set_epoch(epoch)
                for batch in DataLoader(dataset, batch_size=None):
                    batch["sample"], batch["label"]

        Args:
            batch_size: number of samples of a batch; with several ranks, of all their batches together.
            decode: makes a value of the bytes of a sample; by default images become tensors, and others stay bytes.
            transform: applied to each decoded value, in the threads that decode.
            options: see `streaming.batches.BatchOptions`. Ranks come from `torch.distributed` or `torchrun`.

        Raises:
            VolumeError: if an option is invalid, or PyTorch is not installed.
        """
        require_torch()
        from rosenblatt.data.volumes.streaming.batches import BatchOptions
        from rosenblatt.data.volumes.streaming.torch import decode_image, torch_dataset

        decode = decode_image if decode is None and self.kind == "images" else decode
        settings = BatchOptions(batch_size=batch_size, **options)
        return torch_dataset(self._sample_source, settings, decode=decode, transform=transform)

    def torch_samples(self, *, decode: Decode | None = None, transform: Decode | None = None) -> SampleDataset:
        """Random access to the selected samples for PyTorch, decoded as by `torch_dataset`."""
        require_torch()
        from rosenblatt.data.volumes.streaming.torch import SampleDataset, decode_image

        decode = decode_image if decode is None and self.kind == "images" else decode
        return SampleDataset(self._sample_source, decode, transform)

    @cached_property
    def samples(self) -> SampleAccess:
        """Random access to the selected samples by position: `samples.content(i)`, `samples.row(i)`."""
        from rosenblatt.data.volumes.streaming.files import SampleAccess

        return SampleAccess(self._sample_source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The metadata of a sample by its position, and its bytes as "bytes" if it has some.

        Raises:
            IndexError: if there is no such sample.
            DamagedDataError: if it is damaged.
        """
        try:
            index = operator.index(index)
        except TypeError:
            kind = type(index).__name__
            raise TypeError(
                f"samples are numbered by integers, but got {kind}; samples.take(...) reads several"
            ) from None
        row = self.samples.row(index)
        return row | {"bytes": self.samples.content(index)} if self.has_bytes else row

    @property
    def _sample_source(self) -> StreamSource:
        from rosenblatt.data.volumes.streaming.files import StreamSource
        from rosenblatt.data.volumes.streaming.reader import PackReader

        return StreamSource(
            name=self.name,
            version=self.root,
            n_rows=[file.rows for file in self.data_files],
            n_bytes=[file.size for file in self.data_files],
            read_metadata=self.read_whole_file,
            columns=self.metadata_columns,
            reader=PackReader(self.objects, self.cache, self.name) if self.has_bytes else None,
            selection=self.selection.rows if self.selection else None,
        )
