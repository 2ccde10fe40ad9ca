"""The wheel that is sent to machines holds what runs here, with the versions that are installed here."""

from __future__ import annotations

import io
import zipfile
from importlib import metadata

from rosenblatt.cluster import wheel


def test_a_wheel_holds_all_files_and_is_the_same_each_time():
    name, data = wheel.build_wheel()
    assert wheel.build_wheel() == (name, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        record = archive.read(names[-1]).decode()
    assert "rosenblatt/cluster/wheel.py" in names
    assert "rosenblatt/py.typed" in names
    assert not [name for name in names if "__pycache__" in name]
    assert len(record.splitlines()) == len(names)
    assert name == f"rosenblatt-{metadata.version('rosenblatt')}-py3-none-any.whl"


def test_requirements_are_pinned_to_what_is_installed_without_local_labels():
    pins, labelled = wheel.pinned_requirements()
    assert f"ray=={metadata.version('ray')}" in pins
    assert f"numpy=={metadata.version('numpy')}" in pins
    assert not [pin for pin in pins if "+" in pin]
    assert all("==" in pin for pin in pins)
    assert "pytest" not in {pin.split("==")[0] for pin in pins}
    assert set(labelled) <= {pin.split("==")[0] for pin in pins}
