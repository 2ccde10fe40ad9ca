import itertools

import numpy as np
import pytest

from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training import rows as rows_module
from rosenblatt.training import state
from rosenblatt.training.compiled import mlp
from rosenblatt.training.compiled.activations import ACTIVATIONS
from rosenblatt.training.compiled.dispatch import compile_kernels, compiled_layout, make_job, with_train_step
from rosenblatt.training.compiled.losses import LOSSES
from rosenblatt.training.compiled.optimizers import OPTIMIZERS
from rosenblatt.training.member import new_member
from rosenblatt.training.schedules import schedule_factors

N, F, K, EPOCHS = 48, 5, 3, 25
SIZES = (7, 7, 4)
PLAIN = {
    "activation": "tanh", "hidden_sizes": SIZES, "batch_size": 16, "batch_order": "in_order", "clip_norm": 0.0,
    "dropout": 0.0, "learning_rate": 0.01, "epochs": EPOCHS, "bias_initializer": "normal", "bias_scale": 0.1,
}  # fmt: skip
MULTICLASS = ("cross_entropy", "focal", "hinge_of_classes", "perceptron_of_classes")
PER_UNIT = ("binary_cross_entropy", "binary_focal", "hinge", "perceptron")


def rows_for(loss, dtype=np.float64, n=N):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, F))
    if loss in MULTICLASS:
        t = rng.integers(0, K, (n, 1))
    elif loss in PER_UNIT:
        t = rng.integers(0, 2, (n, K))
    else:
        t = rng.poisson(2, (n, K)) if loss == "poisson" else rng.normal(size=(n, K))
    return rows_module.DenseRows(x.astype(dtype), t.astype(dtype), rng.uniform(0.5, 2, n).astype(dtype))


def member_for(criterion, rows, **changes):
    """Return a member in the precision of the rows."""
    spec = resolve_auto(Spec.from_hyperparameters(**PLAIN | changes), len(rows.x), F)
    member = new_member(
        spec, build_dense(spec.network, F, K), criterion, np.arange(len(rows.x)), np.arange(0), (0,), rows
    )
    arrays = (array.astype(rows.x.dtype) if array.dtype == np.float32 else array for array in member.state)
    member.state = state.MemberState(*arrays)
    return member


