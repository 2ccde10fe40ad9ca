from __future__ import annotations

import datetime as dt
import decimal
import math

import polars as pl
import pytest

from rosenblatt.data.volumes.storage.cache import MachineCache
from rosenblatt.data.volumes.storage.delta_types import schema_from_delta, schema_to_delta, to_kept
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles, compute_statistics
from rosenblatt.data.volumes.storage.objects import open_objects
from rosenblatt.errors import DamagedDataError

NOON = dt.datetime(2024, 7, 1, 12, 30, 15, 123456)  # noqa: DTZ001 - times without a time zone are tested too
KEPT = pl.DataFrame(
    {
        "text": ["ä\n,", None],
        "integer": pl.Series([2**62, -1]),
        "float": [math.inf, math.nan],
        "flag": [True, None],
        "date": [dt.date(1999, 12, 31), None],
        "naive": [NOON, None],
        "zoned": pl.Series([NOON, None]).dt.replace_time_zone("Europe/Berlin"),
        "utc": pl.Series([NOON, None]).dt.replace_time_zone("UTC"),
        "bytes": [b"\0\xff", None],
        "list": [[1.5, None], []],
        "struct": [{"a": 1, "b": ["x"]}, None],
        "decimal": pl.Series([decimal.Decimal("1.25"), None], dtype=pl.Decimal(10, 2)),
        "column, with {odd}=name": [1, 2],
    }
)


@pytest.mark.parametrize("name", KEPT.columns)
def test_columns_come_back_with_their_values_and_types(tmp_path, name):
    frame = to_kept(KEPT.select(name))
    files = MetadataFiles(open_objects(str(tmp_path)), "v")
    file = files.write(0, frame)
    assert files.read(file, frame.schema).equals(frame)
    assert schema_from_delta(schema_to_delta(frame.schema)) == frame.schema == KEPT.select(name).schema


def test_a_column_that_a_file_lacks_is_missing_in_its_rows(tmp_path):
    files = MetadataFiles(open_objects(str(tmp_path)), "v")
    file = files.write(0, pl.DataFrame({"a": [1, 2]}))
    schema = pl.Schema({"a": pl.Int64(), "b": pl.String()})
    assert files.read(file, schema).rows() == [(1, None), (2, None)]
    assert files.read(file, schema, ["b"]).rows() == [(None,), (None,)]


def test_bounds_hold_for_every_value_and_are_left_out_where_numbers_have_no_order():
    long = "x" * 100
    statistics = compute_statistics(
        pl.DataFrame({"t": ["a", long], "n": [1.0, math.nan], "i": [3, None], "inf": [1.0, math.inf], "l": [[1], [2]]})
    )
    assert statistics["nullCount"] == {"t": 0, "n": 0, "i": 1, "inf": 0}
    assert statistics["minValues"] == {"t": "a", "i": 3}
    assert statistics["maxValues"]["i"] == 3
    assert long < statistics["maxValues"]["t"]


def test_a_flipped_byte_is_noticed(tmp_path):
    objects = open_objects(str(tmp_path))
    file = MetadataFiles(objects, "v").write(0, KEPT.select("text", "integer"))
    path = tmp_path / "v" / file.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedDataError, match="is damaged: its content does not match its name"):
        MetadataFiles(objects, "v").read(file, KEPT.select("text", "integer").schema)
    path.unlink()
    with pytest.raises(DamagedDataError, match="is missing"):
        MetadataFiles(objects, "v").read(file, KEPT.select("text", "integer").schema)


def test_a_file_of_a_bucket_is_fetched_once(s3_proxy, s3_root, tmp_path):
    objects, cache = open_objects(s3_root), MachineCache(tmp_path / "cache", 10**9)
    file = MetadataFiles(objects, "v").write(0, KEPT.select("text"))
    s3_proxy.clear()
    for _ in range(3):
        MetadataFiles(objects, "v", cache).read(file, KEPT.select("text").schema)
    assert s3_proxy.count("GET") == 1


def test_a_file_with_another_number_of_rows_than_the_log_has_is_damaged(tmp_path):
    files, frame = MetadataFiles(open_objects(str(tmp_path)), "v"), pl.DataFrame({"id": ["a", "b"]})
    file = files.write(0, frame)._replace(rows=5)
    with pytest.raises(DamagedDataError, match="holds 2 rows, but the log says 5"):
        files.read(file, frame.schema)
