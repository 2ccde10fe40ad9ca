"""Rows in networks, attributions and steps of a perceptron, as they are printed."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from rosenblatt.cli.console.explanations import (
    ascii_decision_boundary,
    format_number,
    print_attribution,
    print_perceptron_step,
    print_trace,
)
from rosenblatt.inspection.perceptron_steps import Step, logic_gate_rows


@pytest.fixture
def capture_lines(capsys):
    """Lines that a function prints."""

    def capture_lines(print_function, *arguments):
        print_function(*arguments)
        return capsys.readouterr().out.splitlines()

    return capture_lines


@pytest.fixture
def step_lines(capture_lines):
    """Lines that are printed of a step of a perceptron with the given change of its weights."""

    def step_lines(step, inputs=("a", "b"), classes=("no", "yes")):
        return capture_lines(
            lambda: print_perceptron_step(Console(highlight=False, soft_wrap=True), step, inputs, classes)
        )

    return step_lines


def make_step(**changes):
    """A step on row 2, (1, 0), of class 1, from weights 0 to 1."""
    before, after = np.zeros((3, 1)), np.array([[1.0], [0.0], [1.0]])
    step = {"epoch": 1, "row": 2, "x": np.array([1.0, 0.0]), "target": 1, "sums": np.zeros(1), "predicted": 0}
    return Step(**step | {"weights_before": before, "weights_after": after} | changes)


def make_unit(**changes):
    unit = {
        "unit": "unit [1]", "sum": -0.25, "bias": 0.5, "normalized": -0.125, "output": 0.0, "delta": 0.75,
        "contributions": [
            {"input": "age", "value": 2.0, "weight": -0.5, "product": -1.0}, {"input": "city", "product": 0.25},
        ],
        "remainder": {"count": 0, "sum": 0.0},
        "gradients": [{"input": "age", "value": 1.5}, {"input": "city", "value": 0.0}],
    }  # fmt: skip
    return unit | changes


def make_layer(**changes):
    layer = {
        "layer": 1, "inputs": 2, "units": 1, "activation": "relu", "normalization": "none", "residual": False,
        "top_units": [make_unit()],
    }  # fmt: skip
    return layer | changes


def make_trace(**changes):
    trace = {
        "row": 3, "network": 1, "networks": 1, "cells": {"age": 40, "city": "[Oslo]"},
        "inputs": [{"input": "age", "column": "age", "value": 2.0}],
        "layers": [make_layer()], "predicted": {"no": 0.25, "yes": 0.75}, "model": {"no": 0.5, "yes": 0.5},
        "loss": {"name": "log", "value": 0.2877, "target": [0.0, 1.0]},
    }  # fmt: skip
    return trace | changes


def make_explanation(kind, values, tokens=()):
    values = np.array(values)
    from rosenblatt.inspection.torch_attribution import Attribution, Explanation

    attribution = Attribution("photo", kind, np.zeros((*values.shape, 1)), tokens, values)
    return Explanation("good", {"good": 0.75, "bad": 0.25}, "gradients", (attribution,))


def test_the_plane_shows_rows_and_where_the_perceptron_predicts_the_second_class():
    plot = ascii_decision_boundary(logic_gate_rows("and").x, np.array([0, 0, 0, 1]), np.array([1.0, 1.0, -1.5]))
    assert plot.count("X") == 1
    assert plot.count("O") == 3
    lines = [line.strip() for line in plot.splitlines()]
    assert lines[0][-1] == "+"
    assert lines[-1][0] == "."


def test_the_plane_has_a_width_if_all_rows_are_the_same_point():
    plot = ascii_decision_boundary(np.zeros((2, 2)), np.array([0, 1]), np.array([0.0, 0.0, 1.0]))
    lines = [line.strip() for line in plot.splitlines()]
    assert (len(lines), {len(line) for line in lines}) == (15, {41})
    assert lines[7] == "+" * 20 + "X" + "+" * 20


@pytest.mark.parametrize(
    ("value", "text"), [(-0.0, "0"), (1_234_567, "1.235e+06"), (0.000123456, "0.0001235"), (2.5, "2.5")]
)
def test_numbers_have_four_digits_and_zero_has_no_sign(value, text):
    assert format_number(value) == text


def test_a_mistake_is_printed_with_the_sum_and_the_weights_that_change(step_lines):
    assert step_lines(make_step(), ("[a]", "b")) == [
        "row 2  [a] 1, b 0",
        "  z = 1 x 0 + 0 x 0 + bias 0 = 0",
        "  predicts no, but the class is yes: w([a]) 0 to 1; bias 0 to 1",
    ]


def test_a_correct_answer_is_printed_with_the_weights_it_still_changes(step_lines):
    weights = np.array([[1.0], [0.0], [1.0]])
    unchanged = make_step(sums=np.array([2.0]), predicted=1, weights_before=weights)
    assert step_lines(unchanged)[-1] == "  predicts yes, which is right: no update"
    margin_step = make_step(sums=np.array([0.5]), predicted=1, weights_before=weights, weights_after=weights * 1.5)
    assert step_lines(margin_step)[-1] == "  predicts yes, which is right: w(a) 1 to 1.5; bias 1 to 1.5"


def test_a_step_of_three_classes_names_the_units_that_move(step_lines):
    after = np.array([[-1.0, 0, 1], [0, 0, 0], [-1, 0, 1]])
    step = make_step(target=2, sums=np.array([1.0, 0.5, 0.25]), weights_before=np.zeros((3, 3)), weights_after=after)
    assert step_lines(step, classes=("x", "y", "z"))[1:] == [
        "  z = x 1, y 0.5, z 0.25",
        "  predicts x, but the class is z: away from this row: x; towards this row: z",
    ]


def test_a_step_of_a_wide_row_prints_its_first_eight_inputs(step_lines):
    x, before = np.ones(10), np.zeros((11, 1))
    row, z, verdict = step_lines(make_step(x=x, weights_before=before, weights_after=before + 1), "abcdefghij")
    assert row.endswith("g 1, h 1")
    assert z == "  z = " + " + ".join(["1 x 0"] * 8) + " + ... + bias 0 = 0"
    assert verdict.endswith("w(h) 0 to 1; bias 0 to 1")


def test_a_trace_shows_cells_then_each_sum_and_the_prediction(capture_lines):
    assert capture_lines(print_trace, make_trace(), False) == [
        "row 3",
        "  age = 40  encoded as 2",
        "  city = [Oslo]  encoded as all 0",
        "layer 1  2 inputs, 1 unit; z = inputs x weights + bias, a = relu(z)",
        "  unit [1]: z = age 2 x -0.5 + (city: 0.25) + bias 0.5 = -0.25  a = 0",
        "predicted  no 0.25, yes 0.75",
    ]


def test_a_trace_of_a_population_names_the_network_and_the_mean_of_all(capture_lines):
    lines = capture_lines(print_trace, make_trace(network=2, networks=4), False)
    assert lines[0] == "row 3, network 2 of 4"
    assert lines[-1] == "  model, mean of 4 networks: no 0.5, yes 0.5"


def test_a_layer_says_how_much_of_it_is_left_out(capture_lines):
    layer = make_layer(units=20, normalization="layer", residual=True)
    layer["top_units"] = [make_unit(remainder={"count": 7, "sum": 1.5})]
    title, unit = capture_lines(print_trace, make_trace(layers=[layer]), False)[3:5]
    assert title == (
        "layer 1  2 inputs, 20 units, the 1 largest; "
        "z = inputs x weights + bias, layer normalization, a = relu(z), + inputs"
    )
    assert unit.endswith("+ 7 others 1.5 + bias 0.5 = -0.25, normalized -0.125  a = 0")


def test_gradients_are_printed_from_the_last_layer_to_the_first(capture_lines):
    lines = capture_lines(print_trace, make_trace(layers=[make_layer(), make_layer(layer=2)]), True)
    backward = lines.index("backward  log loss 0.2877 for the target 0, 1")
    assert [line.split("  ")[0] for line in lines[backward + 1 :: 2]] == ["layer 2", "layer 1"]
    assert lines[-1] == "  unit [1]: d = 0.75; dLoss/dw: age 1.5, rest 0"


@pytest.mark.torch
def test_an_attribution_ranks_tokens_or_steps_by_size(capture_lines):
    lines = capture_lines(print_attribution, make_explanation("text", [0.5, -1.0, 0.1], ("a", "[b]", "c")), 3)
    assert lines[:2] == ["row 3: good", "  good 0.75, bad 0.25"]
    assert [line.split() for line in lines[2:]] == [
        ["'[b]'", "-1.00", "#" * 20],
        ["'a'", "+0.50", "#" * 10],
        ["'c'", "+0.10", "##"],
    ]
    lines = capture_lines(print_attribution, make_explanation("sequence", np.arange(12) / 11), 1)
    assert [line.split()[1] for line in lines[2:]] == [str(step) for step in range(12, 2, -1)]


@pytest.mark.torch
def test_an_attribution_of_an_image_is_a_map_of_at_most_16_by_32_signs(capture_lines):
    lines = capture_lines(print_attribution, make_explanation("image", [[1.0, 0.3], [-0.5, 0.1]]), 1)
    assert lines[2].startswith("photo: ")
    assert lines[3:] == ["  #+", "  -."]
    lines = capture_lines(print_attribution, make_explanation("image", np.zeros((40, 80))), 1)
    assert lines[3:] == ["  " + "." * 32] * 16
