import numpy as np
import pytest

from rosenblatt.errors import ExportError
from tests.models.imports.foreign_files import N_INPUTS, RNG, X, predictions

pytestmark = pytest.mark.frameworks


def array(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def write_graph(path, nodes, constants, outputs=("y",), opset=20, **options):
    """Write a graph from tuples (operator, inputs, outputs, attributes); return its last output."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    made = []
    for operator, inputs, results, attributes in nodes:
        domain = "ai.onnx.ml" if operator in ("Scaler", "ZipMap") else ""
        made.append(helper.make_node(operator, inputs, results, domain=domain, **attributes))
    graph = helper.make_graph(
        made,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", N_INPUTS])],
        [helper.make_empty_tensor_value_info(name) if options.get("untyped") else
         helper.make_tensor_value_info(name, TensorProto.INT64 if name == "label" else TensorProto.FLOAT, None)
         for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    path.write_bytes(proto.SerializeToString())
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([outputs[-1]], {"x": X})[0]


def dense(activation=("Relu", {}), end=()):
    nodes = [
        ("MatMul", ["x", "w1"], ["s1"], {}),
        ("Add", ["s1", "b1"], ["z1"], {}),
        (activation[0], ["z1", *activation[2:]], ["a1"], activation[1]),
        ("Gemm", ["a1", "w2", "b2"], ["z2" if end else "y"], {"transB": 1, "alpha": 0.5}),
        *end,
    ]
    return nodes, {"w1": array(4, 6), "b1": array(6), "w2": array(3, 6), "b2": array(3)}


ACTIVATIONS = [
    ("Relu", {}), ("Tanh", {}), ("Sigmoid", {}), ("Elu", {}), ("Selu", {}), ("Softplus", {}), ("Mish", {}),
    ("Gelu", {}), ("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.3}), ("PRelu", {}, "slope"), ("Identity", {}),
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a[0])
def test_networks_with_each_activation_predict_as_onnxruntime_does(tmp_path, activation):
    nodes, constants = dense(activation)
    if activation[0] == "PRelu":
        constants["slope"] = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], np.float32)
    expected = write_graph(tmp_path / "m.onnx", nodes, constants)
    np.testing.assert_allclose(predictions(tmp_path / "m.onnx"), expected, rtol=1e-4, atol=1e-5)


def test_scalers_normalizations_and_softmax_predict_as_onnxruntime_does(tmp_path):
    nodes = [
        ("Scaler", ["x"], ["x1"], {"offset": [1.0, 2, 3, 4], "scale": [1.0, 0.5, 2, 3]}),
        ("Sub", ["x1", "c"], ["x2"], {}),
        ("Gemm", ["x2", "w1", "b1"], ["z1"], {}),
        ("BatchNormalization", ["z1", "gain", "shift", "mean", "variance"], ["n1"], {"epsilon": 1e-3}),
        ("Sigmoid", ["n1"], ["g1"], {}),
        ("Mul", ["n1", "g1"], ["a1"], {}),
        ("Dropout", ["a1"], ["d1"], {}),
        ("Gemm", ["d1", "w2", "b2"], ["z2"], {}),
        ("Softmax", ["z2"], ["y"], {"axis": 1}),
    ]
    constants = {"c": array(1, 4), "w1": array(4, 6), "b1": array(6), "w2": array(6, 3), "b2": array(3)}
    constants |= {"gain": array(6), "shift": array(6), "mean": array(6), "variance": np.abs(array(6)) + 0.1}
    expected = write_graph(tmp_path / "m.onnx", nodes, constants)
    np.testing.assert_allclose(predictions(tmp_path / "m.onnx"), expected, rtol=1e-4, atol=1e-5)


def test_two_classes_as_scikit_learn_exports_them_become_one_sigmoid(tmp_path):
    nodes = [
        ("Gemm", ["x", "w", "b"], ["z"], {}),
        ("Sigmoid", ["z"], ["p"], {}),
        ("Sub", ["one", "p"], ["q"], {}),
        ("Concat", ["q", "p"], ["y"], {"axis": 1}),
        ("ArgMax", ["y"], ["label"], {"axis": 1, "keepdims": 0}),
    ]
    constants = {"w": array(4, 1), "b": array(1), "one": np.ones(1, np.float32)}
    expected = write_graph(tmp_path / "m.onnx", nodes, constants, outputs=("label", "y"))
    np.testing.assert_allclose(predictions(tmp_path / "m.onnx"), expected, atol=1e-6)


def test_a_zip_map_names_the_classes(tmp_path):
    from rosenblatt.models.imports.onnx_reader import read

    nodes, constants = dense(
        end=[("Softmax", ["z2"], ["p"], {}), ("ZipMap", ["p"], ["y"], {"classlabels_strings": ["a", "b", "c"]})]
    )
    write_graph(tmp_path / "m.onnx", nodes, constants, untyped=True)
    assert read(tmp_path / "m.onnx").classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("Conv", ["x", "w"], ["y"], {})], r"operator Conv \(node\) has no place in a dense network"),
        ([("Relu", ["x"], ["a"], {}), ("Add", ["a", "x"], ["y"], {})], "Add .*it joins two results"),
        ([("Gelu", ["x"], ["y"], {"approximate": "tanh"})], "its approximate is b'tanh'"),
        ([("Softmax", ["x"], ["y"], {"axis": 0})], "along another axis"),
    ],
)
def test_the_first_operator_that_does_not_fit_is_named(tmp_path, nodes, message):
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node(op, inputs, outputs, name="node", **attributes) for op, inputs, outputs, attributes in nodes],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("w", TensorProto.FLOAT, [4, 4], np.ones(16))],
    )
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ExportError, match=message):
        predictions(tmp_path / "m.onnx")


def test_damaged_files_and_external_data_are_one_sentence(tmp_path):
    import onnx

    nodes, constants = dense()
    write_graph(tmp_path / "m.onnx", nodes, constants)
    content = (tmp_path / "m.onnx").read_bytes()
    for n in range(1, len(content), 37):
        (tmp_path / "cut.onnx").write_bytes(content[:n])
        with pytest.raises(ExportError):
            predictions(tmp_path / "cut.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    proto.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    (tmp_path / "e.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ExportError, match="external data"):
        predictions(tmp_path / "e.onnx")
