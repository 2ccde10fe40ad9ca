"""Make a wheel of this package as it is installed, from a wheel or from a checkout, without build tools or an index."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from rosenblatt.errors import ClusterError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "rosenblatt"
CLUSTER_PACKAGES = ("ray[default]", "cryptography", "cloudpickle")
NODE_EXTRAS = ("torch", "images", "text", "gpu", "volumes")  # those that training uses
_EPOCH = (2020, 1, 1, 0, 0, 0)  # date of all files, so that equal sources make an equal wheel
_WHEEL = "Wheel-Version: 1.0\nGenerator: rosenblatt\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def package_distribution() -> metadata.Distribution:
    """Return what is installed of this package. Raises ClusterError if only its sources are there."""
    try:
        return metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise ClusterError(
            f"{PACKAGE} is not installed, so its requirements are not known. Install it with pip, also if you work in "
            "a checkout: pip install --editable '.[cluster]'"
        ) from None


@cache
def package_files() -> dict[str, bytes]:
    """All files of the package that belong into a wheel, by their names in it; read once."""
    root = Path(__file__).parents[1]
    names = {path.relative_to(root.parent).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if "__pycache__" not in name and path.suffix not in {".pyc", ".nbi", ".nbc"}
    }


@cache
def sources_digest() -> str:
    """Hash of all files of the package: equal on two machines that run the same code."""
    digest = hashlib.sha256()
    for name, data in package_files().items():
        digest.update(f"{name}\0".encode() + hashlib.sha256(data).digest())
    return digest.hexdigest()


@cache
def build_wheel() -> tuple[str, bytes]:
    """Build the wheel; returns its file name and its bytes, which are the same for the same sources."""
    distribution = package_distribution()
    info = f"{PACKAGE}-{distribution.version}.dist-info"
    content = dict(package_files())
    content[f"{info}/METADATA"] = (distribution.read_text("METADATA") or "").encode()
    content[f"{info}/WHEEL"] = _WHEEL.encode()
    content[f"{info}/entry_points.txt"] = (distribution.read_text("entry_points.txt") or "").encode()
    record = "".join(f"{name},{_record_hash(data)},{len(data)}\n" for name, data in content.items())
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return f"{PACKAGE}-{distribution.version}-py3-none-any.whl", file.getvalue()


def _record_hash(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


@cache
def pinned_requirements() -> tuple[list[str], list[str]]:
    """The exact versions of all that a node needs, as installed here.

    Extras that training uses are included if all of their requirements are installed here. Local labels of versions,
    such as the +cpu of PyTorch, are left out, since package indexes do not have them.

    Returns:
        Requirements such as "numpy==2.4.6", sorted; and names of packages whose label was left out.

    Raises:
        ClusterError: if a requirement of the cluster extra is not installed.
    """
    versions: dict[str, str] = {}
    for requirement in node_requirements():
        _add_requirement(requirement, versions)
    labelled = sorted(name for name, version in versions.items() if "+" in version)
    return sorted(f"{name}=={version.split('+')[0]}" for name, version in versions.items()), labelled


@cache
def node_requirements() -> list[Requirement]:
    """What a node requires directly. Raises ClusterError if a requirement of the cluster extra is not installed."""
    from packaging.requirements import Requirement

    requirements = [Requirement(text) for text in (*CLUSTER_PACKAGES, *(package_distribution().requires or ()))]
    chosen = []
    for extra in ("", *NODE_EXTRAS):
        group = [item for item in requirements if _applies(item, extra) and (not extra or not _applies(item, ""))]
        try:
            for requirement in group:
                _add_requirement(requirement, {})
        except metadata.PackageNotFoundError as error:
            if not extra:
                raise ClusterError(f"{error.name} is not installed. Run: pip install 'rosenblatt[cluster]'") from None
            continue
        chosen += group
    return chosen


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _add_requirement(requirement: Requirement, versions: dict[str, str]) -> None:
    """Add the version of a package, and of what it requires. Raises PackageNotFoundError."""
    from packaging.requirements import Requirement

    name = canonical_name(requirement.name)
    key = f"{name}[{','.join(sorted(requirement.extras))}]" if requirement.extras else name
    if key in versions or name == PACKAGE:
        return
    distribution = metadata.distribution(name)
    versions[name] = versions[key] = distribution.version
    for text in distribution.requires or ():
        child = Requirement(text)
        if any(_applies(child, extra) for extra in ("", *requirement.extras)):
            _add_requirement(child, versions)


def canonical_name(name: str) -> str:
    """The name of a package as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()
