import numpy as np
import pytest

from rosenblatt.errors import SpecError
from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.perceptron import BEST_N_CORRECT, N_SEEN, N_USED
from rosenblatt.training.member import load_parameters, new_member, set_rows
from rosenblatt.training.rows import DenseRows

N, F = 12, 3
CLASSES = np.array([2, 0, 1, 0, 2, 1, 0, 0, 1, 2, 0, 1], np.float32)


def table(n=N, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, F)).astype(np.float32)
    return DenseRows(x, np.resize(CLASSES, n)[:, None], np.ones(n, np.float32))


def make_member(rows=range(9), validation=range(9, 12), seed=(0, 0), outputs=3, **changes):
    """Return a new member, by default a multilayer perceptron with 4 hidden units."""
    if changes.get("kind") != "perceptron":
        changes = {"hidden_sizes": (4,), "epochs": 7} | changes
    spec = resolve_auto(Spec.from_hyperparameters(**changes), N, F)
    loss = "perceptron" if spec.network.kind == "perceptron" else "cross_entropy"
    architecture = build_dense(spec.network, F, outputs)
    return new_member(spec, architecture, loss, np.array(rows), np.array(validation), seed, table())


def perceptron(rule, **changes):
    return make_member(kind="perceptron", perceptron_rule=rule, **changes)


def test_a_new_member_has_its_rows_and_is_not_trained():
    member = make_member()
    np.testing.assert_array_equal(member.state.order, np.arange(9))
    np.testing.assert_array_equal(member.validation, [9, 10, 11])
    assert member.epochs == 7
    assert not member.is_trained
    assert not member.finished
    assert member.history == []
    assert not member.state.m.any()
    assert not member.state.v.any()
    np.testing.assert_array_equal(member.state.step, [0])
    assert member.state.theta.shape == (F * 4 + 4 + 4 * 3 + 3,)
    assert member.state.theta.dtype == np.float32


def test_equal_seeds_give_equal_parameters_and_random_numbers_and_different_seeds_do_not():
    first, repeated, different = make_member(seed=(3, 1)), make_member(seed=(3, 1)), make_member(seed=(3, 2))
    np.testing.assert_array_equal(first.state.theta, repeated.state.theta)
    assert first.state.counter == repeated.state.counter != different.state.counter
    assert (first.state.theta != different.state.theta).any()


def test_each_class_is_a_contiguous_stratum():
    member = make_member(rows=[8, 3, 0, 5, 4, 6], batch_order="stratified")  # classes 1, 0, 2, 1, 2, 0
    np.testing.assert_array_equal(member.state.order, [3, 6, 8, 5, 0, 4])
    np.testing.assert_array_equal(member.config.strata, [0, 2, 4, 6])
    shuffled = make_member(rows=[8, 3, 0], batch_order="shuffled")
    np.testing.assert_array_equal(shuffled.state.order, [8, 3, 0])
    np.testing.assert_array_equal(shuffled.config.strata, [0, 3])
    np.testing.assert_array_equal(make_member(rows=[8, 3, 0], batch_order="in_order").config.strata, [0])


def test_only_members_with_a_running_average_store_it_and_predict_with_it():
    member = make_member(ema_decay=0.9)
    np.testing.assert_array_equal(member.state.mean, member.state.theta)
    member.state.mean[:] = 5
    np.testing.assert_array_equal(member.inference_parameters, member.state.mean)
    plain = make_member()
    assert plain.state.mean.size == 0
    assert plain.inference_parameters is plain.state.theta


def test_multipliers_for_another_number_of_layers_are_rejected():
    with pytest.raises(SpecError, match=r"layer_lr_multipliers.*3.*2 layers"):
        make_member(layer_lr_multipliers=(1.0, 0.5, 0.1))
    make_member(layer_lr_multipliers=(1.0, 0.5))


def test_a_failed_member_is_finished_and_has_the_reason():
    member = make_member()
    member.fail("the loss is not finite")
    assert member.failure == "the loss is not finite"
    assert member.finished
    assert not member.is_trained


def test_a_copy_does_not_change_with_the_original():
    member = make_member(ema_decay=0.9)
    member.best = np.ones(2, np.float32)
    original, copy = member.state.theta.copy(), member.copy()
    for array in (*member.state, member.best):
        np.add(array, 1, out=array, casting="unsafe")
    member.history.append("epoch")
    np.testing.assert_array_equal(copy.state.theta, original)
    np.testing.assert_array_equal(copy.state.order, np.arange(9))
    np.testing.assert_array_equal(copy.best, [1, 1])
    assert copy.history == []


