import numpy as np
import pytest

from rosenblatt.errors import ExportError
from rosenblatt.models.imports.assembly import Names, assemble_model
from rosenblatt.models.imports.layers import Activation, FileContent, Linear, Scaling
from rosenblatt.models.model_file import load_model, to_bytes

RNG = np.random.default_rng(3)


def content(n_outputs, *end, **fields):
    layers = [Scaling(np.array([0.5, 2.0]), np.array([1.0, 0.0])), Linear(RNG.normal(size=(2, 3)), RNG.normal(size=3)),
              Activation("tanh"), Linear(RNG.normal(size=(3, n_outputs)), RNG.normal(size=n_outputs))]  # fmt: skip
    return FileContent((*layers, *(Activation(name) for name in end)), **fields)


def test_outputs_without_activation_are_values_unless_classes_are_named():
    values = assemble_model(content(3), Names(), "m.onnx")
    assert values.model.task == "regression"
    assert values.model.target.names == ("target_0", "target_1", "target_2")
    assert any("--classes a,b,... takes them as logits" in note for note in values.notes)
    classes = assemble_model(content(3), Names(classes=("a", "b", "c")), "m.onnx")
    assert classes.model.task == "multiclass"
    assert any("taken as logits of 3 classes" in note for note in classes.notes)
    assert assemble_model(content(1), Names(classes=("a", "b")), "m").model.task == "binary"


def test_two_outputs_with_softmax_give_the_same_probabilities_as_one_with_sigmoid():
    file, x = content(2, "softmax"), RNG.normal(size=(20, 2))
    model = assemble_model(file, Names(), "m").model
    scaled = x * [0.5, 2] + [1, 0]
    z = np.tanh(scaled @ file.layers[1].weight + file.layers[1].bias) @ file.layers[3].weight + file.layers[3].bias
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_typed(x), expected, rtol=1e-5)


def test_missing_numbers_become_0_after_the_scaling():
    model = assemble_model(content(2), Names(), "m").model
    missing, centers = np.full((1, 2), np.nan), np.array([[-2.0, 0.0]])
    np.testing.assert_allclose(model.predict_typed(missing), model.predict_typed(centers))


def test_a_model_survives_its_file(tmp_path):
    model = assemble_model(content(4, "softmax"), Names(("a", "b"), ("k", "l", "m", "n"), "letter"), "m").model
    (tmp_path / "m.rosenblatt").write_bytes(to_bytes(model))
    read, x = load_model(tmp_path / "m.rosenblatt"), RNG.normal(size=(5, 2))
    np.testing.assert_array_equal(read.predict_proba(x), model.predict_proba(x))
    assert read.target.names == ("letter",)
    assert read.target.labels == ("k", "l", "m", "n")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (Names(columns=("a",)), "has 2 inputs, but 1 column is named"),
        (Names(columns=("a", "a")), "has 2 inputs, but 1 column is named"),
        (Names(classes=("a", "b")), "for 3 classes, but these are named: 'a' and 'b'"),
        (Names(classes=("a", "b", "b")), "Name different ones"),
    ],
)
def test_names_that_do_not_fit_the_network_are_refused(names, message):
    with pytest.raises(ExportError, match=message):
        assemble_model(content(3, "softmax"), names, "m")
