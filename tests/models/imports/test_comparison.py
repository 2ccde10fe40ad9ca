"""Files are loaded by their framework in a new process, and compared with the imported model."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rosenblatt.errors import ExportError
from rosenblatt.models.imports import comparison
from rosenblatt.models.imports.assembly import Names, assemble_model
from rosenblatt.models.imports.comparison import compare_import, read_file
from rosenblatt.models.imports.formats import find_format
from tests.models.imports.foreign_files import RNG, X, rewrite_archive, write_sequential


def largest_difference(path, names=None, activation=None):
    file = read_file(path, activation)
    imported = assemble_model(file, names or Names(), path.name)
    return compare_import(path, file, imported, None, activation or "").largest_difference


@pytest.mark.slow
@pytest.mark.torch
def test_programs_of_pytorch_without_running_their_guards_which_are_python_code(tmp_path):
    from torch import nn

    write_sequential(tmp_path / "m.pt2", nn.Linear(4, 6), nn.BatchNorm1d(6), nn.GELU(), nn.Linear(6, 3))
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:
        program = json.loads(archive.read(next(n for n in archive.namelist() if n.endswith("model.json"))))
    program["guards_code"] = [f"open({str(tmp_path / 'run')!r}, 'w')"]
    rewrite_archive(tmp_path / "m.pt2", tmp_path / "x.pt2", {"models/model.json": json.dumps(program).encode()})
    assert largest_difference(tmp_path / "x.pt2", Names(classes=("a", "b", "c"))) < 1e-5
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.torch
def test_weights_in_safetensors(tmp_path):
    from safetensors.torch import save_file
    from torch import nn

    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, 1))
    save_file(module.state_dict(), tmp_path / "m.safetensors")
    assert largest_difference(tmp_path / "m.safetensors", Names(classes=("no", "yes")), "silu") < 1e-5


@pytest.mark.slow
@pytest.mark.frameworks
def test_graphs_of_onnx(tmp_path):
    from tests.models.imports.test_onnx_reader import dense, write_graph

    zip_map = ("ZipMap", ["p"], ["y"], {"classlabels_strings": ["a", "b", "c"]})
    write_graph(tmp_path / "m.onnx", *dense(end=[("Softmax", ["z2"], ["p"], {}), zip_map]), untyped=True)
    assert largest_difference(tmp_path / "m.onnx") < 1e-5


@pytest.mark.slow
@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras with PyTorch
def test_files_of_keras(tmp_path):
    import keras

    layers = keras.layers
    keras.Sequential([layers.Input((4,)), layers.Dense(6, activation="relu"), layers.Dense(1)]).save(
        tmp_path / "m.keras"
    )
    assert largest_difference(tmp_path / "m.keras") < 1e-5


@pytest.mark.slow
@pytest.mark.frameworks
def test_estimators_of_scikit_learn_and_differences_that_are_too_large(tmp_path, monkeypatch):
    import skops.io
    from sklearn.neural_network import MLPClassifier

    y = RNG.integers(0, 2, len(X))
    skops.io.dump(MLPClassifier((5,), max_iter=5).fit(X, y), tmp_path / "m.skops")
    monkeypatch.setattr(comparison, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(ExportError, match=r"differ by .* Nothing was written") as error:
        largest_difference(tmp_path / "m.skops")
    assert float(re.search(r"differ by ([\d.e+-]+) ", str(error.value))[1]) < 1e-5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m.pkl", "pickle runs code"),
        ("m.pt", "pickle runs code"),
        ("m.h5", "save it as .keras"),
        ("m.txt", r"unknown suffix\. Expected one of \.onnx \(ONNX\)"),
    ],
)
def test_other_files_are_refused_by_their_suffix(name, message):
    with pytest.raises(ExportError, match=message):
        find_format(Path(name))


def test_missing_files_and_options_of_other_formats_are_one_sentence(tmp_path):
    from rosenblatt.errors import StorageError

    with pytest.raises(StorageError, match="There is no file"):
        read_file(tmp_path / "m.skops")
    with pytest.raises(ExportError, match="hold their activations"):
        read_file(tmp_path / "m.skops", "relu")


def test_missing_numbers_have_a_value_in_the_comparison():
    from rosenblatt.models.imports.comparison import _matrix
    from tests.models.imports.test_assembly import content

    model = assemble_model(content(1), Names(), "m").model
    x = _matrix(model, np.array([[np.nan, 1.0], [2.0, np.nan]]))
    np.testing.assert_allclose(x, [[-2.0, 1.0], [2.0, 0.0]])