def test_releasing_the_training_state_keeps_the_best_network():
    member = make_member(ema_decay=0.9)
    member.best, member.best_epoch = member.state.theta.copy(), 3
    best = member.best.copy()
    member.release_training_state()
    state = member.state
    assert [state.theta.size, state.m.size, state.v.size, state.mean.size] == [0] * 4
    architecture, theta = member.best_network()
    assert architecture == member.architecture
    np.testing.assert_array_equal(theta, best)
    assert member.is_trained


def test_perceptrons_start_at_zero_and_predict_with_the_parameters_of_their_rule():
    theta = np.arange(F * 3 + 3, dtype=np.float32)
    for rule in ("rosenblatt", "averaged", "pocket"):
        member = perceptron(rule)
        assert not member.state.theta.any()
        member.state.theta[:] = theta
        np.testing.assert_array_equal(member.inference_parameters, theta)  # before it has seen a row
        if rule == "averaged":  # m sums each update times the rows seen before it
            member.state.m[:], member.state.step[N_SEEN] = 8, 4
            np.testing.assert_array_equal(member.inference_parameters, theta - 2)
        if rule == "pocket":
            member.state.mean[:], member.state.step[BEST_N_CORRECT] = -1, 5
            np.testing.assert_array_equal(member.inference_parameters, -np.ones_like(theta))


def test_a_voted_perceptron_keeps_only_the_weight_vectors_it_used():
    member = perceptron("voted", budget=5)
    member.best = np.arange(member.architecture.n_parameters, dtype=np.float32)
    member.state.step[N_USED] = 2
    architecture, theta = member.best_network()
    assert architecture.sizes == (F, 2, 3)
    original, trimmed = member.architecture.parameters_by_name(member.best), architecture.parameters_by_name(theta)
    np.testing.assert_array_equal(trimmed[0, "weight"], original[0, "weight"][:, :2])
    np.testing.assert_array_equal(trimmed[0, "bias"], original[0, "bias"][:2])
    np.testing.assert_array_equal(trimmed[1, "weight"], original[1, "weight"][:2])
    np.testing.assert_array_equal(trimmed[1, "bias"], original[1, "bias"])


def test_a_member_continues_from_the_parameters_of_a_trained_network():
    member, theta = make_member(ema_decay=0.9), np.arange(31, dtype=np.float32)
    load_parameters(member, member.architecture, theta)
    np.testing.assert_array_equal(member.state.theta, theta)
    np.testing.assert_array_equal(member.state.mean, theta)

    voted, small = (
        perceptron("voted", budget=5),
        build_dense(Spec.from_hyperparameters(kind="perceptron", perceptron_rule="voted", budget=4).network, F, 3),
    )
    theta = np.zeros(small.n_parameters, np.float32)
    source = small.parameters_by_name(theta)
    source[0, "weight"][:] = np.arange(F * 4).reshape(F, 4)
    source[1, "weight"][:] = [[2, 0, 4], [0, 8, 0], [6, 0, 0], [0, 0, 10]]  # votes of each weight vector for each unit
    load_parameters(voted, small, theta)
    assert voted.state.step[N_USED] == 4
    np.testing.assert_array_equal(
        voted.state.step[N_USED + 1 :], [2, 1, 3]
    )  # the vector with the most votes for each unit
    np.testing.assert_array_equal(voted.state.counts[:12], np.array(source[1, "weight"]).ravel() / 2)
    target = voted.architecture.parameters_by_name(voted.state.theta)
    np.testing.assert_array_equal(target[0, "weight"][:, :4], source[0, "weight"])
    assert not target[0, "weight"][:, 4:].any()


def test_new_rows_reset_what_was_counted_on_the_previous_ones():
    member = make_member(batch_order="stratified")
    set_rows(member, np.array([2, 1, 0]), table(20))  # classes 1, 0, 2
    np.testing.assert_array_equal(member.state.order, [1, 2, 0])
    np.testing.assert_array_equal(member.config.strata, [0, 1, 2, 3])
    pocket, kernel = perceptron("pocket"), perceptron("kernel", budget=4)
    for perceptron_member in (pocket, kernel):
        perceptron_member.state.step[:] = 7
        set_rows(perceptron_member, np.arange(5), table(20))
    assert pocket.state.step[N_SEEN] == 7
    assert pocket.state.step[BEST_N_CORRECT] == 0
    assert kernel.state.step[N_USED] == 7
    assert not kernel.state.step[N_USED + 1 :].any()
