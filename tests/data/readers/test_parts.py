import gzip

import polars as pl
import pytest

from rosenblatt.data.readers.parts import open_parts
from rosenblatt.data.table import TableFormat
from rosenblatt.errors import TableError

FRAME = pl.DataFrame({"a": ["1", "2"] * 200, "b": ["x", "y"] * 200})


def read_parts(path, columns=None):
    return pl.concat(open_parts(path, TableFormat(), 0).read(columns))


def test_columns_of_a_table_are_read_in_parts(tmp_path):
    FRAME.write_parquet(tmp_path / "t.parquet", row_group_size=64)
    FRAME.write_ipc(tmp_path / "t.arrow")
    FRAME.write_csv(tmp_path / "t.csv")
    for suffix in ("parquet", "arrow", "csv"):
        assert read_parts(tmp_path / f"t.{suffix}").equals(FRAME)
        assert read_parts(tmp_path / f"t.{suffix}", ["b"]).equals(FRAME.select("b"))


def test_small_compressed_irregular_and_empty_files_and_json_are_read_at_once(tmp_path):
    path = tmp_path / "t.csv"
    FRAME.write_csv(path)
    assert open_parts(path, TableFormat(), min_bytes=10_000) is None
    assert open_parts(tmp_path, TableFormat(), 0) is None
    contents = {
        "gzip": gzip.compress(path.read_bytes()),
        "json": b'{"a": 1}\n{"a": 2}\n',
        "irregular": b'a,b\n1,5" nails\n2,c\n',
        "latin": "a,b\nJosé,1\nZoë,2\n".encode("latin-1"),
        "empty": b"a,b\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert open_parts(tmp_path / name, TableFormat(), 0) is None, name


def test_rows_that_are_too_long_are_refused_with_the_option_that_reads_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(FRAME.write_csv() + "1,x,more\n")
    with pytest.raises(TableError, match=r"cannot be read in parts.*--no-stream"):
        read_parts(path)


def test_a_damaged_file_is_one_sentence(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1" + bytes(1000) + b"PAR1")
    with pytest.raises((TableError, pl.exceptions.PolarsError)) as error:
        read_parts(path)
    assert isinstance(error.value, TableError)
    assert "\n" not in str(error.value)
