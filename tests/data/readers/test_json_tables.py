"""JSON lines, arrays, and the layouts of pandas."""

import gzip
import json

import pytest

from rosenblatt.data.readers.read import read_table
from rosenblatt.errors import TableError

ROWS = [(1.5, "p"), (2.5, "q"), (None, "r")]


def read(tmp_path, content):
    path = tmp_path / "t.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path)


@pytest.mark.parametrize(
    "content",
    [
        '{"a": 1.5, "y": "p"}\n{"a": 2.5, "y": "q"}\n{"a": NaN, "y": "r"}\n',
        '\ufeff{"a": 1.5, "y": "p"}\n\n{"a": 2.5, "y": "q"}\r\n{"y": "r"}',
        '{"a": 1.5,\n "y": "p"}\n{"a": 2.5,\n "y": "q"}\n{"a": null,\n "y": "r"}\n',
        '[{"a": 1.5, "y": "p"}, {"a": 2.5, "y": "q"}, {"y": "r"}]',
        '\ufeff[{"a": 1.5, "y": "p"}, {"a": 2.5, "y": "q"}, {"a": NaN, "y": "r"}]',
        '{"columns": ["a", "y"], "index": [0, 1, 2], "data": [[1.5, "p"], [2.5, "q"], [null, "r"]]}',
        '{"a": {"0": 1.5, "1": 2.5, "2": null}, "y": {"0": "p", "1": "q", "2": "r"}}',
        '{"0": {"a": 1.5, "y": "p"}, "1": {"a": 2.5, "y": "q"}, "2": {"a": null, "y": "r"}}',
        '{"schema": {"fields": []}, "data": [{"a": 1.5, "y": "p"}, {"a": 2.5, "y": "q"}, {"a": null, "y": "r"}]}',
        '{"a": [1.5, 2.5, null], "y": ["p", "q", "r"]}',
        '{"count": 3, "results": [{"a": 1.5, "y": "p"}, {"a": 2.5, "y": "q"}, {"y": "r"}]}',
    ],
)
def test_all_layouts_are_read_as_the_same_table(tmp_path, content):
    table = read(tmp_path, content)
    assert table.frame.columns == ["a", "y"]
    assert table.frame.rows() == ROWS
    assert table.format.is_typed


def test_keys_that_appear_later_infinity_and_mixed_types(tmp_path):
    frame = read(tmp_path, '{"a": 1}\n{"a": 2.5, "b": Infinity}\n{"a": 3, "c": true}\n').frame
    assert frame.rows() == [(1.0, None, None), (2.5, float("inf"), None), (3.0, None, True)]
    lines = "".join(f'{{"a": {i}}}\n' for i in range(5000)) + '{"a": "x", "b": 1}\n'
    frame = read(tmp_path, lines).frame
    assert (frame.height, frame["a"][0], frame["a"][-1], frame["b"][-1]) == (5001, "0", "x", 1)


def test_an_array_of_rows_has_numbered_columns(tmp_path):
    assert read(tmp_path, "[[1, 2], [3, 4]]").frame.columns == ["column_1", "column_2"]


def test_one_object_is_one_row(tmp_path):
    assert read(tmp_path, '{"a": 1, "y": "p"}').frame.rows() == [(1, "p")]
    assert read(tmp_path, gzip.compress(json.dumps({"a": 1}).encode())).frame.rows() == [(1,)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a": \n', "line 3 is not JSON"),
        ('{"a": 1}\n[1, 2]\n', r"JSON value 2, '\[1, 2\]', is not an object"),
        ('{"x": {"a": 1}, "z": {"b": 2}}', "unknown which of them are rows"),
        ('{"type": "x", "meta": {"a": 1}}', "one JSON object with the keys 'type' and 'meta'"),
        ('{"columns": ["a"], "data": [[1, 2]]}', "row 1 of its JSON must be a list of 1 cells"),
        ('[{"a": [1]}, {"a": {"b": 1}}]', "values of several types"),
        ("[]", "no columns"),
    ],
)
def test_other_json_is_refused_in_one_sentence(tmp_path, content, message):
    with pytest.raises(TableError, match=message):
        read(tmp_path, content)


def test_columns_keep_the_order_of_the_keys(tmp_path):
    names = [f"k{(7 * i) % 60}" for i in range(60)]
    lines = [json.dumps(dict.fromkeys(names[:n], 1)) for n in (50, 60, 10)]
    assert read(tmp_path, "\n".join(lines)).frame.columns == names


@pytest.mark.parametrize("line", ["", '{"a": 1}\n'])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a": [', "]}]")])
def test_deeply_nested_values_are_refused(tmp_path, line, opening, closing):
    with pytest.raises(TableError, match="nested too deeply"):
        read(tmp_path, line + opening * 50_000 + closing * 50_000)
