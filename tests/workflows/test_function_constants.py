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


def scale(value):
    return value * SCALE


square = lambda value: value**EXPONENT + scale(value)  # noqa: E731 - a function without a name of its own
EXPONENT = 2


class Model:
    rate = 0.5

    def __init__(self, layers=2):
        self.size = [square(layers) for _ in range(WIDTH)]

    @classmethod
    def load(cls):
        return cls(WIDTH)


WIDTH = 4


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


def test_constants_of_functions_and_classes_that_the_function_calls_count():
    def train(params, run):
        def evaluate():
            return square(params["x"])

        return evaluate()

    expected = {"EXPONENT": "2", "SCALE": "2.0"}
    assert {name.rpartition(": ")[2]: value for name, value in function_constants(train).items()} == expected
    constants = function_constants(lambda params, run: Model.load())
    assert {name.rpartition(": ")[2] for name in constants} == {"WIDTH", "EXPONENT", "SCALE", "default 0"}
    assert constants["Model.__init__: default 0"] == "2"


def test_functions_that_call_each_other_and_functions_of_other_modules_end():
    def train(params, run):
        return train(params, run) + partial(max)() + function_constants(train)

    assert function_constants(train) == {}
