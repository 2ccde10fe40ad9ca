"""The Python examples of docs/data.md run on a volume of photos."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rosenblatt.data.volumes.add import add

pytest.importorskip("deltalake", reason="deltalake is not installed: pip install 'rosenblatt[volumes]'")
DOCUMENT = Path(__file__).parents[3] / "docs" / "data.md"


@pytest.mark.slow
@pytest.mark.torch
def test_the_python_examples_run(tmp_path, monkeypatch, make_photos):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSENBLATT_VOLUMES", str(tmp_path / "volumes"))
    for n in (6, 8):
        add("photos", str(make_photos(tmp_path / f"photos{n}", {"cat": n, "dog": n}, side=160)), notify=lambda _: None)
    code = "".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)).replace("range(10)", "range(2)")
    names: dict = {}
    exec(code, names)
    assert len(names["photos"]) == 16
    assert names["batch"]["sample"].shape[1:] == (3, 100, 100)
    assert names["first"]["label"] == "cat"
