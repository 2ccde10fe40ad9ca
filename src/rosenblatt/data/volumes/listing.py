"""What commands show of volumes and versions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import polars as pl

from rosenblatt.data.volumes.columns import ID
from rosenblatt.data.volumes.locations import (
    VolumeAddress,
    default_root,
    list_locations,
    list_volumes,
    parse_address,
    unknown_volume_error,
)
from rosenblatt.data.volumes.storage.delta_types import is_known_to_python
from rosenblatt.data.volumes.storage.log import Commit, VolumeLog
from rosenblatt.data.volumes.tags import list_tags
from rosenblatt.data.volumes.volume import Volume, volume
from rosenblatt.errors import Notify, StorageError, VolumeError

MAX_VALUES = 20  # of a column of classes


@dataclass(frozen=True)
class ListedVolume:
    """A volume and its latest version."""

    name: str
    root: str
    commit: Commit


@dataclass(frozen=True)
class ListedVersion:
    """A version and its tags."""

    commit: Commit
    tags: list[str]


@dataclass(frozen=True)
class ColumnSummary:
    """What is known of a column of a version."""

    name: str
    type: str
    missing: int
    unique: int
    values: dict[str, int]  # number of samples of each value, if there are few
    minimum: str = ""
    maximum: str = ""


@dataclass(frozen=True)
class VersionDescription:
    """A version, for people to look at."""

    volume: Volume
    tags: list[str]
    columns: list[ColumnSummary]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serializable data."""
        record = {"volume": self.volume.volume_name, "address": self.volume.uri, "tags": self.tags}
        return record | self.volume.commit.model_dump() | {"columns": [asdict(column) for column in self.columns]}


def list_known_volumes(root: str | None = None, notify: Notify = print) -> list[ListedVolume]:
    """List the volumes of a root; by default of the default one and those of other roots that it knows.

    `notify` is called for those that cannot be read.
    """
    addresses = [VolumeAddress(place, name) for place in [root or default_root()] for name in list_volumes(place)]
    if root is None:
        addresses += [VolumeAddress(place, name) for name, place in list_locations(notify).items()]
    volumes = list[ListedVolume]()
    for address in addresses:
        try:
            log = VolumeLog(address.objects, address.name)
            if version := log.latest():
                volumes.append(ListedVolume(address.name, address.objects.address, log.read_commit(version)))
        except (StorageError, VolumeError) as error:
            notify(str(error))
    return volumes


def version_history(name: str, limit: int) -> list[ListedVersion]:
    """List the versions of a volume, newest first. Raises VolumeError if there is no such volume."""
    address = parse_address(name)
    if not address.exists:
        raise unknown_volume_error(address)
    tags = _tags_by_version(address)
    history = islice(VolumeLog(address.objects, address.name).history(), limit)
    return [ListedVersion(commit, tags.get(commit.version, [])) for commit in history]


def _tags_by_version(address: VolumeAddress) -> dict[int, list[str]]:
    if address.root.startswith("http"):
        return {}
    tags = dict[int, list[str]]()
    for name, tag in list_tags(address.objects, address.name).items():
        tags.setdefault(tag.version, []).append(name)
    return tags


def describe_version(name: str) -> VersionDescription:
    """Describe a version and its columns. Raises VolumeError if there is no such version."""
    opened = volume(name)
    frame = opened.metadata(opened.metadata_columns)
    columns = [_summarize(frame[column]) for column in frame.columns]
    return VersionDescription(opened, _tags_by_version(opened.address).get(opened.version, []), columns)


def _summarize(column: pl.Series) -> ColumnSummary:
    is_opaque = isinstance(column.dtype, pl.List | pl.Struct) or not is_known_to_python(column)
    unique = 0 if is_opaque else column.n_unique()
    values = dict[str, int]()
    if column.name != ID and not is_opaque and unique <= MAX_VALUES:
        counts = column.drop_nulls().value_counts(sort=True)
        values = {str(value): n for value, n in counts.rows()}
    low, high = (None, None) if is_opaque or column.dtype == pl.Boolean else (column.min(), column.max())
    bounds = ["" if value is None else str(value) for value in (low, high)]
    return ColumnSummary(column.name, str(column.dtype), column.null_count(), unique, values, *bounds)
