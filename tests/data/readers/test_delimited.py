"""Delimited text is read whole: every row, every column, and what is detected."""

import pytest

from rosenblatt.errors import TableError
from tests.data.readers.tables import read


def test_a_header_longer_than_the_sample_is_read_whole(path):
    names = [f"measurement_{i:05}" for i in range(20_000)]
    rows = "".join(",".join(str((i + k) % 7) for k in range(20_000)) + "\n" for i in range(3))
    frame = read(path, ",".join(names) + "\n" + rows).frame
    assert frame.columns == names
    assert frame.shape == (3, 20_000)


def test_a_table_without_rows_has_its_columns(path):
    assert read(path, "a,b\n").frame.shape == (0, 2)
    assert read(path, "a").frame.columns == ["a"]


def test_the_format_says_what_was_detected(path):
    table = read(path, "a;b\n1;x\n2;y\n")
    assert (table.format.header, table.format.encoding, table.format.separator) == (True, "utf-8", ";")


@pytest.mark.parametrize("quote", ['"', ""])
def test_a_large_table_keeps_all_rows_across_chunks(path, quote):
    content = "n,text\n" + "".join(f"{i},{quote}row {'x' * (i % 50)}{quote}\n" for i in range(20_000))
    frame = read(path, content).frame
    assert frame["n"].to_list() == [str(i) for i in range(20_000)]


def test_short_rows_are_counted_and_long_ones_only_hold_empty_cells(path):
    table = read(path, "a,b,c\n1,2,3\n4,5\n6\n7,8,9\n")
    assert table.frame.rows()[1:3] == [("4", "5", None), ("6", None, None)]
    assert table.notes == (
        "2 rows with fewer cells than there are columns, the first in line 3: the last cells are missing",
    )
    assert read(path, "a,b\n1,2,\n3,4\n5,6,,\n").frame.rows() == [("1", "2"), ("3", "4"), ("5", "6")]


def test_separators_in_numbers_are_no_names_of_rows(path):
    with pytest.raises(TableError, match="line 2 has 3 cells, but the first line has 2"):
        read(path, "a,b\n1,234,5\n2,345,6\n7,123,4\n")


def test_invalid_text_names_its_line(path):
    content = b"a,b\n" + b"1,x\n" * 100_000 + b"2,\xff\n"
    assert read(path, content).frame["b"][-1] == "ÿ"
    with pytest.raises(TableError, match=r"its text is not utf-8: line 100,002 holds the byte 0xff"):
        read(path, content, encoding="utf-8")
