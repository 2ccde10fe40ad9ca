"""Tests of files of runs: only those of the run, and never as something that a browser runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from rosenblatt.runs.store.queries import list_artifacts
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from tests.dashboard.clients import Client

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
FILES = {
    "plot.png": PNG, "page.html": b"<script>alert(1)</script>", "fake.png": b"<script>alert(1)</script>",
    "text.log": "r\u00e4tsel\n".encode() * 4000, "binary.bin": b"\xff\0\xff", "table.csv": b"a,b\n1,\nx,2\n",
    "a'b\".svg": b"<svg onload='alert(1)'/>",
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Iterator[tuple[Client, str, dict[str, str]]]:
    """A client, the id of a run, and the hashes of its files by name."""
    folder: Path = tmp_path_factory.mktemp("files")
    pl.DataFrame({"n": range(1000), "missing": [None] * 1000}).write_parquet(folder / "rows.parquet")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    with track("files", store=str(folder / "store")) as run:
        for path in sorted(folder.glob("*.*")):
            run.log_artifact(path)
    with closing(Store(f"sqlite:///{folder / 'store' / 'runs.db'}")) as store:
        hashes = {name: file.hash for name, file in list_artifacts(store, run.id).items()}
        yield Client(store), run.id, hashes


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("plot.png", "image/png"), ("page.html", "application/octet-stream"), ("fake.png", "application/octet-stream"),
        ("a'b\".svg", "image/svg+xml"), ("text.log", "application/octet-stream"),
    ],
)  # fmt: skip
def test_files_are_attachments_that_run_nothing(files, name: str, media_type: str):
    client, run, hashes = files
    status, headers, body = client.get(f"/api/runs/{run}/files/{hashes[name]}")
    assert (status, body, headers["content-type"]) == (200, FILES[name], media_type)
    assert headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    assert '"' not in headers["content-disposition"]
    assert "sandbox" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_tables_and_texts_have_a_preview(files):
    client, run, hashes = files
    preview = {name: client.get_json(f"/api/runs/{run}/files/{hashes[name]}/preview") for name in hashes}
    assert preview["rows.parquet"]["rows"] == 1000
    assert preview["rows.parquet"]["columns"]["n"][:2] == ["0", "1"]
    assert preview["rows.parquet"]["columns"]["missing"][0] is None
    assert preview["table.csv"]["columns"] == {"a": ["1", "x"], "b": [None, "2"]}
    assert preview["text.log"]["text"].startswith("r\u00e4tsel\n")
    assert preview["text.log"]["is_cut"]
    assert (preview["binary.bin"]["text"], preview["binary.bin"]["columns"]) == (None, None)


@pytest.mark.parametrize("hash_", ["0" * 64, "..%2f..%2fetc%2fpasswd", "../../runs.db", "runs.db"])
def test_only_hashes_of_the_run_lead_to_files(files, hash_: str):
    client, run, hashes = files
    assert client.get(f"/api/runs/{run}/files/{hash_}")[0] == 404
    assert client.get(f"/api/runs/other/files/{hashes['plot.png']}")[0] == 404
