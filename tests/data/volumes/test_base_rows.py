from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.volumes import base_rows, merge
from rosenblatt.data.volumes.base_rows import ROW, BaseRows
from rosenblatt.data.volumes.storage.log import VolumeLog
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.objects import open_objects
from tests.data.volumes.helpers import add_frame

N = 45
FRAME = pl.DataFrame({"id": [f"{k:03}" for k in range(N)], "x": range(N)})
WANTED = [k for k in np.random.default_rng(0).permutation(N + 20).tolist() if k % 3]


@pytest.fixture
def open_rows(tmp_path, monkeypatch):
    """Opens the rows of a volume of five files; `read` of the result lists files whose rows were read."""
    monkeypatch.setattr(merge, "MAX_FILE_ROWS", 10)
    root = str(tmp_path / "volumes")
    add_frame(root, "v", FRAME, tmp_path)
    objects = open_objects(root)
    version, read = VolumeLog(objects, "v").open(), list[int]()

    class CountedFiles(MetadataFiles):
        def read(self, file, schema, columns=None):
            read.append(file.number)
            return super().read(file, schema, columns)

    def open_them(schema: pl.Schema = FRAME.schema) -> tuple[BaseRows, list[int]]:
        return BaseRows(CountedFiles(objects, "v"), version, schema, is_exact=False), read

    return open_them


def test_rows_are_found_in_any_order_and_new_samples_are_null(open_rows):
    rows, _ = open_rows()
    found = rows.find(pl.Series([f"{k:03}" for k in WANTED]))
    assert found[ROW].to_list() == [k if k < N else None for k in WANTED]
    assert found["x"].to_list() == found[ROW].to_list()
    assert found["id"].to_list() == [f"{k:03}" if k < N else None for k in WANTED]


def test_different_identities_with_one_hash_are_told_apart(open_rows, monkeypatch):
    monkeypatch.setattr(base_rows, "hash_texts", lambda texts: texts.str.len_bytes().to_numpy().astype(np.uint64))
    test_rows_are_found_in_any_order_and_new_samples_are_null(open_rows)


def test_only_files_with_rows_that_are_looked_for_are_read_and_each_once(open_rows):
    rows, read = open_rows()
    rows.find(pl.Series(["100", "x"]))
    assert not read
    for _ in range(2):
        rows.find(pl.Series(["011", "042", "012"]))
        assert read == [1, 4]


def test_the_rows_of_few_files_stay_in_memory(open_rows, monkeypatch):
    monkeypatch.setattr(base_rows, "MAX_CACHE_BYTES", 1)
    rows, read = open_rows()
    for wanted in (["001", "011"], ["012", "021"], ["001"]):
        assert rows.find(pl.Series(wanted))["id"].to_list() == wanted
    assert read == [0, 1, 2, 0]


@pytest.mark.parametrize(("ids", "positions"), [([100, 7], [None, None]), (["007", "7"], [7, None])])
def test_an_identity_of_another_type_must_be_written_in_the_same_way(open_rows, ids, positions):
    series = pl.Series(ids)
    rows, _ = open_rows(pl.Schema({"id": series.dtype, "x": pl.Int64()}))
    assert rows.find(series)[ROW].to_list() == positions
