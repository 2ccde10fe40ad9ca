import numpy as np
import pytest
from scipy.sparse import csr_array

from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import logits, make_trainer
from rosenblatt.training.compiled.perceptron import BEST_N_CORRECT, RULES, set_vote_weights
from rosenblatt.training.compiled.row_operations import add_scaled_row, squared_norm, weighted_sum
from rosenblatt.training.member import new_member
from rosenblatt.training.rows import DenseRows, SparseRows

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
NOISY = (X @ [2, -1, 0.5, 0] + RNG.normal(0, 0.7, 60) > 0.3).astype(np.float32)
CLASSES = RNG.integers(0, 3, 60).astype(np.float32)


def make_table(x, t, weight=None):
    weight = np.ones(len(x)) if weight is None else weight
    t = np.asarray(t, np.float32).reshape(len(t), -1)
    return DenseRows(np.asarray(x, np.float32), t, np.asarray(weight, np.float32))


def sparse(rows):
    matrix = csr_array(rows.x)
    return SparseRows(
        matrix.data, matrix.indices.astype(np.uint32), matrix.indptr.astype(np.int64), rows.t, rows.weight
    )


def trained(table, perceptron_rule="rosenblatt", units=1, epochs=1, loss="perceptron", **changes):
    """Train a member without validation rows; return it and the losses of its epochs."""
    width = changes.pop("width", 0) or table.x.shape[1]
    spec = resolve_auto(
        Spec.from_hyperparameters(kind="perceptron", perceptron_rule=perceptron_rule, epochs=epochs, **changes),
        len(table.t),
        width,
    )
    validation = np.arange(0)
    member = new_member(
        spec, build_dense(spec.network, width, units), loss, np.arange(len(table.t)), validation, (1,), table
    )
    losses = np.full(epochs, np.nan)
    n_finished = make_trainer(member, table).train_epochs(losses, np.zeros(1, np.uint8))
    return member, losses[:n_finished]


def weight_matrix(member):
    W, b = member.architecture.layers(member.inference_parameters)[0]
    return np.vstack([W, b])


def signs(t):
    return np.where(np.asarray(t) > 0, 1.0, -1.0)


def test_a_perceptron_learns_and_and_or_but_not_xor():
    x = [[0, 0], [0, 1], [1, 0], [1, 1]]
    for targets in ([0, 0, 0, 1], [0, 1, 1, 1]):
        member, losses = trained(make_table(x, targets), epochs=100)
        assert losses[-1] == 0
        np.testing.assert_array_equal((np.c_[x, np.ones(4)] @ weight_matrix(member) > 0)[:, 0], targets)
    _, losses = trained(make_table(x, [0, 1, 1, 0]), epochs=100)
    assert len(losses) == 100
    assert losses.min() > 0


def rosenblatt(w, x, s, spec):
    return s * spec["learning_rate"] if (x @ w > 0) != (s > 0) else 0.0


def margin(w, x, s, spec):
    return s * spec["learning_rate"] if s * (x @ w) <= spec.training.margin else 0.0


def passive(w, x, s, spec):
    return s * max(0.0, 1 - s * (x @ w)) / (x @ x)


def passive_1(w, x, s, spec):
    return s * min(max(0.0, 1 - s * (x @ w)) / (x @ x), spec.training.aggressiveness)


def passive_2(w, x, s, spec):
    return s * max(0.0, 1 - s * (x @ w)) / (x @ x + 0.5 / spec.training.aggressiveness)


def adaline(w, x, s, spec):
    return spec["learning_rate"] * (s - x @ w) / (x @ x)


def delta(w, x, s, spec):
    return spec["learning_rate"] * (s - x @ w)


FORMULAS = {
    "rosenblatt": (rosenblatt, {"learning_rate": 0.5}),
    "margin": (margin, {"margin": 2.0, "learning_rate": 0.3}),
    "passive_aggressive": (passive, {}),
    "passive_aggressive_1": (passive_1, {"aggressiveness": 0.05}),
    "passive_aggressive_2": (passive_2, {"aggressiveness": 0.05}),
    "adaline": (adaline, {"learning_rate": 0.2}),
    "delta": (delta, {"learning_rate": 0.03}),
}


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("rule", FORMULAS)
def test_each_rule_updates_the_weights_by_its_formula(rule, is_sparse):
    change, hyperparameters = FORMULAS[rule]
    rows = make_table(X, NOISY, RNG.uniform(0.5, 2, 60))
    member, losses = trained(sparse(rows) if is_sparse else rows, rule, width=4, **hyperparameters)
    with_bias, w, mistakes = np.c_[X, np.ones(60)].astype(float), np.zeros(5), 0
    for i in member.state.order:  # in the order of training; the bias is the weight of a constant 1
        s = signs(NOISY[i])
        mistakes += (with_bias[i] @ w > 0) != (s > 0)
        w += change(w, with_bias[i], s, member.spec) * rows.weight[i] * with_bias[i]
    np.testing.assert_allclose(weight_matrix(member)[:, 0], w, rtol=1e-4, atol=1e-5)
    assert losses[0] == mistakes / 60


