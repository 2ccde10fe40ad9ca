"""Fine-tuning: what of a model a fit continues, and what is refused."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.table import Table
from rosenblatt.errors import SpecError, TableError
from rosenblatt.models.imports.assembly import Names, assemble_model
from rosenblatt.models.imports.layers import Activation, FileContent, Linear, Scaling
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.problems.start import start_spec

RNG = np.random.default_rng(1)
X = RNG.normal(5, 2, (120, 2))
TABLE = pl.DataFrame(
    {"a": X[:, 0], "b": X[:, 1], "other": RNG.normal(size=120), "class": np.where(X.sum(axis=1) > 10, "yes", "no")}
)


def network(n_outputs, *end, classes=(), columns=("a", "b"), hidden=True):
    """An imported network with random weights."""
    sizes = (2, 4, n_outputs) if hidden else (2, n_outputs)
    layers = [Scaling(np.full(2, 0.5), np.full(2, -2.5))]
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        layers += [Activation("tanh")] * (k > 0) + [Linear(RNG.normal(size=(n_in, n_out)), RNG.normal(size=n_out))]
    content = FileContent((*layers, *map(Activation, end)))
    return assemble_model(content, Names(columns, classes), "m").model


def fine_tune(model, table=TABLE, targets=("class",), messages=None, **options):
    spec = Spec.from_hyperparameters(**{"epochs": 5, "members": 2, "folds": 2} | options)
    notify = (lambda message: None) if messages is None else messages.append
    return fit(Table(table, "t.csv"), targets, spec, start=model, notify=notify).model


def test_training_starts_from_the_networks_of_the_model():
    model, messages = network(1, "sigmoid", classes=("no", "yes")), []
    tuned = fine_tune(model, messages=messages, learning_rate=1e-9)
    for trained in tuned.networks:
        np.testing.assert_allclose(trained.theta, model.networks[0].theta, atol=1e-5)
    assert tuned.encoder == model.encoder
    assert tuned.target.names == ("class",)
    assert tuned.target.labels == ("no", "yes")
    assert any(message.startswith("start: 1 network, 2 inputs -> 4 tanh -> 1 output") for message in messages)
    assert "columns left out, which the model does not have: 'other'" in messages


@pytest.mark.parametrize("hidden", [True, False])
def test_fine_tuning_improves_the_model(hidden):
    model = network(1, "sigmoid", classes=("no", "yes"), hidden=hidden)
    tuned = fine_tune(model, epochs=60, patience=60, learning_rate=0.05)
    classes = TABLE["class"].to_numpy()
    assert np.mean(tuned.predict(TABLE) == classes) > max(np.mean(model.predict(TABLE) == classes), 0.9)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_an_imported_perceptron_is_fine_tuned(n_outputs):
    classes = ("no", "yes") if n_outputs == 1 else ("maybe", "no", "yes")
    content = FileContent((Linear(RNG.normal(size=(2, n_outputs)), np.zeros(n_outputs)),), is_perceptron=True)
    model = assemble_model(content, Names(("a", "b"), classes), "m").model
    tuned = fine_tune(model, epochs=20)
    assert tuned.target.labels == classes
    assert np.mean(tuned.predict(TABLE) == TABLE["class"].to_numpy()) > 0.8


def test_values_are_scaled_as_before_and_their_limits_widened():
    model = network(1, columns=("a", "b"))
    model = replace(model, trials=(replace(
        model.trials[0], target=model.target.model_copy(update={"low": (0.0,), "high": (1.0,)})),))  # fmt: skip
    tuned = fine_tune(model, TABLE.with_columns(y=pl.col("a") * 100), ("y",))
    assert (tuned.target.center, tuned.target.scale) == ((0.0,), (1.0,))
    assert tuned.target.low[0] <= 0
    assert tuned.target.high[0] > 100


def test_a_fitted_model_with_categories_is_fine_tuned_further():
    table = TABLE.with_columns(city=pl.Series(["u", "v", None] * 40))
    options = {"hidden_sizes": (4,), "members": 2, "epochs": 3}
    first = fit(Table(table, "t.csv"), ["class"], Spec.from_hyperparameters(**options), notify=lambda _: None).model
    tuned = fine_tune(first, table, learning_rate=1e-9)
    for before, after in zip(first.networks, tuned.networks, strict=True):
        np.testing.assert_allclose(after.theta, before.theta, atol=1e-5)
    assert tuned.schema == first.schema


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_sizes": (7,)}, r"continues networks with hidden_sizes \(4,\), but hidden_sizes is set to \(7,\)"),
        ({"numeric_encoding": "quantile"}, "continues networks with numeric_encoding standard"),
        ({"loss": "focal"}, "continues networks with loss auto"),
        ({"trials": 3}, "one set of hyperparameters"),
    ],
)
def test_hyperparameters_of_the_networks_and_encoder_cannot_change(options, message):
    with pytest.raises(SpecError, match=message):
        start_spec(Spec.from_hyperparameters(**options), network(1, "sigmoid"))


def test_hyperparameters_of_training_and_of_the_split_are_free():
    spec = start_spec(Spec.from_hyperparameters(epochs=3, test_fraction=0.5), network(1, "sigmoid"))
    assert (spec["epochs"], spec["test_fraction"], spec["hidden_sizes"]) == (3, 0.5, (4,))


def test_tables_that_do_not_fit_the_model_are_one_sentence():
    model = network(1, "sigmoid", classes=("no", "yes"))
    with pytest.raises(TableError, match="'b'"):
        fine_tune(model, TABLE.drop("b"))
    with pytest.raises(TableError, match="maybe"):
        fine_tune(model, TABLE.with_columns(pl.Series("class", ["yes", "no", "maybe"] * 40)))
    with pytest.raises(TableError, match=r"predicts 1 column .* but 2 targets are given"):
        fine_tune(model, targets=("class", "other"))


def test_ensembles_forecasts_and_other_options_are_refused():
    model = network(1, "sigmoid", classes=("no", "yes"))
    ensemble = replace(model, trials=model.trials * 2)
    with pytest.raises(SpecError, match="is an ensemble"):
        start_spec(Spec(), ensemble)
    with pytest.raises(SpecError, match="--ignore has no effect with --start"):
        fit(Table(TABLE, "t"), ["class"], Spec(), start=model, ignore=["other"], notify=lambda _: None)
    with pytest.raises(SpecError, match="for binary, but --task is regression"):
        fit(Table(TABLE, "t"), ["class"], Spec(), start=model, task="regression", notify=lambda _: None)
