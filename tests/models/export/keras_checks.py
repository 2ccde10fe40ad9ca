"""Checks of exported Keras models on one backend; `test_keras_model.py` runs them in a process for each backend.

By hand: KERAS_BACKEND=jax pytest -n 0 tests/models/export/keras_checks.py
"""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.sparse import csr_array

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.errors import ExportError
from rosenblatt.models.export.export import export_model
from rosenblatt.models.export.formats import FORMATS
from rosenblatt.models.export.inputs import category_codes, prepare_inputs
from rosenblatt.models.export.keras_file import load_builder
from rosenblatt.models.export.keras_model import to_keras
from rosenblatt.models.export.sample_rows import sample_rows
from rosenblatt.models.export.signature import read_signature
from rosenblatt.models.export.single_precision import split
from rosenblatt.networks.dense import DenseArchitecture
from tests.models.export.fitted_models import (
    DEEP,
    DENSE,
    ENCODINGS,
    make_deep_model,
    make_dense_model,
    make_ensemble,
    typed_rows,
)

BENCHMARK = importlib.util.spec_from_file_location(
    "frameworks", Path(__file__).parents[3] / "benchmarks" / "frameworks.py"
)
frameworks = importlib.util.module_from_spec(BENCHMARK)
BENCHMARK.loader.exec_module(frameworks)

IS_FIRST_BACKEND = keras.backend.backend() == "tensorflow"  # on the others, each kind of layer is used once
FILE_NAMES = ["cnn residual, group norm, strides, flips", "tagger", "lstm both ways"]
DENSE_NAMES, DEEP_NAMES = list(DENSE), [name for name in DEEP if name not in FILE_NAMES]
ENCODING_NAMES, TRAINED_NAMES = ENCODINGS, ["residual batch norm", "layer norm, parametric, scaled"]
if not IS_FIRST_BACKEND:
    DENSE_NAMES, DEEP_NAMES = ["rbf perceptron"], ["cnn depthwise, layer norm, even kernel, flatten", "gru, last"]
    FILE_NAMES, ENCODING_NAMES, TRAINED_NAMES = ["tagger"], ["quantile", "piecewise"], TRAINED_NAMES[1:]
first_backend = pytest.mark.skipif(not IS_FIRST_BACKEND, reason="does not depend on the backend")


def keras_tensors(model, rows, network):
    """Rows as the inputs of a Keras model."""
    signature = read_signature(model)
    tensors = prepare_inputs(signature, rows, channels_last=True)
    if "categories" in tensors:
        tensors["categories"] = category_codes(signature, tensors["categories"])
    if "numbers" in tensors:
        tensors["numbers"], rest = split(tensors["numbers"])
        if "numbers_rest" in network.input:
            tensors["numbers_rest"] = rest
    return tensors


def rows_of(model, seed):
    return typed_rows(seed).select(column.name for column in model.schema.columns)


def predict(network, tensors):
    """Predictions; JAX compiles each operation of a call by itself, and all of them at once in `predict_on_batch`."""
    if keras.backend.backend() == "jax":
        return network.predict_on_batch(tensors)
    return keras.ops.convert_to_numpy(network(tensors))


def largest_difference(model, network, seed=1):
    rows = rows_of(model, seed)
    expected, tensors = model.predict_typed(rows), keras_tensors(model, rows, network)
    got = predict(network, tensors)
    assert got.shape == expected.shape
    if model.target.is_per_step:  # after the end of a row, predictions have no meaning
        is_step = np.arange(got.shape[1]) < tensors["lengths"][:, None]
        got, expected = got[is_step], expected[is_step]
    return float((np.abs(got - expected) / np.maximum(np.abs(expected).max(axis=0), 1)).max())


@pytest.mark.parametrize("name", DENSE_NAMES)
def test_dense_networks_predict_as_the_model_does(name):
    model = make_dense_model(name, n_networks=1)
    assert largest_difference(model, to_keras(model)) < 1e-5


@pytest.mark.parametrize("encoding", ENCODING_NAMES)
def test_numbers_are_encoded_as_the_model_does(encoding):
    model = make_dense_model("relu", encoding, n_networks=1)
    network = to_keras(model)
    assert largest_difference(model, network, 1) < 1e-5
    assert largest_difference(model, network, 0) < 1e-5


