import numpy as np

from rosenblatt.networks.architectures import Architecture
from rosenblatt.training import dense
from rosenblatt.training.perceptron import train_perceptron
from rosenblatt.training.population import shape_of


def trained(x, t, loss="perceptron", units=1, epochs=100, seed=1, eta=1.0):
    x, t = np.asarray(x, np.float32), np.asarray(t, np.float32).reshape(len(t), -1)
    architecture = Architecture("perceptron", (x.shape[1], units), "step")
    theta = np.zeros(architecture.n_parameters, np.float32)
    state = dense.State(
        theta, theta.copy(), theta.copy(), np.arange(len(x)), np.array([seed], np.uint64), np.zeros(1, np.int64)
    )
    recipe = dense.Recipe(0, eta, 0, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1)
    rows, losses = dense.Rows(x, t, np.ones(len(x), np.float32)), np.full(epochs, np.nan)
    done = train_perceptron(shape_of(architecture, loss), recipe, state, rows, epochs, losses, np.zeros(1, np.uint8))
    return architecture.layers(theta)[0], losses[:done], state


def test_learns_and_and_or_but_not_xor():
    x = [[0, 0], [0, 1], [1, 0], [1, 1]]
    for answers in ([0, 0, 0, 1], [0, 1, 1, 1]):
        (w, b), losses, _ = trained(x, answers)
        assert losses[-1] == 0
        np.testing.assert_array_equal((np.array(x) @ w + b > 0)[:, 0], answers)
    _, losses, _ = trained(x, [0, 1, 1, 0])
    assert len(losses) == 100
    assert losses.min() > 0


def test_takes_the_steps_of_rosenblatts_rule():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(30, 3)).astype(np.float32), rng.integers(0, 2, 30)
    (w, b), losses, state = trained(x, t, epochs=1, eta=0.5)
    weights, bias, mistakes = np.zeros(3), 0.0, 0
    for i in state.order:  # as the rows were met
        y = int(x[i] @ weights + bias > 0)
        weights += 0.5 * (t[i] - y) * x[i]
        bias += 0.5 * (t[i] - y)
        mistakes += t[i] != y
    np.testing.assert_allclose(w[:, 0], weights, rtol=1e-5)
    assert b[0] == bias
    assert losses[0] == mistakes / 30


def test_makes_no_more_mistakes_than_novikoff_allows():
    rng = np.random.default_rng(0)
    direction = np.array([3.0, -4.0]) / 5
    x = rng.uniform(-1, 1, (400, 2))
    x = x[np.abs(x @ direction) > 0.1]
    with_bias = np.column_stack([x, np.ones(len(x))])  # the bias is the weight of a constant 1
    _, losses, _ = trained(x, x @ direction > 0, epochs=1000)
    assert losses[-1] == 0
    radius, margin = np.linalg.norm(with_bias, axis=1).max(), np.abs(x @ direction).min()
    assert losses.sum() * len(x) <= (radius / margin) ** 2


def test_separates_three_classes_by_correcting_winner_and_right_class():
    rng = np.random.default_rng(0)
    centers = np.array([[0, 4], [4, -2], [-4, -2]])
    t = rng.integers(0, 3, 200)
    x = centers[t] + rng.uniform(-1, 1, (200, 2))
    (w, b), losses, _ = trained(x, t, "perceptron_classes", units=3)
    assert losses[-1] == 0
    np.testing.assert_array_equal((x @ w + b).argmax(axis=1), t)
    np.testing.assert_allclose(b.sum(), 0)  # what one class gains another loses
