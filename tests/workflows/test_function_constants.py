"""The constants of a training function are part of the identity of its trials."""

from __future__ import annotations

from functools import partial

from rosenblatt.workflows.function_constants import function_constants

SCALE = 2.0


def make_function(depth):
    results = []

    def train(params, run, width=3, *, seed=1):
        results.append(depth * SCALE)

    return train


class Trainer:
    def __init__(self):
        self.depth = 3

    def train(self, params, run):
        """Train."""


def test_closure_globals_and_defaults_count_but_not_lists():
    expected = {"depth": "5", "SCALE": "2.0", "default 0": "3", "seed": "1"}
    assert function_constants(make_function(5)) == expected


def test_arguments_of_a_partial_and_attributes_of_an_object_count():
    assert function_constants(partial(make_function(5), 7, key="a"))["argument 0"] == "7"
    assert function_constants(partial(make_function(5), 7, key="a"))["key"] == "'a'"
    assert function_constants(Trainer().train) == {"self.depth": "3"}


def test_a_function_that_is_not_written_in_python_has_no_constants():
    assert function_constants(max) == {}
