import numpy as np
import pytest

from rosenblatt.cli.console.explanations import plane
from rosenblatt.inspection.perceptron_steps import GATES, gate, steps
from rosenblatt.spec.defaults import resolve
from rosenblatt.spec.spec import Spec
from rosenblatt.training.rows import Rows


def lesson(rows, classes=2, epochs=30, **changes):
    spec = resolve(Spec.of(kind="perceptron", **changes), len(rows.x), rows.x.shape[1])
    return list(steps(spec, rows, classes, epochs))


@pytest.mark.parametrize("name", GATES)
def test_a_gate_is_learnt_unless_no_line_divides_it(name):
    found = lesson(gate(name))
    last = [step for step in found if step.epoch == found[-1].epoch]
    assert any(step.mistaken for step in last) == (name == "xor")
    assert found[-1].epoch == (30 if name == "xor" else found[-1].epoch)


def test_each_step_is_rosenblatts_rule():
    for step in lesson(gate("or"), learning_rate=0.5):
        change = 0.5 * (step.truth - step.answer) * np.append(step.x, 1)
        np.testing.assert_allclose(step.after[:, 0] - step.before[:, 0], change)
        assert step.answer == int(step.sums[0] > 0)


def test_of_three_classes_the_right_one_comes_nearer_and_the_winner_goes():
    rng = np.random.default_rng(0)
    rows = Rows(
        rng.normal(size=(20, 2)).astype(np.float32),
        rng.integers(0, 3, (20, 1)).astype(np.float32),
        np.ones(20, np.float32),
    )
    for step in lesson(rows, classes=3, epochs=3):
        moved = np.flatnonzero(np.abs(step.after - step.before).sum(axis=0))
        assert sorted(moved) == (sorted({step.truth, step.answer}) if step.mistaken else [])


def test_the_plane_shows_rows_and_where_the_perceptron_says_the_second_class():
    drawn = plane(gate("and").x, np.array([0, 0, 0, 1]), np.array([1.0, 1.0, -1.5]))
    assert drawn.count("X") == 1
    assert drawn.count("O") == 3
    lines = [line.strip() for line in drawn.splitlines()]
    assert lines[0][-1] == "+"
    assert lines[-1][0] == "."
