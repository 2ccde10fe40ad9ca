"""Work items and results as messages."""

import gc
import pickle
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from rosenblatt.errors import ClusterError
from rosenblatt.models.scorers import make_epoch_scorer
from rosenblatt.tuning.attempts import Attempt
from rosenblatt.tuning.packing import ItemPacker, load_shared, pack_results, unpack_item, unpack_results
from rosenblatt.tuning.work_queue import WorkItem
from tests.tuning.test_coordinator import TARGET, Y
from tests.tuning.work_items import make_items

STOP = np.zeros(1, np.uint8)


class Machine:
    """What a machine knows."""

    def __init__(self):
        self.shared, self.n_bytes = {}, 0

    def receive(self, packer, item, number=1):
        packed = packer.pack(item, number)
        for key, content in packer.take_new():
            self.shared[key] = load_shared(content, self.shared)
            self.n_bytes += len(content)
        assert self.shared.keys() >= set(packed.keys)
        return packed, unpack_item(packed.content, self.shared)


def send_back(attempt, item, result, first_epoch=0):
    (packed,) = unpack_results(pack_results([(attempt, first_epoch, item, result)]))
    return packed


def test_an_item_trained_elsewhere_equals_one_trained_here():
    (here, *_), (elsewhere, *_) = make_items(1, is_last_rung=False), make_items(1, is_last_rung=False)
    packed, item = Machine().receive(ItemPacker(), elsewhere)
    back = send_back(packed.attempt, item, item(STOP))
    back.install(elsewhere)
    here(STOP)
    expected, actual = (i.trial.folds.members[i.index] for i in (here, elsewhere))
    for a, b in zip(expected.state, actual.state, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
        assert b.flags.writeable
    np.testing.assert_array_equal(expected.best, actual.best)
    assert expected.history == actual.history
    assert (expected.best_epoch, expected.best_score) == (actual.best_epoch, actual.best_score)
    assert (back.result.trial, back.result.fold, back.result.failure) == (elsewhere.trial.number, elsewhere.index, "")


def test_a_result_of_the_last_rung_has_the_network_and_its_predictions_only():
    (here, *_), (elsewhere, *_) = make_items(1), make_items(1)
    packed, item = Machine().receive(ItemPacker(), elsewhere)
    content = pack_results([(packed.attempt, 0, item, item(STOP))])
    unpack_results(content)[0].install(elsewhere)
    here(STOP)
    expected, actual = (i.trial.folds.members[i.index] for i in (here, elsewhere))
    np.testing.assert_array_equal(expected.best, actual.best)
    np.testing.assert_array_equal(
        here.trial.folds.out_of_fold_predictions[here.index], elsewhere.trial.folds.out_of_fold_predictions[here.index]
    )
    assert actual.state.order.size == expected.state.order.size  # which counts the steps of an epoch
    assert not actual.state.theta.size
    names = set(safetensors.numpy.load(content))
    assert names == {"0.best", "0.predictions", "0.counter", "0.step", "0.counts"}
    again = Machine().receive(ItemPacker(), elsewhere, 2)
    send_back(again[0].attempt, again[1], again[1](STOP), first_epoch=len(actual.history)).install(elsewhere)
    np.testing.assert_array_equal(expected.best, elsewhere.trial.folds.members[here.index].best)


def test_a_member_that_stopped_before_the_end_of_its_last_rung_keeps_its_training_state():
    (item, *_) = make_items(1)
    packed, there = Machine().receive(ItemPacker(), item)
    send_back(packed.attempt, there, there(np.ones(1, np.uint8))).install(item)
    member = item.trial.folds.members[item.index]
    assert (member.n_epochs, member.state.theta.size) == (0, member.architecture.n_parameters)


def test_rows_are_sent_in_the_smallest_type():
    (item, *_) = make_items(1, is_last_rung=False)
    packed, there = Machine().receive(ItemPacker(), item)
    order = safetensors.numpy.load(pack_results([(packed.attempt, 0, there, there(STOP))]))["0.order"]
    assert order.dtype == np.uint8
    np.testing.assert_array_equal(order, there.trial.folds.members[there.index].state.order)
    item.trial.folds.members[item.index] = there.trial.folds.members[there.index]
    _, further = Machine().receive(ItemPacker(), item)
    member = further.trial.folds.members[further.index]
    assert member.state.order.dtype == np.int64
    np.testing.assert_array_equal(member.state.order, order)


def test_a_member_continues_on_another_machine():
    packer = ItemPacker()
    (item, *_) = make_items(1, 3, is_last_rung=False)
    packed, there = Machine().receive(packer, item)
    send_back(packed.attempt, there, there(STOP)).install(item)
    continued = WorkItem(item.trial, item.index, item.fold, 6, None, is_last_rung=False)
    packed, there = Machine().receive(ItemPacker(), continued, 2)
    back = send_back(packed.attempt, there, there(STOP), first_epoch=3)
    back.install(continued)
    (whole, *_) = make_items(1, 6)
    whole(STOP)
    assert item.trial.folds.members[0].history == whole.trial.folds.members[0].history
    np.testing.assert_array_equal(item.trial.folds.members[0].state.theta, whole.trial.folds.members[0].state.theta)


def test_what_items_share_crosses_once():
    packer, machine = ItemPacker(), Machine()
    items = make_items(3)
    first, _ = machine.receive(packer, items[0])
    n_bytes, n_shared = machine.n_bytes, len(machine.shared)
    assert n_bytes > items[0].trial.encoded_rows.x.nbytes
    unpacked = [machine.receive(packer, item)[1] for item in items[1:]]
    assert len(machine.shared) == n_shared + 1  # the second fold
    assert all(item.trial.rows is unpacked[0].trial.rows for item in unpacked)
    assert len(first.content) < n_bytes


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc", "f1", "neg_log_loss"])
def test_scorers_score_alike_on_other_machines(scoring):
    scorer = make_epoch_scorer(scoring)(TARGET, Y, np.linspace(0.5, 1.5, len(Y)))
    (item, *_) = make_items(1)
    item = WorkItem(item.trial, item.index, item.fold, 1, scorer, is_last_rung=False)
    _, there = Machine().receive(ItemPacker(), item)
    outputs = np.random.default_rng(0).uniform(size=(len(item.fold.validation), 1)).astype(np.float32)
    assert there.scorer(outputs, item.fold.validation) == scorer(outputs, item.fold.validation)


def test_what_cannot_be_sent_is_refused_by_a_sentence():
    (item, *_) = make_items(1)
    item = WorkItem(item.trial, item.index, item.fold, 1, lambda _outputs, _rows: 0.0, is_last_rung=False)
    with pytest.raises(ClusterError, match=r"cannot be sent to other machines.*Run it without --on"):
        ItemPacker().pack(item, 1)


def test_a_failure_without_a_member_is_a_result():
    (item, *_) = make_items(1)
    back = send_back(Attempt(0, 0, 1), item, item.failure("no such layer"))
    back.install(item)
    assert back.result.failure == "no such layer"
    assert item.trial.folds.members[0] is None


class Exploit:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("content", [b"", b"12345678", pickle.dumps(Exploit()), b"\x02" + bytes(7) + b"{}"])
def test_results_that_are_none_are_refused_and_never_unpickled(content, capsys):
    with pytest.raises(ClusterError, match="cannot be read"):
        unpack_results(content)
    assert not capsys.readouterr().out


def test_objects_that_nobody_has_any_more_are_released():
    packer = ItemPacker()
    items, others = make_items(2), make_items(1)
    for item in (*items, *others):
        packer.pack(item, 1)
    contents = {shared.key: shared.content for shared in packer.take_new()}
    kept = packer.pack(others[0], 2).keys
    assert packer.take_released() == []
    del item, items
    gc.collect()
    released = packer.take_released()
    assert set(kept).isdisjoint(released)
    n_rows_bytes = others[0].trial.encoded_rows.x.nbytes
    assert sum(len(contents[key]) for key in released) > n_rows_bytes
    assert packer.pack(others[0], 3).keys == kept
    assert packer.take_new() == []


def test_an_object_in_the_place_of_a_released_one_is_packed_anew():
    packer, machine = ItemPacker(), Machine()
    for _ in range(20):  # ids are used again
        (item, *_) = make_items(1)
        machine.receive(packer, item)
        for key in packer.take_released():
            del machine.shared[key]
        np.testing.assert_array_equal(machine.receive(packer, item)[1].trial.rows.x, item.trial.rows.x)
        item.trial.rows.x[:] += 1  # later ones have other values
        del item
    gc.collect()
    packer.pack(make_items(1)[0], 1)
    packer.take_released()
    assert len(packer._shared) < 20


def test_shared_objects_may_refer_to_others():
    packer = ItemPacker()
    (item, *_) = make_items(1)
    packed = packer.pack(item, 1)
    keys = [shared.key for shared in packer.take_new()]
    assert keys == sorted(keys) == list(packed.keys)  # each after those that it refers to
    assert packer.take_new() == []


@pytest.mark.parametrize("damage", ["shape", "type", "rows", "best", "predictions", "epochs", "state"])
def test_a_network_that_does_not_fit_its_trial_is_refused(damage):
    (item, *_) = make_items(1, is_last_rung=damage == "predictions")
    packed, elsewhere = Machine().receive(ItemPacker(), item)
    result, folds = elsewhere(STOP), elsewhere.trial.folds
    state = folds.members[item.index].state
    if damage == "predictions":
        folds.out_of_fold_predictions[item.index] = np.zeros((1, 1), np.float32)
    elif damage == "best":
        folds.members[item.index].best = state.theta[:1]
    elif damage == "state":  # which is left out, although the member is to be trained further
        elsewhere = replace(elsewhere, is_last_rung=True)
    else:
        folds.members[item.index].state = {
            "shape": state._replace(theta=state.theta[:1]),
            "type": state._replace(m=state.m.astype(np.float64)),
            "rows": state._replace(order=state.order + 10**9),
            "epochs": state,
        }[damage]
    back = send_back(packed.attempt, elsewhere, result, first_epoch=int(damage == "epochs"))
    with pytest.raises(ClusterError, match="sent a network that does not fit trial 0"):
        back.install(item)
    assert not item.trial.folds.out_of_fold_predictions
