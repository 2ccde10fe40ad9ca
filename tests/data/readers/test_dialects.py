"""Quotes, escapes and line ends: no row is lost, and what cannot be read names its line."""

import csv
import io

import pytest

from rosenblatt.errors import TableError
from tests.data.readers.tables import read


@pytest.mark.parametrize("n_escaped", [1, 2, 3, 10])
def test_quotes_escaped_by_backslashes_lose_no_rows(path, n_escaped):
    cells = [rf'"part {i} 3\" long, \"new\""' if i < n_escaped else f"part {i}" for i in range(60)]
    table = read(path, "size,part,y\n" + "".join(f"{i},{cell},hi\n" for i, cell in enumerate(cells)))
    assert table.frame.height == 60
    assert table.frame["part"][0] == 'part 0 3" long, "new"'
    assert any("backslashes" in note for note in table.notes)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (r'"ends in a quote\""', 'ends in a quote"'),
        (r'"a \\ and \"b\""', r'a \ and "b"'),
        (r'"C:\temp \"x\""', r'C:\temp "x"'),
        (r"a\,b", "a,b"),
        ('"C:\\dir\\"', "C:\\dir\\"),
        (r"\N", r"\N"),
    ],
)
def test_backslashes_escape_only_where_they_must(path, cell, value):
    table = read(path, f"a,b\n{cell},1\nx,2\n{cell},3\n")
    assert table.frame["a"].to_list() == [value, "x", value]


@pytest.mark.parametrize(
    "rows",
    [
        ['3" bolt,1', "nut,2", '4" bolt,3'],
        ['3" bolt,1', 'a "big" nut,2', "x,3"],
        ['"a, b",1', '3" bolt,2', '"two\nlines",3'],
        ['"",1', '"a ""b""",2', '"""c""",3'],
        ["x\x0by,1", "x\x0cy,2", "x\x1cy\x1dz\x1e,3"],
        ["x\x85y,1", "x\u2028y,2", "x\u2029y,3"],
        ["  x ,1", "\ty,2", "z ,3"],
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_cells_are_those_that_pythons_csv_module_reads(path, rows, end):
    content = end.join(["a,b", *rows, ""])
    expected = list(csv.reader(io.StringIO(content, newline="")))
    frame = read(path, content).frame
    assert [[cell or "" for cell in row] for row in [frame.columns, *frame.rows()]] == expected


@pytest.mark.parametrize(
    "content", ["a,b\r1,x\r2,y\r", "a,b\r1,x\r\n2,y\n", "a,b\r\r\n1,x\r\r\n2,y\r\r\n", "a,b\n1,x\r2,y"]
)
def test_all_line_ends_end_rows(path, content):
    assert read(path, content).frame.rows() == [("1", "x"), ("2", "y")]


def test_a_carriage_return_in_quotes_is_part_of_the_cell(path):
    assert read(path, 'a,b\n1,"x\ry"\n2,z\n').frame["b"].to_list() == ["x\ry", "z"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('a,b\n1,"x\n2,y\n3,z\n', "line 2 has a quote that opens"),
        ('a,b\n1,x\n2,"y\n3,"z"\n4,w\n', "line 3 has a quote that opens"),
        ("a,b\n1,x\n2,y\0\n", "line 3 holds a NUL byte"),
        ("a,b\n" + "1,x\n" * 100_000 + "2,\0\n", "line 100,002 holds a NUL byte"),
        ("a,b\n" + '1,"x\n2"\n' * 50 + "1,2,3\n", "line 102 has 3 cells"),
    ],
)
def test_what_cannot_be_read_names_its_line(path, content, message):
    with pytest.raises(TableError, match=message):
        read(path, content)


def test_spaces_before_quotes_and_quotes_that_are_not_doubled(path):
    assert read(path, 'a, "b"\n1, "x, y"\n2, "z"\n').frame.rows() == [("1", "x, y"), ("2", "z")]
    assert read(path, 'a,b\n1,"6" pipe"\n2,"x"\n').frame["b"].to_list() == ['6" pipe', "x"]


def test_spaces_before_quotes_that_hold_escapes(path):
    frame = read(path, 'name, city\n"J. \\"Jack\\" L",  "Oslo"\n"B",     "Rome, Italy"\n').frame
    assert frame.rows() == [('J. "Jack" L', "Oslo"), ("B", "Rome, Italy")]


def test_stray_quotes_between_tabs_are_characters(path):
    frame = read(path, 'title\tyear\n"Lost\t1\nFound\t2\n"Seen"\t3\n').frame
    assert frame["title"].to_list() == ['"Lost', "Found", "Seen"]
