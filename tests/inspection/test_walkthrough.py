import numpy as np
import polars as pl
import pytest

from rosenblatt.data.dataset import Data
from rosenblatt.data.schema.columns import of_types
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import TableError
from rosenblatt.inspection.walkthrough import described, go_back, walk
from rosenblatt.models.fit import learn
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.losses import LOSSES

RNG = np.random.default_rng(0)
FRAME = pl.DataFrame(
    {"age": RNG.normal(40, 9, 80), "job": RNG.choice(["clerk", "cook", "pilot"], 80), "z": RNG.normal(size=80)}
)
Y = (FRAME["age"].to_numpy() > 40).astype(float)
CLASSES = (FRAME["job"] == "cook").to_numpy() + 2.0 * (FRAME["z"].to_numpy() > 0.5)
BINARY = Target(names=("rich",), task="binary", labels=("no", "yes"))
MANY = Target(names=("kind",), task="multiclass", labels=("a", "b", "c", "d"))
FORMS = [
    {"activation": "gelu"},
    {"normalization": "layer", "residual": True, "hidden_sizes": (6, 6, 6)},
    {"normalization": "batch", "parametric": True, "front_scale": True},
    {"loss": "focal", "activation": "silu"},
    {"label_smoothing": 0.1, "activation": "tanh"},
    {"kind": "perceptron", "hidden_sizes": "auto"},
    {"kind": "perceptron", "rule": "voted", "hidden_sizes": "auto"},
]


def fitted(target=BINARY, y=Y, **changes):
    spec = Spec.of(**{"hidden_sizes": (6, 6), "members": 2, "epochs": 4, "folds": 2, "bins": 4} | changes)
    return learn(spec, of_types(FRAME), target.taught_by(spec, y), Data(FRAME, y))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("target", "y"), [(BINARY, Y), (MANY, CLASSES)], ids=["two classes", "four classes"])
def test_the_walk_comes_to_what_the_model_says(form, target, y):
    model = fitted(target, y, **form | ({"members": 1} if "kind" in form else {}))
    for row in (1, 7):
        said = [walk(model, FRAME, row, which + 1).predicted for which in range(len(model.networks))]
        np.testing.assert_allclose(np.mean(said, axis=0), model.decoded(FRAME[row - 1 : row])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS[:5], ids=str)
def test_gradients_are_those_of_finite_differences(form):
    model = fitted(**form)
    walked = walk(model, FRAME, 3)
    go_back(walked, Y[2:3])
    theta = walked.network.theta
    theta64 = theta.astype(np.float64)
    t, chosen = model.target.encode(Y[2:3]).astype(float), model.chosen.training

    def loss_at(l, j, k, change):
        theta[:] = theta64
        W, _ = walked.network.architecture.layers(theta)[l]
        W[j, k] += np.float32(change)
        moved = float(W[j, k]) - float(walked.layers[l].weights[j, k])
        sums = walk(model, FRAME, 3).layers[-1].sums[None]
        return LOSSES[model.target.loss](
            sums.copy(), t, np.ones(1), np.empty_like(sums), chosen.label_smoothing, 2.0
        ), moved

    for l, layer in enumerate(walked.layers):
        for _ in range(5):
            j, k = int(RNG.integers(layer.weights.shape[0])), int(RNG.integers(layer.weights.shape[1]))
            (up, moved_up), (down, moved_down) = loss_at(l, j, k, 1e-3), loss_at(l, j, k, -1e-3)
            assert layer.weight_gradients[j, k] == pytest.approx(
                (up - down) / (moved_up - moved_down), abs=2e-5, rel=1e-3
            )
    theta[:] = theta64


def test_every_sum_is_its_contributions_and_its_bias():
    told = described(walk(fitted(), FRAME, 5), FRAME, 5, 3)
    assert told["cells"]["job"] == FRAME["job"][4]
    for layer in told["layers"]:
        assert len(layer["shown"]) == min(3, layer["units"])
        for unit in layer["shown"]:
            total = sum(c["product"] for c in unit["contributions"]) + unit["others"]["sum"] + unit["bias"]
            assert unit["sum"] == pytest.approx(total)
    assert {c["input"] for unit in told["layers"][0]["shown"] for c in unit["contributions"]} == {"age", "job", "z"}


def test_what_cannot_be_explained_says_so():
    model = fitted()
    with pytest.raises(TableError, match="There is no row 81; the table has 80"):
        walk(model, FRAME, 81)
    with pytest.raises(TableError, match="There is no network 3; the model has 2"):
        walk(model, FRAME, 1, 3)
    perceptron = fitted(kind="perceptron", hidden_sizes="auto")
    with pytest.raises(TableError, match="learns from its mistakes, not by gradients"):
        go_back(walk(perceptron, FRAME, 1), Y[:1])
    alike = fitted(kind="perceptron", rule="kernel", hidden_sizes="auto")
    with pytest.raises(TableError, match="goes by likeness to rows it keeps"):
        walk(alike, FRAME, 1)