def train(member, rows, epochs):
    batches = -(-len(member.state.order) // member.config.batch_size)
    total, steps = batches * member.spec["epochs"], np.arange(batches * epochs)
    factors, losses = schedule_factors(member.spec.training, steps, total), np.full(epochs, np.nan)
    n_finished = mlp.train(with_train_step(make_job(member, rows)), factors, losses, np.zeros(1, np.uint8))
    return losses, n_finished, factors


SMOOTH = {"huber": "huber", "quantile": "quantile", "focal": "focal", "binary_focal": "focal", "poisson": "poisson"}
SMOOTH |= {"hinge": "hinge", "hinge_of_classes": "hinge"}
REGULARIZERS = {
    "label smoothing": {"label_smoothing": 0.1},
    "weight decay": {"weight_decay": 0.1},
    "l1": {"l1": 0.05},
    "clipping": {"clip_norm": 0.1},
    "max norm": {"max_norm": 0.7},
    # Parameters before a normalization have gradients of 0 up to rounding, which Adam would amplify.
    "batch normalization": {"normalization": "batch", "optimizer": "nesterov", "learning_rate": 0.002},
    "layer normalization": {"normalization": "layer", "optimizer": "nesterov", "learning_rate": 0.002},
    "residual": {"residual": True},
    "scaling layer": {"scaling_layer": True},
    "parametric activation": {"parametric_activation": True},
    "multipliers": {"layer_lr_multipliers": (0.1, 0.5, 1.0, 2.0), "bias_lr_multiplier": 0.3},
    "running average": {"ema_decay": 0.9},
    "schedules": {"schedule": "log_cosine", "weight_decay": 0.1, "weight_decay_schedule": "flat_cosine"},
    "full batch": {"batch_size": "full"},
    "uneven batches": {"batch_size": 13},
}
EVERYTHING = {
    "activation": "silu", "normalization": "layer", "residual": True, "scaling_layer": True,
    "parametric_activation": True, "l1": 1e-3,
    "max_norm": 2.0, "weight_decay": 0.01, "clip_norm": 1.0, "ema_decay": 0.95, "schedule": "one_cycle",
    "layer_lr_multipliers": (0.5, 1.0, 1.0, 2.0), "bias_lr_multiplier": 0.5, "label_smoothing": 0.1,
    "optimizer": "momentum", "learning_rate": 0.002,
}  # fmt: skip
RUNS = {
    **{f"{name} activation": ("cross_entropy", {"activation": name}) for name in ACTIVATIONS},
    **{
        f"{name} loss": (name, {"loss": SMOOTH[name]} if name in SMOOTH else {})
        for name in LOSSES
        if name not in {"perceptron", "perceptron_of_classes"}  # 0 at the kink in one framework, not in the other
    },
    **{
        f"{name} on {loss}": (
            loss,
            {"optimizer": name, "weight_decay": 0.05, "activation": "gelu", "learning_rate": 0.002},
        )
        for name, loss in itertools.product(OPTIMIZERS, ("binary_cross_entropy", "squared"))
    },
    **{
        f"{name} with {activation}": ("cross_entropy", changes | {"activation": activation})
        for (name, changes), activation in itertools.product(REGULARIZERS.items(), ("tanh", "mish"))
    },
    "everything": ("cross_entropy", EVERYTHING),
    "everything with batch normalization": ("binary_cross_entropy", EVERYTHING | {"normalization": "batch"}),
}


@pytest.mark.torch
@pytest.mark.parametrize("run", RUNS)
def test_a_training_run_equals_that_of_pytorch(run):
    reference = pytest.importorskip("tests.training.reference", reason="PyTorch is not installed")
    loss, changes = RUNS[run]
    rows = rows_for(loss)
    member = member_for(loss, rows, **changes)
    first = member.state.theta.copy()
    losses, n_finished, rates = train(member, rows, EPOCHS)
    assert n_finished == EPOCHS
    theta, mean = reference.train(member, first, rows, EPOCHS, rates)
    assert np.abs(theta - first).max() > 1e-3
    np.testing.assert_allclose(member.state.theta, theta, rtol=0, atol=1e-10)
    if member.spec.training.ema_decay:
        np.testing.assert_allclose(member.state.mean, mean, rtol=0, atol=1e-10)
    assert np.isfinite(losses).all()


FORMS = {"plain": {}, **REGULARIZERS, "everything": EVERYTHING, "dropout": {"dropout": 0.4, "input_dropout": 0.3}}
ONLY_GRADIENT = {
    "optimizer": "sgd",
    "clip_norm": 0.0,
    "l1": 0.0,
    "max_norm": 0.0,
    "weight_decay": 0.0,
    "ema_decay": 0.0,
}
SAME_RATES = {"layer_lr_multipliers": (1.0,), "bias_lr_multiplier": 1.0, "schedule": "constant", "batch_size": "full"}


@pytest.mark.parametrize(
    ("loss", "form", "activation"),
    [
        *itertools.product(LOSSES, ["plain"], ["silu"]),
        *itertools.product(["cross_entropy"], ["plain"], sorted(set(ACTIVATIONS) - {"step"})),
        *itertools.product(["squared"], sorted(set(FORMS) - {"plain"}), ["tanh"]),
    ],
)
def test_gradients_equal_finite_differences(loss, form, activation):
    """Dropout is included: equal counters drop the same units."""
    changes = FORMS[form] | ONLY_GRADIENT | SAME_RATES | {"activation": activation, "label_smoothing": 0.0}
    if loss in SMOOTH:
        changes["loss"] = SMOOTH[loss]
    changes = {"scaling_layer_lr_multiplier": 1.0} | changes if "scaling_layer" in changes else changes
    changes = {"parametric_activation_lr_multiplier": 1.0} | changes if "parametric_activation" in changes else changes
    rows, member = rows_for(loss), member_for(loss, rows_for(loss), **changes)
    before = member.state.theta.copy()
    train(member, rows, 1)
    gradient = (before - member.state.theta) / member.spec["learning_rate"]

    def loss_at(theta):
        perturbed = member_for(loss, rows, **changes)
        perturbed.state.theta[:] = theta
        return train(perturbed, rows, 1)[0][0] * rows.weight.sum() / N

    trainable = [
        k
        for part in member.architecture.parts
        if part.name not in {"mean", "variance"}
        for k in range(part.start, part.end)
    ]
    h = 1e-6
    for i in np.random.default_rng(2).permutation(trainable)[:40]:
        up, down = before.copy(), before.copy()
        up[i] += h
        down[i] -= h
        assert gradient[i] == pytest.approx((loss_at(up) - loss_at(down)) / (2 * h), abs=2e-7)


def test_every_row_is_used_once_in_an_epoch_of_any_batches():
    """With a learning rate near 0, the mean loss of an epoch is that of the full batch."""
    rows = rows_for("cross_entropy")
    still = {"learning_rate": 1e-300, "optimizer": "sgd"}
    losses = [
        train(member_for("cross_entropy", rows, batch_size=size, batch_order=batches, **still), rows, 1)[0][0]
        for size, batches in itertools.product((1, 7, 16, N, 1000, "full"), ("shuffled", "stratified", "in_order"))
    ]
    np.testing.assert_allclose(losses, losses[0])


def test_a_batch_larger_than_a_block_is_one_step():
    rows = rows_for("squared", n=3 * mlp.BLOCK + 5)
    full, blockwise = (member_for("squared", rows, batch_size="full") for _ in range(2))
    block = mlp.BLOCK
    train(full, rows, 3)
    assert full.state.step[0] == 3
    x, t, weight = rows.x, rows.t, rows.weight
    n = len(x)
    for epoch in range(3):  # the mean of the gradients of four batches is the gradient of all
        gradient = np.zeros_like(blockwise.state.theta)
        for first in range(0, n, block):
            block_rows = rows_module.DenseRows(
                x[first : first + block], t[first : first + block], weight[first : first + block]
            )
            block_member = member_for("squared", block_rows, batch_size="full", optimizer="sgd")
            block_member.state.theta[:] = blockwise.state.theta
            train(block_member, block_rows, 1)
            gradient += (blockwise.state.theta - block_member.state.theta) / 0.01 * len(block_rows.x) / n
        m, v = blockwise.state.m, blockwise.state.v
        m += 0.1 * (gradient - m)
        v += 0.001 * (gradient**2 - v)
        step = epoch + 1
        blockwise.state.theta[:] -= 0.01 * m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(full.state.theta, blockwise.state.theta, atol=1e-9)


def test_stratified_batches_hold_each_class_in_proportion():
    rng = np.random.default_rng(0)
    t = rng.permutation(np.repeat([0.0, 1.0], [90, 10])).reshape(-1, 1)
    rows = rows_module.DenseRows(rng.normal(size=(100, F)), t, np.ones(100))
    member = member_for("cross_entropy", rows, batch_size=20, batch_order="stratified")
    before = member.state.order.copy()
    train(member, rows, 1)
    assert not np.array_equal(before, member.state.order)
    for batch in range(5):
        assert t[member.state.order[batch::5]].sum() == 2


@pytest.mark.parametrize("n", [0, 1, 95, 96, 97, 100, 193, 1028])
def test_rows_are_predicted_in_blocks_of_about_the_same_size(n):
    block = mlp.prediction_block(n)
    assert 1 <= block <= mlp.PREDICTION_BLOCK
    n_blocks = -(-n // block)
    assert n_blocks == -(-n // mlp.PREDICTION_BLOCK)
    assert n - block * (n_blocks - 1) > block - n_blocks or n == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
def test_the_prediction_of_a_row_does_not_depend_on_the_other_rows(dtype, normalization):
    rows = rows_for("cross_entropy", dtype, n=601)
    changes = {"hidden_sizes": (50, 20), "activation": "gelu", "normalization": normalization}
    member = member_for("cross_entropy", rows, **changes)
    train(member, rows, 1)
    layout = compiled_layout(member.architecture)
    kernels = compile_kernels("gelu", normalization, dtype=np.dtype(dtype).name)
    together = np.empty((601, K), dtype)
    mlp.predict(layout, kernels, member.state.theta, rows.x, np.arange(601), together)
    for index in (np.arange(1), np.arange(600, -1, -1), np.array([5, 200]), np.arange(0)):
        subset = np.empty((index.size, K), dtype)
        mlp.predict(layout, kernels, member.state.theta, rows.x, index, subset)
        np.testing.assert_array_equal(subset, together[index])


def test_training_stops_if_the_stop_flag_is_set_and_returns_the_finished_epochs():
    rows, member = rows_for("squared"), member_for("squared", rows_for("squared"))
    before = member.state.theta.copy()
    job = with_train_step(make_job(member, rows))
    assert mlp.train(job, np.ones((20, 3)), np.empty(5), np.ones(1, np.uint8)) == 0
    np.testing.assert_array_equal(member.state.theta, before)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in {"step", "sigmoid", "tanh"}])
def test_a_loss_that_is_not_finite_ends_training(activation):
    rows = rows_for("squared", np.float32)
    wild = {"learning_rate": 1000.0, "optimizer": "sgd", "activation": activation, "weight_scale": 100.0}
    member = member_for("squared", rows, **wild)
    losses, n_finished, _ = train(member, rows, EPOCHS)
    assert n_finished < EPOCHS
    assert not np.isfinite(losses[n_finished])


@pytest.mark.parametrize("loss", LOSSES)
def test_training_in_float32_stays_near_float64(loss):
    runs = {}
    for dtype in (np.float32, np.float64):
        rows = rows_for(loss, dtype)
        member = member_for(loss, rows, activation="gelu", **({"loss": SMOOTH[loss]} if loss in SMOOTH else {}))
        runs[dtype] = train(member, rows, 5)[0]
    np.testing.assert_allclose(runs[np.float32], runs[np.float64], rtol=1e-4)
