import json
import zipfile

import numpy as np
import pytest

from rosenblatt.errors import ExportError
from tests.models.imports.foreign_files import X, predictions, rewrite_archive

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras with PyTorch
]


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


def randomize(model):
    """Other values than 0 and 1 for biases and moments."""
    rng = np.random.default_rng(2)
    model.set_weights([rng.uniform(0.2, 1.0, w.shape) for w in model.get_weights()])


def networks(keras):
    layers = keras.layers
    return {
        "normalized softmax": [
            layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1, 2, 3, 4]), layers.Dense(6, activation="relu"),
            layers.BatchNormalization(), layers.Dropout(0.2), layers.Dense(3, activation="softmax"),
        ],
        "batch normalization": [
            layers.Dense(6), layers.BatchNormalization(), layers.LeakyReLU(), layers.Dense(1, activation="sigmoid"),
        ],
        "values": [layers.Dense(6, use_bias=False), layers.Activation("gelu"), layers.Dense(2)],
        "slopes": [layers.Dense(6), layers.PReLU(), layers.Dense(3), layers.Softmax()],
        "tanh": [layers.Dense(5, activation="tanh"), layers.Dense(5, activation="tanh"), layers.Dense(1)],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["normalized softmax", "batch normalization", "values", "slopes", "tanh"])
@pytest.mark.parametrize("is_functional", [False, True])
def test_networks_predict_as_keras_does(keras, tmp_path, name, is_functional):
    model = keras.Sequential([keras.layers.Input((4,)), *networks(keras)[name]])
    if is_functional:
        model = keras.Model(model.inputs[0], model.outputs[0])
    if "normalized" not in name:
        randomize(model)
    model.save(tmp_path / "m.keras")
    expected = np.asarray(keras.ops.convert_to_numpy(model(X)))
    got = predictions(tmp_path / "m.keras")
    np.testing.assert_allclose(got[:, -expected.shape[1] :], expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def file(keras, tmp_path):
    keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)]).save(
        tmp_path / "m.keras"
    )
    return tmp_path / "m.keras"


def change_config(file, target, change):
    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))
    change(config["config"]["layers"][1])
    rewrite_archive(file, target, {"config.json": json.dumps(config).encode()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_name": "Lambda"}, "layer Lambda has no place"),
        ({"class_name": "Conv2D"}, "layer Conv2D has no place"),
        ({"registered_name": "mine>Dense"}, "layer Dense has no place"),
        ({"module": "os", "class_name": "Dense"}, "layer Dense has no place"),
    ],
)
def test_other_layers_are_refused_by_name(file, tmp_path, change, message):
    change_config(file, tmp_path / "x.keras", lambda layer: layer.update(change))
    with pytest.raises(ExportError, match=message):
        predictions(tmp_path / "x.keras")


@pytest.mark.parametrize(
    "value",
    [
        {"module": "os", "class_name": "system", "config": "echo"},
        {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {}},
        {"module": "keras.utils", "class_name": "get_file", "config": {}},
    ],
)
def test_objects_that_are_code_are_refused_wherever_they_stand(file, tmp_path, value):
    change_config(file, tmp_path / "x.keras", lambda layer: layer["config"].update(kernel_initializer=value))
    with pytest.raises(ExportError, match="code that is not run"):
        predictions(tmp_path / "x.keras")


def test_damaged_files_are_one_sentence(file, tmp_path):
    content = file.read_bytes()
    for n in (0, 10, len(content) // 2, len(content) - 5):
        (tmp_path / "cut.keras").write_bytes(content[:n])
        with pytest.raises(ExportError, match="is damaged"):
            predictions(tmp_path / "cut.keras")
    rewrite_archive(file, tmp_path / "x.keras", {"model.weights.h5": b"nothing"})
    with pytest.raises(ExportError, match="is damaged"):
        predictions(tmp_path / "x.keras")


def test_links_to_other_files_are_not_followed(file, tmp_path):
    import io

    import h5py

    with zipfile.ZipFile(file) as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights, "r+") as h5:
        del h5["layers/dense/vars/0"]
        h5["layers/dense/vars/0"] = h5py.ExternalLink("other.h5", "/secret")
    rewrite_archive(file, tmp_path / "x.keras", {"model.weights.h5": weights.getvalue()})
    with pytest.raises(ExportError, match="is missing, or a link"):
        predictions(tmp_path / "x.keras")
