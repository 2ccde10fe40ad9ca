from __future__ import annotations

from fractions import Fraction

import pytest

from rosenblatt.data.volumes.query.conditions import condition_columns
from rosenblatt.data.volumes.query.language import parse_query
from rosenblatt.data.volumes.query.options import FoldOption, SplitOption
from rosenblatt.errors import QueryError, VolumeError


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a == 1", "a = 1"),
        ("a <> 'x'", 'a != "x"'),
        ("3 < a", "a > 3"),
        ("'x' = a", "a = 'x'"),
        ("a = 1 AND NOT b OR c", "((a = 1) and (not b)) or c"),
        ("a not in (1, 2)", "not a in (1,2)"),
        ("a not like 'x%'", "not (a like 'x%')"),
        ("'x' not in tags", "not 'x' in tags"),
        ("a is not null", "not a is null"),
        ("flag", "flag = true"),
        ("flag and not other", "flag = TRUE and not other = true"),
        ("`a` = -5", "a = -5.0"),
        ("taken > 2024-01-31", "taken > '2024-01-31'"),
        ("a=1\n and\tb=2", "a = 1 and b = 2"),
        ("a = .5 or a = 5. or a = 1E+3", "a = 0.5 or a = 5 or a = 1000"),
        ("@limit=3 a = 1", "a = 1 @limit=3"),
        ("a = 1 @seed=4 and b = 2", "a = 1 and b = 2 @seed=4"),
        ("not a = 1 @limit = 5 or (b)", "not a = 1 or b @limit == 5"),
    ],
)
def test_ways_to_write_the_same_query(text, same):
    left, right = parse_query(text), parse_query(same)
    assert left.condition == right.condition
    assert (left.limit, left.seed) == (right.limit, right.seed)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("`my column` = 1 and `tick``ed` = 2", ["my column", "tick`ed"]),
        ("日本.x-y/z = 1", ["日本.x-y/z"]),
        ("`true` = 1 and `in` = 2 and `5` = 3 and `@x` = 4", ["true", "in", "5", "@x"]),
        ("width > height or label in tags", ["width", "height", "label", "tags"]),
        ("'cat' in tags or not (a in (1) and b like 'x' and c is null)", ["tags", "a", "b", "c"]),
    ],
)
def test_columns_of_a_condition(text, names):
    assert [column.name for column in condition_columns(parse_query(text).condition)] == names


@pytest.mark.parametrize(
    ("text", "attribute", "expected"),
    [
        ("", "condition", None),
        ("  ", "condition", None),
        ("@version=3", "version", 3),
        ("@version=release", "version", "release"),
        ("@version='my release'", "version", "my release"),
        ("@split=train", "split", SplitOption("train")),
        ("@split=test:70/15/15", "split", SplitOption("test", (Fraction(7, 10), Fraction(3, 20), Fraction(3, 20)))),
        ("@split=test:.5/.25/0.25", "split", SplitOption("test", (Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)))),
        ("@split=train:0.7", "split", SplitOption("train", (Fraction(7, 10), Fraction(3, 20), Fraction(3, 20)))),
        ("@split=train:70%", "split", SplitOption("train", (Fraction(7, 10), Fraction(3, 20), Fraction(3, 20)))),
        ("@split=train:100/0/0", "split", SplitOption("train", (Fraction(1), Fraction(0), Fraction(0)))),
        ("@fold=2/5", "fold", FoldOption(2, 5)),
        ("@fold!=2/5", "fold", FoldOption(2, 5, is_excluded=True)),
        ("@fold <> 1/2", "fold", FoldOption(1, 2, is_excluded=True)),
        ("@sample=0.1", "sample", Fraction(1, 10)),
        ("@sample=10%", "sample", Fraction(1, 10)),
        ("@sample = 0.5%", "sample", Fraction(1, 200)),
        ("@seed=18446744073709551615", "seed", 2**64 - 1),
        ("@limit=100", "limit", 100),
    ],
)  # fmt: skip
def test_options(text, attribute, expected):
    assert getattr(parse_query(text), attribute) == expected