@pytest.mark.parametrize("name", DEEP_NAMES)
def test_deep_networks_predict_as_the_model_does(name):
    model = make_deep_model(name, n_networks=1)
    assert largest_difference(model, to_keras(model)) < 1e-5


@first_backend
def test_an_ensemble_with_different_encodings_predicts_as_the_model_does():
    model = make_ensemble()
    assert largest_difference(model, to_keras(model)) < 1e-5


@first_backend
@pytest.mark.parametrize("columns", [("city",), ("age",)])
def test_tables_of_one_kind_of_column_have_one_tensor(columns):
    model = make_dense_model("relu", n_networks=1)
    encoder = Encoder.fit(typed_rows().select(columns), model.spec.data)
    model = with_encoder(
        replace(
            model,
            schema=model.schema.model_copy(
                update={"columns": tuple(column for column in model.schema.columns if column.name in columns)}
            ),
        ),
        encoder,
    )
    network = to_keras(model)
    assert list(network.input) == ["categories" if columns == ("city",) else "numbers"]
    assert largest_difference(model, network) < 1e-5


@first_backend
def test_sparse_rows_are_numbers():
    model = with_encoder(make_dense_model("relu", n_networks=1), Encoder(encodings=(), n_sparse_columns=6), ())
    rows = csr_array(np.random.default_rng(0).poisson(0.3, (20, 6)).astype(np.float64))
    network = to_keras(model)
    got = predict(network, keras_tensors(model, rows, network))
    np.testing.assert_allclose(got, model.predict_raw(rows), atol=1e-6)


def with_encoder(model, encoder, hidden=(8,)):
    """A model of one network of random parameters with another encoder."""
    architecture = DenseArchitecture("mlp", (encoder.width, *hidden, model.target.n_outputs), "relu")
    theta = np.random.default_rng(0).normal(0, 0.3, architecture.n_parameters).astype(np.float32)
    network = replace(model.networks[0], architecture=architecture, theta=theta)
    return replace(model, trials=(replace(model.trials[0], encoder=encoder, networks=(network,)),))


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_file_has_all_of_a_model_and_needs_no_code(name, tmp_path):
    model = make_deep_model(name, n_networks=1)
    to_keras(model).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert all(layer.__module__.startswith("keras.") for layer in loaded.layers)
    assert largest_difference(model, loaded) < 1e-5


@first_backend
def test_padding_changes_no_prediction():
    model = make_deep_model("lstm both ways", n_networks=1)
    network = to_keras(model)
    tensors = keras_tensors(model, typed_rows().select("steps"), network)
    steps = tensors["sequence"]
    longer = np.concatenate([steps, np.full_like(steps, 7.0)], axis=1)  # of any content
    got = predict(network, {"sequence": longer, "lengths": tensors["lengths"]})
    np.testing.assert_allclose(got, predict(network, tensors), atol=1e-6)


