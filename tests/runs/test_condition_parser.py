from __future__ import annotations

import pytest

from rosenblatt.errors import FilterError
from rosenblatt.runs.condition_parser import MAX_CHARACTERS, MAX_DEPTH, mark_position, unquote
from rosenblatt.runs.store.filters import parse_filter


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("a = 1", 2, "  a = 1\n    ^"),
        ("a = 1\nand b", 10, "  and b\n      ^"),
        ("a\tb", 2, "  a b\n    ^"),
        ("\x1b[31m x", 6, "   [31m x\n        ^"),
        ("日本 = x", 5, "  日本 = x\n         ^"),
        ("", 0, "  \n  ^"),
    ],
)
def test_the_mark_stands_below_the_position_of_its_line(text, position, expected):
    assert mark_position(text, position) == expected


def test_long_lines_are_cut_around_the_position():
    line, mark = mark_position("a" * 500 + "!" + "b" * 500, 500).splitlines()
    assert line[mark.index("^")] == "!"
    assert line.startswith("  ...a")
    assert line.endswith("b...")
    assert len(line) < 120


@pytest.mark.parametrize(("text", "expected"), [("'it''s'", "it's"), ('"a""b\'"', "a\"b'"), ("''", "")])
def test_a_doubled_quote_in_a_text_stands_for_one(text, expected):
    assert unquote(text) == expected


@pytest.mark.parametrize("nesting", ["not ", "("])
def test_deep_conditions_are_refused(nesting):
    parse_filter(f"{nesting * MAX_DEPTH}number = 1{')' * MAX_DEPTH if nesting == '(' else ''}")
    with pytest.raises(FilterError, match=f"at most {MAX_DEPTH} levels"):
        parse_filter(f"{nesting * 5_000}number = 1")


def test_long_conditions_are_refused():
    with pytest.raises(FilterError, match="1,000,001 characters; the limit is 1,000,000"):
        parse_filter("x" * (MAX_CHARACTERS + 1))


@pytest.mark.parametrize("text", ["id = 'abc", 'id = "abc', "id = `abc"])
def test_an_open_quote_is_named(text):
    with pytest.raises(FilterError, match="Expected the closing quote of the text") as error:
        parse_filter(text)
    assert str(error.value).splitlines()[-1].index("^") == 5 + 2
