"""Roots on real servers for tests of volumes, with a proxy between that injects faults."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rosenblatt.data.volumes.requirements import PACKAGES
from tests.data.volumes.faulty_proxy import FaultyProxy
from tests.data.volumes.servers import BUCKET, azure_settings, run_azurite, s3_settings


@pytest.fixture(autouse=True)
def volume_packages() -> None:
    """Skip all tests of volumes where the packages of the extra are missing."""
    for name in PACKAGES:
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'rosenblatt[volumes]'")


@pytest.fixture(scope="session")
def azure_server() -> Iterator[str]:
    """The address of a server of Azure Blob Storage."""
    with run_azurite() as address:
        yield address


@pytest.fixture
def s3_proxy(s3_server, monkeypatch) -> Iterator[FaultyProxy]:
    """A proxy in front of the S3 server, which `s3://bucket/...` leads to."""
    with FaultyProxy(s3_server) as proxy:
        for name, value in s3_settings(proxy.address).items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def azure_proxy(azure_server, monkeypatch) -> Iterator[FaultyProxy]:
    """A proxy in front of the Azure server, which `az://bucket/...` leads to."""
    with FaultyProxy(azure_server) as proxy:
        for name, value in azure_settings(proxy.address).items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def s3_root(s3_proxy) -> str:
    """The address of an empty root on S3, behind `s3_proxy`."""
    return f"s3://{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture
def azure_root(azure_proxy) -> str:
    """The address of an empty root on Azure, behind `azure_proxy`."""
    return f"az://{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture(params=["folder", "s3", "azure"])
def root(request, tmp_path) -> str:
    """The address of an empty root of each kind that can be written."""
    if request.param == "folder":
        return str(tmp_path / "volumes")
    return request.getfixturevalue(f"{request.param}_root")


@pytest.fixture
def make_photos():
    """Returns a function that writes small random images in a folder for each label."""

    def make(folder: Path, counts: dict[str, int], side: int = 8) -> Path:
        for label, n in counts.items():
            rng = np.random.default_rng(list(label.encode()))
            (folder / label).mkdir(parents=True)
            for k in range(n):
                pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / label / f"{k}.png")
        return folder

    return make
