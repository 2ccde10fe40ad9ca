import json

import numpy as np
import pytest

from rosenblatt.models.export.inputs import prepare_inputs
from rosenblatt.models.export.signature import read_signature
from tests.models.export.fitted_models import (
    DEEP,
    DENSE,
    ENCODINGS,
    make_deep_model,
    make_dense_model,
    make_ensemble,
    typed_rows,
)

pytestmark = pytest.mark.frameworks


def onnx_inputs(model, rows):
    tensors = prepare_inputs(read_signature(model), rows)
    return {name: array.astype(object) if array.dtype.kind == "U" else array for name, array in tensors.items()}


def onnx_session(model):
    import onnxruntime

    return onnxruntime.InferenceSession(model.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])


def largest_difference(model, seed):
    rows = typed_rows(seed).select(column.name for column in model.schema.columns)
    expected, inputs = model.predict_typed(rows), onnx_inputs(model, rows)
    (got,) = onnx_session(model).run(None, inputs)
    assert got.shape == expected.shape
    if model.target.is_per_step:  # after the end of a row, predictions have no meaning
        is_step = np.arange(got.shape[1]) < inputs["lengths"][:, None]
        got, expected = got[is_step], expected[is_step]
    return float((np.abs(got - expected) / np.maximum(np.abs(expected), 1)).max())


@pytest.mark.parametrize("name", DENSE)
def test_dense_networks_predict_as_the_model_does(name):
    assert largest_difference(make_dense_model(name), seed=1) < 1e-5


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_numbers_are_encoded_as_the_model_does(encoding):
    assert largest_difference(make_dense_model("relu", encoding), seed=1) < 1e-5
    assert largest_difference(make_dense_model("relu", encoding), seed=0) < 1e-5


@pytest.mark.parametrize("name", DEEP)
def test_deep_networks_predict_as_the_model_does(name):
    assert largest_difference(make_deep_model(name), seed=1) < 1e-5


def test_an_ensemble_with_different_encodings_predicts_as_the_model_does():
    assert largest_difference(make_ensemble(), seed=1) < 1e-5


def test_a_graph_takes_any_number_of_rows_and_steps():
    model = make_deep_model("lstm both ways")
    session, inputs = onnx_session(model), onnx_inputs(model, typed_rows().select("steps"))
    (all_rows,) = session.run(None, inputs)
    (one_row,) = session.run(None, {name: array[:1] for name, array in inputs.items()})
    longer = np.concatenate([inputs["sequence"], np.full_like(inputs["sequence"], 7)], axis=1)  # any padding
    (padded,) = session.run(None, inputs | {"sequence": longer})
    np.testing.assert_allclose(one_row, all_rows[:1], rtol=1e-6)
    np.testing.assert_allclose(padded, all_rows, rtol=1e-6)


def test_nodes_have_names_and_the_file_states_its_opset_and_signature(tmp_path):
    import onnx

    model = make_dense_model("relu", n_networks=1)
    model.to_onnx(tmp_path / "people.onnx")
    proto = onnx.load(tmp_path / "people.onnx")
    assert {opset.domain: opset.version for opset in proto.opset_import} == {"": 20, "ai.onnx.ml": 3}
    assert "trials.0.networks.0.hidden.0.linear" in {node.name for node in proto.graph.node}
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    expected, _ = model.networks[0].dense.layers(model.networks[0].theta)[0]
    np.testing.assert_array_equal(weights["trials.0.networks.0.hidden.0.linear.weight"], expected)
    (signature,) = [json.loads(entry.value) for entry in proto.metadata_props if entry.key == "rosenblatt"]
    assert signature["numbers"] == ["age", "ties", "time", "constant"]


def test_a_model_above_the_limit_of_the_file_is_refused(monkeypatch):
    from rosenblatt.errors import ExportError
    from rosenblatt.models.export import onnx_model

    monkeypatch.setattr(onnx_model, "MAX_BYTES", 10)
    with pytest.raises(ExportError, match="at most 2 GiB"):
        make_dense_model("relu").to_onnx()


@pytest.mark.slow
def test_a_file_is_run_in_a_new_process_with_onnxruntime_alone(tmp_path):
    from rosenblatt.models.export.export import export_model
    from rosenblatt.models.export.formats import FORMATS
    from rosenblatt.models.export.sample_rows import sample_rows

    model = make_deep_model("text, image and table", n_networks=1)
    result = export_model(model, FORMATS["onnx"], tmp_path / "m.onnx", sample_rows(model))
    assert result.comparison.largest_difference < 1e-5