def rosenblatt_states(member, epochs=1):
    """Return the weights after each row of one epoch of Rosenblatt's rule, and the rows with a constant 1."""
    with_bias, w, states = np.c_[X, np.ones(60)].astype(float), np.zeros(5), []
    for i in member.state.order:
        w = w + rosenblatt(w, with_bias[i], signs(NOISY[i]), member.spec) * with_bias[i]
        states.append(w)
    return np.array(states), with_bias


@pytest.mark.parametrize("is_sparse", [False, True])
def test_an_averaged_perceptron_is_the_mean_of_all_weight_vectors(is_sparse):
    rows = make_table(X, NOISY)
    member, _ = trained(sparse(rows) if is_sparse else rows, "averaged", width=4)
    states, _ = rosenblatt_states(member)
    np.testing.assert_allclose(weight_matrix(member)[:, 0], states.mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_voted_perceptron_predicts_by_the_votes_of_all_weight_vectors(is_sparse):
    rows = make_table(X, NOISY)
    table = sparse(rows) if is_sparse else rows
    member, _ = trained(table, "voted", width=4)
    states, with_bias = rosenblatt_states(member)
    votes = np.where(with_bias @ states.T > 0, 1, -1).sum(axis=1)
    sums = logits(member.architecture, member.inference_parameters, table, np.arange(60))
    np.testing.assert_allclose(sums[:, 0], votes, atol=1e-3)


def test_a_voted_perceptron_with_a_budget_keeps_the_vectors_that_lasted_longest():
    rows = make_table(X, NOISY)
    unlimited, _ = trained(rows, "voted", epochs=5)
    limited, _ = trained(rows, "voted", epochs=5, budget=6)
    (_, _), (all_votes, _) = unlimited.architecture.layers(unlimited.inference_parameters)
    (_, _), (votes, biases) = limited.architecture.layers(limited.inference_parameters)
    assert max(all_votes.ravel()) in votes
    assert biases[0] == pytest.approx(-votes.sum() / 2)
    assert len(votes) == 6


def test_the_pocket_holds_the_weights_with_the_most_correct_rows():
    member, _ = trained(make_table(X, NOISY), "pocket", epochs=10)
    with_bias = np.c_[X, np.ones(60)]
    n_correct = ((with_bias @ weight_matrix(member) > 0)[:, 0] == (NOISY > 0)).sum()
    assert n_correct == member.state.step[BEST_N_CORRECT]
    rosenblatt_member, _ = trained(make_table(X, NOISY), "rosenblatt", epochs=10)
    assert n_correct >= ((with_bias @ weight_matrix(rosenblatt_member) > 0)[:, 0] == (NOISY > 0)).sum()


def test_mistakes_stay_below_the_bound_of_novikoff():
    direction = np.array([3.0, -4.0]) / 5
    x = np.random.default_rng(0).uniform(-1, 1, (400, 2))
    x = x[np.abs(x @ direction) > 0.1]
    with_bias = np.column_stack([x, np.ones(len(x))])
    _, losses = trained(make_table(x, x @ direction > 0), epochs=1000)
    assert losses[-1] == 0
    radius, distance = np.linalg.norm(with_bias, axis=1).max(), np.abs(x @ direction).min()
    assert losses.sum() * len(x) <= (radius / distance) ** 2


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("multiclass", ["kesler", "crammer_singer", "one_vs_rest"])
def test_every_rule_separates_three_classes(rule, multiclass):
    rng = np.random.default_rng(0)
    t = rng.integers(0, 3, 200)
    x = np.array([[0, 4], [4, -2], [-4, -2]])[t] + rng.uniform(-1, 1, (200, 2))
    is_one_vs_rest = multiclass == "one_vs_rest" or rule in ("voted", "adaline", "delta")
    loss = "perceptron" if is_one_vs_rest else "perceptron_of_classes"
    rows = make_table(x, t)
    member, _ = trained(rows, rule, units=3, epochs=30, loss=loss, multiclass=multiclass)
    sums = logits(member.architecture, member.inference_parameters, rows, np.arange(200))
    np.testing.assert_array_equal(sums.argmax(axis=1), t)


@pytest.mark.parametrize(
    ("rule", "multiclass"),
    [
        ("rosenblatt", "kesler"),
        ("rosenblatt", "crammer_singer"),
        ("margin", "kesler"),
        ("margin", "crammer_singer"),
        ("passive_aggressive_1", "kesler"),
    ],
)
def test_multiclass_updates_are_those_of_their_papers(rule, multiclass):
    hyperparameters = {"margin": 0.5} if rule == "margin" else {}
    rows = make_table(X, CLASSES)
    member, losses = trained(
        rows, rule, units=3, loss="perceptron_of_classes", multiclass=multiclass, **hyperparameters
    )
    W, with_bias, mistakes = np.zeros((5, 3)), np.c_[X, np.ones(60)].astype(float), 0
    for i in member.state.order:
        z, y = with_bias[i] @ W, int(CLASSES[i])
        mistakes += z.argmax() != y
        rivals = np.delete(np.arange(3), y)
        rival = rivals[z[rivals].argmax()]
        score_gap = z[y] - z[rival]
        if rule == "rosenblatt":
            step = float(z.argmax() != y)
        elif rule == "margin":
            step = float(score_gap <= 0.5)
        else:
            step = min(max(0.0, 1 - score_gap) / (2 * with_bias[i] @ with_bias[i]), 1.0)
        threshold = z[y] - (0.5 if rule == "margin" else 0.0)
        violators = [rival] if multiclass == "kesler" else [k for k in rivals if z[k] >= threshold]
        if step:
            W[:, y] += step * with_bias[i]
            for k in violators:
                W[:, k] -= step / len(violators) * with_bias[i]
    np.testing.assert_allclose(weight_matrix(member), W, rtol=1e-3, atol=1e-4)
    assert losses[0] == mistakes / 60
    np.testing.assert_allclose(weight_matrix(member).sum(axis=1), 0, atol=1e-4)  # the updates of a row add up to 0


@pytest.mark.parametrize("multiclass", ["kesler", "crammer_singer", "one_vs_rest"])
@pytest.mark.parametrize("rule", sorted(set(RULES) - {"kernel"}))
def test_sparse_and_dense_rows_train_to_the_same_parameters(rule, multiclass):
    loss = "perceptron" if multiclass == "one_vs_rest" else "perceptron_of_classes"
    rows = make_table(np.where(np.abs(X) > 1, X, 0), CLASSES)
    members = [trained(table, rule, 3, 4, loss, multiclass=multiclass, width=4)[0] for table in (rows, sparse(rows))]
    np.testing.assert_allclose(members[0].inference_parameters, members[1].inference_parameters, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kernel", [{"kernel": "rbf", "gamma": 0.7}, {"kernel": "polynomial", "degree": 2}])
def test_a_kernel_perceptron_is_a_sum_over_the_rows_it_misclassified(kernel):
    rows = make_table(X, NOISY)
    member, losses = trained(rows, "kernel", **kernel)

    def kernel_value(a, b):
        if kernel["kernel"] == "rbf":
            return np.exp(-0.7 * ((a - b) ** 2).sum())
        return (a @ b / 4 + 1) ** 2

    support_rows = []
    for i in member.state.order:
        z = sum(coefficient * kernel_value(X[j].astype(float), X[i].astype(float)) for j, coefficient in support_rows)
        if (z > 0) != (NOISY[i] > 0):
            support_rows.append((i, signs(NOISY[i])))
    assert losses[0] == len(support_rows) / 60
    sums = logits(member.architecture, member.inference_parameters, rows, np.arange(60))
    expected = [
        sum(coefficient * kernel_value(X[j].astype(float), x.astype(float)) for j, coefficient in support_rows)
        for x in X
    ]
    np.testing.assert_allclose(sums[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_a_kernel_perceptron_learns_xor_within_its_budget():
    x = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    t = (x[:, 0] * x[:, 1] > 0).astype(float)
    rows = make_table(x, t)
    member, _ = trained(rows, "kernel", epochs=20, budget=25, gamma=2.0)
    sums = logits(member.architecture, member.inference_parameters, rows, np.arange(300))
    assert ((sums[:, 0] > 0) == (t > 0)).mean() > 0.9
    assert member.architecture.sizes[1] == 25


def test_training_stops_if_the_stop_flag_is_set():
    rows = make_table(X, NOISY)
    for rule in ("rosenblatt", "voted", "kernel"):
        spec = resolve_auto(Spec.from_hyperparameters(kind="perceptron", perceptron_rule=rule), 60, 4)
        member = new_member(
            spec, build_dense(spec.network, 4, 1), "perceptron", np.arange(60), np.arange(0), (1,), rows
        )
        assert make_trainer(member, rows).train_epochs(np.empty(5), np.ones(1, np.uint8)) == 0


def test_large_vote_counts_keep_their_ratios():
    """float32 cannot represent all counts beyond 2^24."""
    counts = np.array([[3e8, 1.0], [1e8, 2.0]])
    votes, zero = np.empty(4, np.float32), np.empty(2, np.float32)
    set_vote_weights(counts, votes, zero)
    first = votes.reshape(2, 2)[:, 0]
    assert first[0] / first[1] == pytest.approx(3)
    assert zero[0] == pytest.approx(-first.sum() / 2)


def test_operations_on_rows_give_the_same_in_plain_python():
    rows = make_table(X, NOISY)
    for table in (rows, sparse(rows)):
        units = np.ones((1, 5), np.float32)
        assert weighted_sum(table, 3, units, 0) == pytest.approx(X[3].sum() + 1, rel=1e-5)
        assert squared_norm(table, 3) == pytest.approx((X[3] ** 2).sum() + 1, rel=1e-5)
        add_scaled_row(table, 3, units, 0, 2.0)
        np.testing.assert_allclose(units[0], np.append(1 + 2 * X[3], 3), rtol=1e-5)
