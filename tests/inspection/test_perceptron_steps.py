import numpy as np
import pytest

from rosenblatt.inspection.perceptron_steps import GATES, iter_steps, logic_gate_rows
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.rows import DenseRows


def run_steps(rows, classes=2, epochs=30, **changes):
    spec = resolve_auto(Spec.from_hyperparameters(kind="perceptron", **changes), len(rows.x), rows.x.shape[1])
    return list(iter_steps(spec, rows, classes, epochs))


@pytest.mark.parametrize("name", GATES)
def test_a_gate_is_learned_if_a_line_separates_its_classes(name):
    history = run_steps(logic_gate_rows(name))
    last = [step for step in history if step.epoch == history[-1].epoch]
    assert any(step.is_mistake for step in last) == (name == "xor")
    assert history[-1].epoch == (30 if name == "xor" else history[-1].epoch)


def test_each_step_is_rosenblatts_rule():
    for step in run_steps(logic_gate_rows("or"), learning_rate=0.5):
        change = 0.5 * (step.target - step.predicted) * np.append(step.x, 1)
        np.testing.assert_allclose(step.weights_after[:, 0] - step.weights_before[:, 0], change)
        assert step.predicted == int(step.sums[0] > 0)


def test_with_three_classes_the_true_class_moves_towards_the_row_and_the_winner_away():
    rng = np.random.default_rng(0)
    rows = DenseRows(
        rng.normal(size=(20, 2)).astype(np.float32),
        rng.integers(0, 3, (20, 1)).astype(np.float32),
        np.ones(20, np.float32),
    )
    for step in run_steps(rows, classes=3, epochs=3):
        changed_units = np.flatnonzero(np.abs(step.weights_after - step.weights_before).sum(axis=0))
        assert sorted(changed_units) == (sorted({step.target, step.predicted}) if step.is_mistake else [])
