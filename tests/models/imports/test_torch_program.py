import json
import zipfile

import numpy as np
import pytest

from rosenblatt.errors import ExportError
from tests.models.imports.foreign_files import predictions, rewrite_archive, write_sequential

pytestmark = pytest.mark.torch


def networks():
    from torch import nn

    return {
        "softmax": [nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3), nn.Softmax(dim=1)],
        "log softmax": [nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3), nn.LogSoftmax(dim=-1)],
        "sigmoid": [nn.BatchNorm1d(4), nn.Linear(4, 6, bias=False), nn.PReLU(), nn.Linear(6, 1), nn.Sigmoid()],
        "values": [nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 6), nn.SiLU(), nn.Linear(6, 2)],
        **{
            type(activation).__name__: [nn.Linear(4, 6), activation, nn.Linear(6, 2)]
            for activation in (
                nn.Tanh(), nn.ELU(), nn.SELU(), nn.Mish(), nn.Softplus(), nn.LeakyReLU(0.2), nn.Identity(),
            )
        },
    }  # fmt: skip


NAMES = (
    "softmax", "log softmax", "sigmoid", "values", "Tanh", "ELU", "SELU", "Mish", "Softplus", "LeakyReLU", "Identity",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_networks_predict_as_pytorch_does(tmp_path, name):
    expected = write_sequential(tmp_path / "m.pt2", *networks()[name])
    expected = np.exp(expected) if name == "log softmax" else expected
    got = predictions(tmp_path / "m.pt2")
    np.testing.assert_allclose(got[:, -expected.shape[1] :], expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def file(tmp_path):
    from torch import nn

    write_sequential(tmp_path / "m.pt2", nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    return tmp_path / "m.pt2"


def test_the_first_operator_that_does_not_fit_is_named(tmp_path):
    from torch import nn

    write_sequential(tmp_path / "m.pt2", nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 2), nn.Flatten(), nn.Linear(6, 1))
    with pytest.raises(ExportError, match=r"operator torch\.ops\.aten\.(view|unflatten).* has no place"):
        predictions(tmp_path / "m.pt2")


def test_operators_outside_of_pytorch_are_refused(file, tmp_path):
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("model.json"))
        program = json.loads(archive.read(name))
    program["graph_module"]["graph"]["nodes"][1]["target"] = "os.system"
    rewrite_archive(file, tmp_path / "x.pt2", {"models/model.json": json.dumps(program).encode()})
    with pytest.raises(ExportError, match=r"operator os\.system has no place"):
        predictions(tmp_path / "x.pt2")


def test_pickled_parameters_are_refused(file, tmp_path):
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("model_weights_config.json"))
        config = json.loads(archive.read(name))
    config["config"]["0.weight"]["use_pickle"] = True
    rewrite_archive(file, tmp_path / "x.pt2", {"model_weights_config.json": json.dumps(config).encode()})
    with pytest.raises(ExportError, match=r"0\.weight is pickled, and pickle runs code"):
        predictions(tmp_path / "x.pt2")


def test_damaged_files_are_one_sentence(file, tmp_path):
    content = file.read_bytes()
    for n in (0, 10, len(content) // 2, len(content) - 5):
        (tmp_path / "cut.pt2").write_bytes(content[:n])
        with pytest.raises(ExportError, match="is damaged"):
            predictions(tmp_path / "cut.pt2")
    rewrite_archive(file, tmp_path / "x.pt2", {"weights/weight_0": b"123"})
    with pytest.raises(ExportError, match=r"is damaged.*3 bytes are not an array"):
        predictions(tmp_path / "x.pt2")
