import numpy as np
import pytest
from scipy.special import ndtri

pytestmark = pytest.mark.frameworks


def run_graph(build, **inputs):
    """The result of a graph that `build` adds to a new one; its inputs are arrays with any number of rows."""
    import onnxruntime
    from onnx import helper

    from rosenblatt.models.export.onnx_graph import Graph

    graph = Graph()
    name = build(graph)
    types = [
        helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(array.dtype), ["rows", *array.shape[1:]])
        for key, array in inputs.items()
    ]
    proto = helper.make_model(
        graph.to_proto("test", types, [helper.make_empty_tensor_value_info(name)]),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=9,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def test_normal_quantiles_are_those_of_scipy():
    from rosenblatt.models.export.onnx_features import _normal_quantile

    fractions = np.concatenate([np.linspace(1e-3, 1 - 1e-3, 2001), [0.075, 0.925, 0.5]])[:, None]
    got = run_graph(lambda graph: _normal_quantile(graph, "p"), p=fractions)
    np.testing.assert_allclose(got, ndtri(fractions), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("n", [2, 3, 4, 7, 8, 9, 1000])
def test_bisection_counts_the_values_below_a_number_in_each_column(n):
    from rosenblatt.models.export.onnx_features import _count_below

    rng = np.random.default_rng(n)
    columns = np.sort(rng.integers(0, n, (2, n)), axis=1).astype(float)  # with ties
    n_steps = n.bit_length()
    table = np.full((2, 2**n_steps), np.nan)
    table[:, :n] = columns
    x = np.concatenate([columns.T, columns.T + 0.5, columns.T - 0.5])
    starts = np.arange(2) * 2**n_steps
    for operator, side in (("Less", "left"), ("LessOrEqual", "right")):
        got = run_graph(
            lambda graph, operator=operator: _count_below(
                graph, graph.constant("table", table.ravel()), "x", starts, n_steps, operator
            ),
            x=x,
        )
        expected = [np.searchsorted(values, cells, side) for values, cells in zip(columns, x.T, strict=True)]
        np.testing.assert_array_equal(got, np.transpose(expected))
