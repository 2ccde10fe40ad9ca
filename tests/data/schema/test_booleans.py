import polars as pl
import pytest

from rosenblatt.data.schema.booleans import find_pair, read_booleans


@pytest.mark.parametrize(
    ("words", "pair"),
    [
        ({"yes", "no"}, ("no", "yes")),
        ({"Yes", "no", "YES"}, ("no", "yes")),
        ({"TRUE", "False"}, ("false", "true")),
        ({"T", "F"}, ("f", "t")),
        ({"Y"}, ("n", "y")),
        ({"N", "F"}, None),
        ({"T", "Y"}, None),
        ({"N", "F", "T", "Y"}, None),
        ({"yes", "n"}, None),
        ({"Y", "y", "N"}, None),
        ({"T", "t"}, None),
        ({"yes", "Yes"}, None),
        ({"ja", "nein"}, None),
    ],
)
def test_distinct_words_stay_distinct_values(words, pair):
    assert find_pair(words) == pair


@pytest.mark.parametrize(
    ("cells", "values", "used"),
    [
        (["true", "FALSE", None], ["true", "false", None], ("false", "true")),
        (["yes", "no", "yes"], ["true", "false", "true"], ("no", "yes")),
        (["1", "0"], ["true", "false"], ("0", "1")),
        (["T", "f", "oops"], ["true", "false", None], ("f", "t")),
        (["true", "yes", "N"], ["true", None, None], ("false", "true")),
        (["maybe"], [None], ("false", "true")),
    ],
)
def test_a_column_of_another_pair_is_converted_as_a_whole(cells, values, used):
    read, pair = read_booleans(pl.Series(cells), ("false", "true"))
    assert (read.to_list(), pair) == (values, used)
