"""Trainers of members and predictions of networks, for all kinds of networks and rows."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.special import softmax

from rosenblatt.networks.dense import DenseArchitecture, build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import logits, make_trainer, predict
from rosenblatt.training.member import new_member
from rosenblatt.training.rows import DenseRows, SparseRows

RNG = np.random.default_rng(0)
N, F, K = 40, 4, 3
X = RNG.normal(size=(N, F)).astype(np.float32)
CLASSES = X[:, :K].argmax(axis=1).astype(np.float32)
ROWS = DenseRows(X, CLASSES[:, None], RNG.uniform(0.5, 1.5, N).astype(np.float32))
LINEAR = DenseArchitecture("mlp", (F, K), "identity")
PERCEPTRON = {"kind": "perceptron", "perceptron_rule": "rosenblatt"}
NETWORKS = [PERCEPTRON, PERCEPTRON | {"perceptron_rule": "voted", "budget": 6}]


def sparse(rows):
    matrix = csr_array(rows.x)
    return SparseRows(
        matrix.data, matrix.indices.astype(np.uint32), matrix.indptr.astype(np.int64), rows.t, rows.weight
    )


def make_member(table=ROWS, rows=range(30), validation=range(30, N), **changes):
    small = {} if changes.get("kind") == "perceptron" else {"hidden_sizes": (4,)}
    spec = resolve_auto(Spec.from_hyperparameters(**small | changes), N, F)
    loss = "perceptron" if spec.network.kind == "perceptron" else "cross_entropy"
    architecture = build_dense(spec.network, F, K)
    rows, validation = np.array(rows), np.array(validation, np.int64)
    return new_member(spec, architecture, loss, rows, validation, (0,), table)


def random_theta(architecture):
    return np.random.default_rng(1).normal(size=architecture.n_parameters).astype(np.float32)


def train_epochs(member, table, epochs, *, stopped=False):
    losses = np.full(epochs, np.nan)
    n_finished = make_trainer(member, table).train_epochs(losses, np.array([stopped], np.uint8))
    return losses, n_finished


def test_logits_of_a_linear_network_are_weighted_sums_in_the_order_of_the_index():
    theta, index = random_theta(LINEAR), np.array([7, 2, 2, 39])
    ((weights, biases),) = LINEAR.layers(theta)
    sums = logits(LINEAR, theta, ROWS, index)
    assert sums.dtype == np.float32
    np.testing.assert_allclose(sums, X[index] @ weights + biases, rtol=1e-5, atol=1e-6)
    assert logits(LINEAR, theta, ROWS, index[:0]).shape == (0, K)


def test_the_logits_of_a_row_do_not_depend_on_the_other_rows():
    architecture = DenseArchitecture("mlp", (F, 16, K), "silu")
    theta = random_theta(architecture)
    together = logits(architecture, theta, ROWS, np.arange(N))
    alone = [logits(architecture, theta, ROWS, np.array([row]))[0] for row in range(N)]
    np.testing.assert_array_equal(together, alone)


def test_predictions_are_the_logits_after_the_output_activation_of_the_loss():
    theta, index = random_theta(LINEAR), np.arange(N)
    sums = logits(LINEAR, theta, ROWS, index)
    expected = {
        "cross_entropy": softmax(sums, axis=1),
        "binary_cross_entropy": 1 / (1 + np.exp(-sums)),
        "poisson": np.exp(sums),
        "squared": sums,
        "hinge": sums,
    }
    for loss, outputs in expected.items():
        np.testing.assert_allclose(predict(LINEAR, loss, theta, ROWS, index), outputs, rtol=1e-4, err_msg=loss)


@pytest.mark.parametrize("changes", NETWORKS)
def test_dense_and_sparse_rows_give_the_same_logits(changes):
    member = make_member(**changes)
    train_epochs(member, ROWS, 2)
    architecture, theta, index = member.architecture, member.inference_parameters, np.array([5, 0, 31])
    dense_logits = logits(architecture, theta, ROWS, index)
    assert np.abs(dense_logits).max() > 0
    sparse_logits = logits(architecture, theta, sparse(ROWS), index)
    np.testing.assert_allclose(sparse_logits, dense_logits, rtol=1e-4, atol=1e-5)


def test_training_reports_the_loss_of_each_epoch_and_reduces_it():
    member = make_member(learning_rate=0.05)
    losses, n_finished = train_epochs(member, ROWS, 10)
    assert n_finished == 10
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("changes", [{"hidden_sizes": (4,)}, *NETWORKS])
def test_training_that_is_stopped_at_the_start_changes_no_parameter(changes):
    member = make_member(**changes)
    theta = member.state.theta.copy()
    _, n_finished = train_epochs(member, ROWS, 3, stopped=True)
    assert n_finished == 0
    np.testing.assert_array_equal(member.state.theta, theta)


def test_validation_returns_outputs_and_the_weighted_mean_loss_of_the_validation_rows():
    member = make_member()
    outputs, loss = make_trainer(member, ROWS).validate()
    index = member.validation
    expected = predict(member.architecture, member.loss, member.inference_parameters, ROWS, index)
    np.testing.assert_array_equal(outputs, expected)
    row_losses = -np.log(outputs[np.arange(index.size), CLASSES[index].astype(int)])
    assert loss == pytest.approx(np.average(row_losses, weights=ROWS.weight[index]), rel=1e-5)


def test_training_and_validation_share_a_call_only_if_the_validation_loss_selects_the_epoch():
    assert make_trainer(make_member(), ROWS).train_epochs_with_validation is not None
    assert make_trainer(make_member(validation=()), ROWS).train_epochs_with_validation is None
    assert make_trainer(make_member(schedule="plateau"), ROWS).train_epochs_with_validation is None
    assert make_trainer(make_member(**PERCEPTRON), ROWS).train_epochs_with_validation is None


def test_a_perceptron_converges_with_the_first_epoch_without_a_mistake():
    separable = DenseRows(
        np.eye(4, dtype=np.float32), np.array([[0], [1], [2], [0]], np.float32), np.ones(4, np.float32)
    )
    member = make_member(separable, range(4), (), **PERCEPTRON)
    trainer, losses, stop = make_trainer(member, separable), np.empty(1), np.zeros(1, np.uint8)
    for _ in range(50):
        assert not trainer.converged()
        trainer.train_epochs(losses, stop)
        if losses[0] == 0:
            break
    assert losses[0] == 0
    assert trainer.converged()
    assert not make_trainer(make_member(), ROWS).converged()
