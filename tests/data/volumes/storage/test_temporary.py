from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from rosenblatt.data.volumes.storage import temporary
from rosenblatt.data.volumes.storage.temporary import FrameFile
from rosenblatt.errors import StorageError

FRAME = pl.DataFrame(
    {
        "text": ["a", None, "long " * 10],
        "list": [[1], None, []],
        "struct": [{"a": 1}, {"a": None}, None],
        "time": pl.Series([datetime(2026, 11, 27, tzinfo=UTC), None, None], dtype=pl.Datetime("us", "Europe/Berlin")),
        "decimal": pl.Series([Decimal("1.5"), None, None], dtype=pl.Decimal(20, 2)),
    }
)


@pytest.mark.parametrize("max_bytes", [1, 1 << 20])
def test_frames_come_back_in_any_order_from_memory_and_from_a_file(monkeypatch, max_bytes):
    monkeypatch.setattr(temporary, "MAX_MEMORY_BYTES", max_bytes)
    frames, file = [FRAME, FRAME.clear(), FRAME[1:]], FrameFile()
    for n, frame in enumerate(frames):
        assert len(file) == n
        file.append(frame)
        assert file.read(n).equals(frame)
    for k in (1, 2, 0, 0):
        assert file.read(k).equals(frames[k])
        assert file.read(k).schema == FRAME.schema


def test_a_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(temporary, "MAX_MEMORY_BYTES", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match=r"Temporary files cannot be written to '.*missing'.*TMPDIR"):
        FrameFile().append(FRAME)
