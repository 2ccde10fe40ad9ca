"""Products of the first layer by the structure of its inputs equal matrix products."""

import numpy as np
import pytest

from rosenblatt.data.encoding.encoder import NumberEncoding
from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.encoding import MatrixEncoder
from rosenblatt.training.compiled.first_layer import SortedRows, input_weight_gradient, multiply_inputs
from rosenblatt.training.member import new_member
from rosenblatt.training.population import train
from rosenblatt.training.rows import DenseRows

RNG = np.random.default_rng(0)
EDGES = tuple(np.linspace(-1, 1, 8))
SPANS = {
    "piecewise": [(0, 8, 1), (8, 8, 1), (16, 8, 1)],
    "dense": [(0, 24, 0)],
    "piecewise first": [(0, 8, 1), (8, 16, 0)],
    "dense first": [(0, 8, 0), (8, 8, 1), (16, 8, 0)],
}
"""Ways to look at three numbers with seven parts each."""


def encoded(n, dtype):
    """Numbers (n, 3), of which some are below the first edge, on edges, and above the last, as features (n, 24)."""
    values = RNG.normal(size=(n, 3))
    values[: n // 3, 0] = RNG.choice(EDGES, n // 3)
    encoding = NumberEncoding(column="x", edges=EDGES, smooth_clip=True)
    return MatrixEncoder([encoding] * 3).encode(values).astype(dtype)


def multiply(spans, x, W, b):
    z, spans = np.full((len(x), b.size), np.nan, x.dtype), np.array(spans, np.int64)
    rows = SortedRows(x.ravel(), np.empty((len(spans) + 1) * len(x), np.int64), np.empty(x.shape[1], np.int64))
    multiply_inputs(spans, rows, W.ravel(), b, z.ravel())
    return z, rows


@pytest.mark.parametrize("spans", SPANS)
@pytest.mark.parametrize(("n", "n_units"), [(1, 5), (2, 70), (3, 1), (20, 16), (40, 130), (256, 512)])
def test_products_and_gradients_equal_those_of_matrices(spans, n, n_units):
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-5)):
        x = encoded(n, dtype)
        W, d = RNG.normal(size=(24, n_units)).astype(dtype), RNG.normal(size=(n, n_units)).astype(dtype)
        b, zeros = RNG.normal(size=n_units).astype(dtype), np.zeros(n_units, dtype)
        z, rows = multiply(SPANS[spans], x, W, b)
        np.testing.assert_allclose(z, x.astype(float) @ W + b, rtol=tolerance, atol=10 * tolerance)
        gradient = np.full_like(W, np.nan)
        for times in (1, 2):  # the second adds to the first
            flat = d.ravel(), gradient.ravel(), zeros
            input_weight_gradient(np.array(SPANS[spans]), rows, *flat, times == 2)
            expected = times * (x.astype(float).T @ d)
            np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=100 * tolerance)


def test_a_row_does_not_depend_on_other_rows():
    x, W, b = encoded(50, np.float32), RNG.normal(size=(24, 70)).astype(np.float32), np.zeros(70, np.float32)
    together, _ = multiply(SPANS["piecewise first"], x, W, b)
    for rows in (slice(0, 1), slice(7, 9), slice(3, 40)):
        np.testing.assert_array_equal(multiply(SPANS["piecewise first"], x[rows], W, b)[0], together[rows])


@pytest.mark.parametrize("options", [{}, {"input_dropout": 0.2}, {"scaling_layer": True}, {"normalization": "batch"}])
def test_training_is_equal_with_and_without_known_spans(options):
    x = encoded(120, np.float64)
    t, weight = (x[:, :1] * x[:, 8:9] > 0).astype(float), np.ones(120)
    changes = {"hidden_sizes": (20,), "epochs": 4, "dropout": 0.1, "batch_size": 25} | options
    spec = resolve_auto(Spec.from_hyperparameters(**changes), 120, 3)
    scores = []
    for spans in (SPANS["piecewise"], np.empty((0, 3))):
        rows = DenseRows(x, t, weight, np.array(spans, np.int64))
        architecture, index = build_dense(spec.network, 24, 1), np.arange(120)
        member = new_member(spec, architecture, "binary_cross_entropy", index[:90], index[90:], (0,), rows)
        as_float64 = {name: getattr(member.state, name).astype(float) for name in ("theta", "m", "v", "mean")}
        member.state = member.state._replace(**as_float64)
        list(train([member], rows))
        scores.append([record.score for record in member.history])
    np.testing.assert_allclose(*scores, rtol=1e-10)