@pytest.mark.parametrize("name", TRAINED_NAMES)
def test_training_goes_on_and_changes_only_the_networks(name):
    model = make_dense_model(name, n_networks=1)
    network = to_keras(model)
    tensors = keras_tensors(model, rows_of(model, 1), network)
    table = network.get_layer("trial0_categories0")
    before, categories = [keras.ops.convert_to_numpy(w) for w in network.trainable_weights], table.get_weights()[0]
    logits = keras.Model(network.input, network.get_layer("trial0_network0_logits").output)
    logits.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    targets = np.zeros(len(tensors["numbers"]), np.int64)
    losses = logits.fit(tensors, targets, batch_size=30, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    parameters = model.networks[0].architecture.parts
    assert len(before) == sum(part.name not in ("mean", "variance") for part in parameters)
    after = [keras.ops.convert_to_numpy(w) for w in network.trainable_weights]
    pairs = list(zip(before, after, strict=True))
    assert all(
        (old != new).any() for old, new in pairs if old.ndim == 2
    )  # biases before a normalization have no effect
    np.testing.assert_array_equal(table.get_weights()[0], categories)


def test_batch_normalization_and_dropout_differ_in_training():
    model = make_dense_model("residual batch norm", n_networks=1)
    network = to_keras(model)
    tensors = keras_tensors(model, rows_of(model, 1), network)
    evaluated = predict(network, tensors)
    first_rows = predict(network, {name: array[:3] for name, array in tensors.items()})
    np.testing.assert_allclose(first_rows, evaluated[:3], atol=1e-6)
    assert not np.allclose(keras.ops.convert_to_numpy(network(tensors, training=True)), evaluated)
    rates = [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.1, 0.1]


@first_backend
def test_layers_have_names_and_the_parameters_of_the_model():
    model = make_dense_model("residual batch norm", n_networks=1)
    network, parameters = to_keras(model), model.networks[0].architecture.parameters_by_name(model.networks[0].theta)
    kernel, _ = network.get_layer("trial0_network0_hidden1_linear").get_weights()
    np.testing.assert_array_equal(kernel, parameters[1, "weight"])
    variance = network.get_layer("trial0_network0_hidden1_norm").get_weights()[3]
    np.testing.assert_array_equal(variance, parameters[1, "variance"])


@first_backend
def test_exports_predict_as_the_model_does_with_their_framework_alone(tmp_path):
    import tensorflow as tf

    model = make_ensemble()
    for format_ in (FORMATS["tensorflow"], FORMATS["keras"]):
        path = tmp_path / f"people{format_.suffix}"
        assert export_model(model, format_, path, sample_rows(model)).comparison.largest_difference < 1e-5
    assert {path.name for path in tmp_path.iterdir()} == {"people", "people.keras"}
    signature = json.loads((tmp_path / "people" / "assets.extra" / "rosenblatt.json").read_text())
    assert signature["outputs"] == ["a", "b", "c"]
    serve = tf.saved_model.load(tmp_path / "people").signatures["serving_default"]
    tensors = serve.structured_input_signature[1]
    specs = {name: [spec.dtype.name, spec.shape.as_list()] for name, spec in tensors.items()}
    assert specs == {"numbers": ["float64", [None, 4]], "categories": ["string", [None, 1]]}
    numbers = tf.constant([[40.0, 0.0, 1.7e9, 3.0]] * 3, tf.float64)
    predictions = serve(numbers=numbers, categories=tf.constant([["ünï"], [""], ["?"]]))["predictions"]
    np.testing.assert_allclose(predictions.numpy().sum(axis=1), 1.0, rtol=1e-6)


@first_backend
def test_a_saved_model_takes_texts_images_and_tables(tmp_path):
    import tensorflow as tf

    model = make_deep_model("text, image and table", n_networks=1)
    signature = FORMATS["tensorflow"].load_writer()(model, read_signature(model), tmp_path / "all")
    tensors = prepare_inputs(signature, rows_of(model, 1), channels_last=True)
    serve = tf.saved_model.load(tmp_path / "all").signatures["serving_default"]
    got = serve(**{name: tf.constant(array) for name, array in tensors.items()})["predictions"].numpy()
    np.testing.assert_allclose(got, model.predict_typed(rows_of(model, 1)), atol=1e-5)


@pytest.mark.skipif(IS_FIRST_BACKEND, reason="TensorFlow is the backend")
def test_a_saved_model_is_refused_on_another_backend_than_tensorflow():
    with pytest.raises(ExportError, match="needs the backend tensorflow of Keras, but Keras runs on"):
        load_builder("tensorflow")


@pytest.mark.parametrize("optimizer", frameworks.RATES)
def test_frameworks_compute_the_same_gradients_losses_and_predictions(optimizer):
    backend, problem = keras.backend.backend(), frameworks.make_problem()
    ours = frameworks.run_rosenblatt(problem, optimizer)
    assert ours.losses[-1] < 0.7 * ours.losses[0]
    for name in {f"keras {backend}", backend} & frameworks.RUNNERS.keys():
        differences = frameworks.compare(frameworks.RUNNERS[name](problem, optimizer), ours)
        assert differences.gradient < 1e-6, name
        limit = 1e-6 if optimizer == "sgd" else 1e-4  # of Adam, Keras and TensorFlow scale epsilon otherwise
        assert max(differences.loss, differences.probabilities) < limit, name
