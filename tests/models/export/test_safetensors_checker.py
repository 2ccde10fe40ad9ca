import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rosenblatt.models.export.export import export_model
from rosenblatt.models.export.formats import FORMATS
from rosenblatt.models.export.inputs import prepare_inputs
from rosenblatt.models.export.safetensors_checker import predict, read_folder
from rosenblatt.models.export.safetensors_folder import write
from rosenblatt.models.export.sample_rows import sample_rows
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


def largest_difference(model, path, seed=1):
    signature = read_signature(model)
    write(model, signature, path)
    rows = typed_rows(seed).select(column.name for column in model.schema.columns)
    expected, inputs = model.predict_typed(rows), prepare_inputs(signature, rows)
    got = predict(read_folder(path), inputs)
    assert got.shape == expected.shape
    if model.target.is_per_step:  # after the end of a row, predictions have no meaning
        is_step = np.arange(got.shape[1]) < inputs["lengths"][:, None]
        got, expected = got[is_step], expected[is_step]
    return float((np.abs(got - expected) / np.maximum(np.abs(expected), 1)).max())


@pytest.mark.parametrize("name", DENSE)
def test_dense_networks_are_rebuilt_from_a_folder(name, tmp_path):
    assert largest_difference(make_dense_model(name), tmp_path / "x") < 1e-5


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_numbers_are_encoded_as_a_folder_says(encoding, tmp_path):
    assert largest_difference(make_dense_model("relu", encoding), tmp_path / "x") < 1e-5
    assert largest_difference(make_dense_model("relu", encoding), tmp_path / "y", seed=0) < 1e-5


@pytest.mark.torch
@pytest.mark.parametrize("name", DEEP)
def test_deep_networks_are_rebuilt_from_a_folder(name, tmp_path):
    assert largest_difference(make_deep_model(name), tmp_path / "x") < 1e-5


def test_an_ensemble_is_rebuilt_from_a_folder(tmp_path):
    assert largest_difference(make_ensemble(), tmp_path / "x") < 1e-5


@pytest.mark.slow
def test_an_exported_folder_is_compared_in_a_new_process(tmp_path):
    model = make_dense_model("relu")
    result = export_model(model, FORMATS["safetensors"], tmp_path / "people", sample_rows(model))
    assert result.comparison.largest_difference < 1e-5
    assert sorted(path.name for path in (tmp_path / "people").iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((tmp_path / "people" / "config.json").read_text())["signature"]["outputs"] == ["a", "b", "c"]


def test_the_reader_in_the_documentation_computes_the_logits(tmp_path):
    model = make_dense_model("relu", n_networks=1)
    write(model, read_signature(model), tmp_path / "people")
    text = (Path(__file__).parents[3] / "docs" / "export.md").read_text()
    code = re.search(r"## Safetensors.*?```python\n(.*?)```", text, re.DOTALL)[1]
    features = model.encode(typed_rows().select(column.name for column in model.schema.columns))[0]
    np.save(tmp_path / "x.npy", features)
    code = f"import numpy as np\nx = np.load('x.npy')\n{code}\nnp.save('logits.npy', a)"
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)
    network = model.networks[0]
    (w1, b1), (w2, b2), (w3, b3) = network.architecture.layers(network.theta)
    expected = np.maximum(np.maximum(features @ w1 + b1, 0) @ w2 + b2, 0) @ w3 + b3
    assert np.abs(np.load(tmp_path / "logits.npy") - expected).max() < 1e-5
