import numpy as np
import pytest

from rosenblatt.networks.layers import GlobalPooling, Recurrent
from tests.models.export.test_onnx_features import run_graph

pytestmark = pytest.mark.frameworks

STEPS = np.random.default_rng(1).normal(size=(3, 5, 4)).astype(np.float32)
LENGTHS = np.array([5, 2, 1], np.int64)
POOLINGS = {
    "last": lambda steps: steps[-1],
    "mean": lambda steps: steps.mean(axis=0),
    "max": lambda steps: steps.max(axis=0),
}


@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling_reads_the_steps_within_the_length_of_a_row(kind):
    from rosenblatt.models.export.onnx_layers import step_pooling

    got = run_graph(
        lambda graph: step_pooling(graph, GlobalPooling(kind, 4), "steps", "lengths"), steps=STEPS, lengths=LENGTHS
    )
    expected = [POOLINGS[kind](row[:length]) for row, length in zip(STEPS, LENGTHS, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_last_step_of_the_backward_direction_is_the_first_one():
    from rosenblatt.models.export.onnx_layers import step_pooling

    got = run_graph(
        lambda graph: step_pooling(graph, GlobalPooling("last", 4), "steps", "lengths", is_bidirectional=True),
        steps=STEPS,
        lengths=LENGTHS,
    )
    np.testing.assert_array_equal(got[:, 2:], STEPS[:, 0, 2:])
    np.testing.assert_array_equal(got[1, :2], STEPS[1, 1, :2])


def test_gates_are_put_into_the_order_of_onnx():
    from rosenblatt.models.export.onnx_layers import _reorder_gates

    gates = np.repeat([0, 1, 2, 3], 2)  # input, forget, cell, output; two units each
    assert _reorder_gates(Recurrent("lstm", 1, 2, 1), gates)[::2].tolist() == [0, 3, 1, 2]
    assert _reorder_gates(Recurrent("gru", 1, 2, 1), gates[:6])[::2].tolist() == [1, 0, 2]


def test_batch_normalization_is_that_of_the_running_statistics():
    from rosenblatt.models.export.onnx_layers import batch_normalization

    x = STEPS[:, 0]
    values = {
        name: np.full(4, v, np.float32) for name, v in {"gain": 2, "shift": 1, "mean": 0.5, "variance": 4}.items()
    }
    got = run_graph(lambda graph: batch_normalization(graph, values, "x"), x=x)
    np.testing.assert_allclose(got, (x - 0.5) / np.sqrt(4 + 1e-5) * 2 + 1, rtol=1e-6)
