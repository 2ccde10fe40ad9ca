"""The tree of errors, and helpers for messages."""

import contextlib
import warnings

from rosenblatt import errors
from rosenblatt.errors import collect_messages, did_you_mean, format_count, format_list, ignore_warnings


def test_the_docstring_lists_every_error():
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.RosenblattError):
            assert name in errors.__doc__


def test_a_similar_name_is_suggested_in_any_case():
    assert did_you_mean("Incme", ["age", "income"]) == " Did you mean 'income'?"
    assert did_you_mean("zebra", ["age", "income"]) == ""


def test_short_names_are_suggested_in_another_case_only():
    assert did_you_mean("B", ["a", "b"]) == " Did you mean 'b'?"
    assert did_you_mean("ab", ["a", "b"]) == ""
    assert did_you_mean("y1", ["y2"]) == ""


def test_a_long_list_ends_with_the_number_of_omitted_values():
    assert format_list(["a"]) == "'a'"
    assert format_list(["a", "b"]) == "'a' and 'b'"
    assert format_list("abcd", 2) == "'a', 'b' and 2 more"


def test_each_message_is_passed_on_once_and_in_order_even_after_an_error():
    lines = []
    with contextlib.suppress(errors.TableError), collect_messages(lines.append) as messages:
        messages += ["b", "a", "b"]
        raise errors.TableError
    assert lines == ["b", "a"]


def test_counts_agree_with_their_noun():
    assert [format_count(n, "run") for n in (0, 1, 2, 1500)] == ["0 runs", "1 run", "2 runs", "1,500 runs"]


def test_warnings_can_be_ignored_inside_of_a_block_that_ignores_others():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ignore_warnings(UserWarning), ignore_warnings(RuntimeWarning):
            warnings.warn("a", UserWarning, stacklevel=1)
            warnings.warn("b", RuntimeWarning, stacklevel=1)
        warnings.warn("c", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["c"]