def test_the_column_of_a_group_may_have_spaces():
    assert parse_query("@group=`patient id`").group.name == "patient id"
    assert parse_query("@group='patient id'").group.name == "patient id"


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("label = ", "Expected a column, a number, or a text in quotes, but the query ends", 7),
        ("label cat", "Expected an operator such as = or <, but got 'cat'", 6),
        ("'cat'", "Expected an operator", 5),
        ("label = 'cat' foo", "Expected 'and', 'or' or the end, but got 'foo'", 14),
        ("(label = 'cat'", r"Expected '\)', but the query ends", 14),
        ("label = 'cat')", "Expected 'and', 'or' or the end", 13),
        ("label = 'cat", "Expected the closing quote", 8),
        ("label ! 'cat'", "Expected a field, an operator or a value, but got '!'", 6),
        ("label = null", "missing values are found by 'is null'", 8),
        ("label in ('a', null)", "missing values are found by 'is null'", 15),
        ("label in ()", "Expected a column, a number", 10),
        ("label in ('a',)", "Expected a column, a number", 14),
        ("label in ('a' 'b')", r"Expected '\)'", 14),
        ("label in (cat)", "Expected a number, or a text in quotes, but got 'cat'", 10),
        ("label in 'cat'", "Expected values in parentheses", 9),
        ("label not = 3", "Expected an operator", 10),
        ("label is 3", "Expected null or not null after 'is'", 9),
        ("label like cat", "Expected a pattern in quotes", 11),
        ("3 like 'x'", "Expected a column on one side, without quotes or in backticks, but got '3'", 0),
        ("3 < 4", "Expected a column on one side, without quotes or in backticks, but got '3'", 0),
        ("3 is null", "Expected a column on one side", 0),
        ('"label" = 3', "without quotes or in backticks", 0),
        ("1 < width < 3", "Expected 'and', 'or' or the end, but got '<'", 10),
        ("and = 3", "Expected a column, a number", 0),
        ("width > 9e308", "from 1e-307 to 1e308", 8),
        ("width > 1e999", "Expected a number of at most 100 characters", 8),
        ("width > 1e-999999999999", "Expected a number of at most 100 characters", 8),
        (f"width > {'9' * 101}", "Expected a number of at most 100 characters", 8),
        (f"label like '{'_' * 501}'", "Expected a pattern of at most 500 characters", 11),
        ("a = 1 and @split=train", "Expected a condition: options stand after it", 10),
        ("(a = 1 @split=train)", r"Expected '\)', but got '@split'", 7),
        ("a = @limit", "Expected a condition", 4),
        ("@splt=train", r"Did you mean '@split'\?", 0),
        ("@split train", "Expected = after @split, but got 'train'", 7),
        ("@split!=train", "Expected = after @split", 6),
        ("@fold 1/2", "Expected = or != after @fold", 6),
        ("@split=", "Expected @split=train, validation or test.*, but the query ends", 7),
        ("@split=dev", "Expected @split=train, validation or test", 7),
        ("@split=validation:0.1", "Expected @split=train, validation or test", 7),
        ("@split=train:80/10", "Expected @split=train", 7),
        ("@split=train:80/10/20", "Expected @split=train", 7),
        ("@split=train:0/0/0", "Expected @split=train", 7),
        ("@split=train:-1/1/1", "Expected @split=train", 7),
        ("@fold=0/5", "Expected @fold=2/5", 6),
        ("@fold=6/5", "Expected @fold=2/5", 6),
        ("@fold=1/1", "Expected @fold=2/5", 6),
        ("@fold=1/1001", "at most 1,000", 6),
        ("@fold=2", "Expected @fold=2/5", 6),
        ("@sample=1000", "Expected a fraction .*for a number of samples, use @limit", 8),
        ("@sample=0", "Expected a fraction", 8),
        ("@sample=1", "Expected a fraction", 8),
        ("@sample=100%", "Expected a fraction", 8),
        ("@sample=nan", "Expected a fraction", 8),
        ("@sample=1e-9", "Expected a fraction", 8),
        ("@seed=-1", "Expected a whole number", 6),
        ("@seed=18446744073709551616", "Expected a whole number", 6),
        ("@limit=0", "Expected a number of samples", 7),
        ("@limit=1.5", "Expected a number of samples", 7),
        ("@group=@seed", "Expected the name of a column", 7),
        ("@group=)", "Expected the name of a column", 7),
        ("@version=", "Expected a version's number", 9),
        ("@seed=1 @seed=1", "Expected @seed only once", 8),
    ],
)
def test_an_error_in_a_query_marks_its_position(text, message, position):
    with pytest.raises(QueryError, match=message) as error:
        parse_query(text)
    assert str(error.value).splitlines()[-1].index("^") == min(position, 53) + 2
    assert isinstance(error.value, VolumeError)


def test_deep_queries_are_refused():
    with pytest.raises(QueryError, match="at most 100 levels"):
        parse_query("not " * 5_000 + "a")


def test_the_number_of_comparisons_is_limited_but_not_that_of_values():
    assert len(parse_query(" or ".join(["a = 1"] * 1000)).condition.conditions) == 1000
    with pytest.raises(QueryError, match=r"at most 1,000 comparisons \(list values after 'in'\)"):
        parse_query(" or ".join(["a = 1"] * 1001))
    assert len(parse_query(f"a in ({', '.join(map(str, range(10_000)))})").condition.values) == 10_000
