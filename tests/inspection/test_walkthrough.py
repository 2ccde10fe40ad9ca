import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import TableError
from rosenblatt.inspection.walkthrough import trace_backward, trace_forward, trace_to_dict
from rosenblatt.models.fit import fit_model
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.losses import LOSSES

RNG = np.random.default_rng(0)
FRAME = pl.DataFrame(
    {"age": RNG.normal(40, 9, 80), "job": RNG.choice(["clerk", "cook", "pilot"], 80), "z": RNG.normal(size=80)}
)
Y = (FRAME["age"].to_numpy() > 40).astype(float)
CLASSES = (FRAME["job"] == "cook").to_numpy() + 2.0 * (FRAME["z"].to_numpy() > 0.5)
BINARY = Target(names=("rich",), task="binary", labels=("no", "yes"))
MULTICLASS = Target(names=("kind",), task="multiclass", labels=("a", "b", "c", "d"))
FORMS = [
    {"activation": "gelu"},
    {"normalization": "layer", "residual": True, "hidden_sizes": (6, 6, 6)},
    {"normalization": "batch", "parametric_activation": True, "scaling_layer": True},
    {"loss": "focal", "activation": "silu"},
    {"label_smoothing": 0.1, "activation": "tanh"},
    {"kind": "perceptron", "hidden_sizes": "auto"},
    {"kind": "perceptron", "perceptron_rule": "voted", "hidden_sizes": "auto"},
]


def fitted(target=BINARY, y=Y, **changes):
    spec = Spec.from_hyperparameters(
        **{"hidden_sizes": (6, 6), "members": 2, "epochs": 4, "folds": 2, "bins": 4} | changes
    )
    return fit_model(spec, schema_from_dtypes(FRAME), target.with_loss(spec, y), Dataset(FRAME, y))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("target", "y"), [(BINARY, Y), (MULTICLASS, CLASSES)], ids=["two classes", "four classes"])
def test_the_result_of_a_walkthrough_equals_the_prediction(form, target, y):
    model = fitted(target, y, **form | ({"members": 1} if "kind" in form else {}))
    for row in (1, 7):
        predictions = [trace_forward(model, FRAME, row, index + 1).predicted for index in range(len(model.networks))]
        np.testing.assert_allclose(
            np.mean(predictions, axis=0), model.predict_raw(FRAME[row - 1 : row])[0], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("form", FORMS[:5], ids=str)
def test_gradients_equal_finite_differences(form):
    model = fitted(**form)
    trace = trace_forward(model, FRAME, 3)
    trace_backward(trace, Y[2:3])
    theta = trace.network.theta
    theta64 = theta.astype(np.float64)
    t, training = model.target.encode(Y[2:3]).astype(float), model.resolved_spec.training

    def loss_at(l, j, k, change):
        theta[:] = theta64
        W, _ = trace.network.architecture.layers(theta)[l]
        W[j, k] += np.float32(change)
        change_made = float(W[j, k]) - float(trace.layers[l].weights[j, k])
        sums = trace_forward(model, FRAME, 3).layers[-1].pre_activations[None]
        return LOSSES[model.target.loss](
            sums.copy(), t, np.ones(1), np.empty_like(sums), training.label_smoothing, 2.0
        ), change_made

    for l, layer in enumerate(trace.layers):
        for _ in range(5):
            j, k = int(RNG.integers(layer.weights.shape[0])), int(RNG.integers(layer.weights.shape[1]))
            (up, change_up), (down, change_down) = loss_at(l, j, k, 1e-3), loss_at(l, j, k, -1e-3)
            assert layer.weight_gradients[j, k] == pytest.approx(
                (up - down) / (change_up - change_down), abs=2e-5, rel=1e-3
            )
    theta[:] = theta64


def test_every_logit_is_the_sum_of_its_contributions_and_its_bias():
    result = trace_to_dict(trace_forward(fitted(), FRAME, 5), FRAME, 5, 3)
    assert result["cells"]["job"] == FRAME["job"][4]
    for layer in result["layers"]:
        assert len(layer["top_units"]) == min(3, layer["units"])
        for unit in layer["top_units"]:
            total = sum(c["product"] for c in unit["contributions"]) + unit["remainder"]["sum"] + unit["bias"]
            assert unit["sum"] == pytest.approx(total)
    assert {c["input"] for unit in result["layers"][0]["top_units"] for c in unit["contributions"]} == {
        "age",
        "job",
        "z",
    }


def test_unexplainable_models_are_rejected_with_the_reason():
    model = fitted()
    with pytest.raises(TableError, match="There is no row 81; the table has 80"):
        trace_forward(model, FRAME, 81)
    with pytest.raises(TableError, match="There is no network 3; the model has 2"):
        trace_forward(model, FRAME, 1, 3)
    perceptron = fitted(kind="perceptron", hidden_sizes="auto")
    with pytest.raises(TableError, match="trained without gradients"):
        trace_backward(trace_forward(perceptron, FRAME, 1), Y[:1])
    kernel_perceptron = fitted(kind="perceptron", perceptron_rule="kernel", hidden_sizes="auto")
    with pytest.raises(TableError, match="compares a row with its support rows"):
        trace_forward(kernel_perceptron, FRAME, 1)


def test_inputs_made_from_a_date_belong_to_the_column_of_the_table():
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 3, 20), eager=True)
    frame = FRAME.with_columns(days.cast(pl.String).alias("day"))
    schema = infer_schema(frame, 64)
    spec = Spec.from_hyperparameters(hidden_sizes=(4,), members=2, epochs=2, folds=2, bins=4)
    model = fit_model(spec, schema, BINARY.with_loss(spec, Y), Dataset(schema.read(frame), Y))
    inputs = trace_to_dict(trace_forward(model, frame, 5), frame, 5, 3)["inputs"]
    assert {item["column"] for item in inputs} == {"age", "job", "z", "day"}
    assert any(item["input"].startswith("day (weekday)") for item in inputs if item["column"] == "day")
