"""Names of volumes and versions, and the roots in which volumes are.

    photos                          the latest version, in the default root
    photos@2, photos@release        a version by number or tag
    s3://bucket/volumes/photos@2    a volume of another root

The default root is the folder `volumes` of the nearest `.rosenblatt/`, or what ROSENBLATT_VOLUMES names.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rosenblatt.data.volumes.storage.objects import Objects, check_address, open_objects
from rosenblatt.errors import Notify, RosenblattError, StorageError, VolumeError, did_you_mean
from rosenblatt.runs.store.locations import STORE_FOLDER, public_address
from rosenblatt.runs.store.permissions import check_trust

LOCATIONS_FOLDER = "locations"  # of the default root: where volumes of other roots are
RESERVED_NAMES = ("erased", "gc", LOCATIONS_FOLDER, "packs", "probes", "quarantine")  # folders of a root
LATEST = "latest"
MAX_NAME_CHARACTERS = 100


class _Location(BaseModel):
    """Where a volume is that is in another root than the default one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    root: str


@dataclass(frozen=True)
class VolumeAddress:
    """A volume, and the version of it that is meant."""

    root: str  # an address that `open_objects` takes
    name: str
    version: str = LATEST  # a number, a tag, or "latest"

    @property
    def objects(self) -> Objects:
        """The objects of the root."""
        return open_objects(self.root)

    @property
    def exists(self) -> bool:
        """Whether the volume has a log."""
        return self.objects.info(f"{self.name}/_delta_log/{0:020}.json") is not None


def default_root() -> str:
    """Return the root in which volumes are by default."""
    if named := os.environ.get("ROSENBLATT_VOLUMES"):
        return named if "://" in named else str(Path(named).expanduser().absolute())
    start = Path.cwd()
    root = next((folder for folder in (start, *start.parents) if (folder / STORE_FOLDER).is_dir()), start)
    check_trust(root / STORE_FOLDER, root / STORE_FOLDER / "volumes")
    return str(root / STORE_FOLDER / "volumes")


def parse_address(text: str) -> VolumeAddress:
    """Parse the name of a volume, with or without its root and version.

    Raises:
        VolumeError: if it is no name of a volume.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected the name of a volume, such as photos@2, but got {text!r}")
    if text.startswith(("http://", "https://")):
        open_objects(text)  # refuses addresses with a query
    root, slash, last = text.rpartition("/")
    check_address(root)
    name, at, version = last.partition("@")
    name = unicodedata.normalize("NFC", name)
    check_name(name, "volume")
    if at and not version:
        raise VolumeError(f"{text!r} names no version after @. Give its number or tag, such as {name}@1.")
    version = version or LATEST
    if slash:
        return VolumeAddress(root if "://" in root else str(Path(root).expanduser().absolute()), name, version)
    return VolumeAddress(_find_root(name), name, version)


def _find_root(name: str) -> str:
    """The root of a volume that is named without one: recorded when data was first added, or the default root."""
    try:
        return _read_location(open_objects(default_root()), name)
    except FileNotFoundError:
        return default_root()


def _read_location(objects: Objects, name: str) -> str:
    path = f"{LOCATIONS_FOLDER}/{name}"
    try:
        return _Location.model_validate_json(objects.read(path)).root
    except ValidationError as error:
        raise VolumeError(
            f"{objects.address}/{path}, which says where the volume {name!r} is, is damaged. Delete it, and name the "
            "volume with its root."
        ) from error


def record_location(name: str, root: str, notify: Notify) -> None:
    """Remember in the default root where a volume is, so that its name is enough, unless that names another volume.

    Raises StorageError.
    """
    try:
        named = parse_address(name)
    except VolumeError:  # the record is damaged
        named = None
    if named and public_address(named.root) == public_address(root):
        return
    if named and _may_exist(named):
        other = public_address(named.root)
        notify(f"{name!r} alone names the volume in {other!r}; name this one '{public_address(root)}/{name}'")
    else:
        record = _Location(root=public_address(root)).model_dump_json().encode()
        open_objects(default_root()).put(f"{LOCATIONS_FOLDER}/{name}", record)


def _may_exist(address: VolumeAddress) -> bool:
    """Whether there is a volume, or its root cannot be read."""
    try:
        return address.exists
    except StorageError:
        return True


def check_name(name: str, noun: str) -> None:
    """Check the name of a volume or tag: letters, digits, dots, dashes and underscores. Raises VolumeError."""
    is_plain = all(character.isalnum() or character in "._-" for character in name)
    if not name or not is_plain or name[0] in ".-_" or len(name) > MAX_NAME_CHARACTERS:
        raise VolumeError(
            f"{name!r} is no name of a {noun}. Use letters, digits, dots, dashes and underscores, beginning with a "
            f"letter or digit, up to {MAX_NAME_CHARACTERS} characters."
        )
    if noun == "volume" and name in RESERVED_NAMES:
        raise VolumeError(f"{name!r} is the name of a folder of each root. Choose another name for the volume.")
    if noun == "tag" and (name.isdecimal() or name == LATEST):
        raise VolumeError(
            f"{name!r} cannot be a tag: numbers and {LATEST!r} name versions already. Choose another name."
        )


def is_volume(text: str) -> bool:
    """Whether a source of data is a volume, and not a file or folder of this name."""
    last = text.rpartition("/")[2]
    if _is_path(text) or ("://" in text and "@" not in last):
        return False
    if "@" in last:
        return True
    try:
        return parse_address(text).exists
    except RosenblattError:  # then the name is that of a file that is missing
        return False


def _is_path(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # such as a name that is too long
        return False


def unknown_volume_error(address: VolumeAddress) -> VolumeError:
    """The error of a volume that does not exist, with the most similar name of its root."""
    try:
        names = [name for name in list_volumes(address.root) if name != address.name]
    except StorageError:  # a web server, which lists no files
        names = []
    file = f", and no file {address.name}@{address.version}" if address.version != LATEST else ""
    return VolumeError(
        f"There is no volume {address.name!r} in {public_address(address.root)!r}{file}."
        f"{did_you_mean(address.name, names)} `rosenblatt data list` shows all; `rosenblatt data add` makes one."
    )


def list_volumes(root: str) -> list[str]:
    """Return the names of the volumes of a root. Raises StorageError, as for a web server, which lists no files."""
    names = open_objects(root).folders()
    return [name for name in names if name not in RESERVED_NAMES and VolumeAddress(root, name).exists]


def list_locations(notify: Notify) -> dict[str, str]:
    """Return the roots of volumes that are not in the default one; `notify` is called for damaged records."""
    objects, locations = open_objects(default_root()), dict[str, str]()
    for name in [info.path.rpartition("/")[2] for info in objects.list(LOCATIONS_FOLDER)]:
        try:
            locations[name] = _read_location(objects, name)
        except VolumeError as error:
            notify(str(error))
    return locations
