"""Contract of the workers of a search, over threads, the lanes of a device, and the machines of a cluster."""

import math
import time
from queue import Empty

import pytest

from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.device_workers import DeviceWorker
from rosenblatt.tuning.work_queue import WorkItem, WorkResult
from tests.tuning.test_ray_workers import LocalCluster
from tests.tuning.work_items import make_items
from tests.waiting import wait_until


@pytest.fixture(
    scope="module",
    params=[
        "threads",
        pytest.param("lanes", marks=pytest.mark.torch),
        "cluster",
        pytest.param("ray", marks=pytest.mark.slow_cluster),
    ],
)
def workers(request, tmp_path_factory):
    if request.param == "threads":
        workers = WorkerPool(2)
    elif request.param == "lanes":
        pytest.importorskip("torch")
        workers = DeviceWorker("cpu")
    elif request.param == "cluster":
        workers = LocalCluster(tmp_path_factory.mktemp("cluster"), a=1, b=1).workers()
    else:
        workers = request.getfixturevalue("ray_cluster").workers()
    yield workers
    workers.close()


def collect(workers, n):
    """The results of n items, by trial and fold."""
    results = [workers.get(timeout=60) for _ in range(n)]
    assert all(isinstance(result, WorkResult) for result in results)
    return {(result.trial, result.fold): result for result in results}


def submit(workers, items):
    for item in items:
        workers.submit(item)


def test_each_item_has_one_result_with_its_member_and_predictions(workers):
    items = make_items()
    submit(workers, items)
    results = collect(workers, len(items))
    assert results.keys() == {(item.trial.number, item.index) for item in items}
    assert all(not result.failure and result.seconds > 0 for result in results.values())
    for item in items:
        member = item.trial.folds.members[item.index]
        assert [record.epoch for record in member.history] == [1, 2, 3]
        assert member.is_trained
        assert len(item.trial.folds.out_of_fold_predictions[item.index]) == len(item.fold.validation)


def test_an_item_continues_the_member_of_the_one_before(workers):
    whole, parts = make_items(1, 6), make_items(1, 3, is_last_rung=False)
    continued = [WorkItem(i.trial, i.index, i.fold, 6, None, is_last_rung=True) for i in parts]
    submit(workers, parts)
    collect(workers, len(parts))
    submit(workers, continued)
    collect(workers, len(parts))
    submit(workers, whole)
    collect(workers, len(whole))
    for a, b in zip(whole, parts, strict=True):
        expected, actual = a.trial.folds.members[a.index], b.trial.folds.members[b.index]
        assert len(actual.history) == 6
        assert [r.loss for r in actual.history] == pytest.approx([r.loss for r in expected.history], rel=1e-6)


def test_a_network_that_diverges_fails_with_the_reason(workers):
    items = make_items(1)
    for item in items:
        item.member().state.theta[:] = math.nan
    submit(workers, items)
    results = collect(workers, len(items))
    assert all("not finite" in r.failure or "training loss is" in r.failure for r in results.values())


def test_without_items_there_are_no_results(workers):
    with pytest.raises(Empty):
        workers.get(timeout=0.01)
    assert workers.drain() == []


def test_an_evaluator_is_called_with_each_trained_fold(workers):
    calls = []
    items = make_items(evaluate=lambda trial, index, fold: calls.append((trial.number, index, len(fold.train))))
    submit(workers, items)
    collect(workers, len(items))
    assert sorted(calls) == [(item.trial.number, item.index, len(item.fold.train)) for item in items]


def test_threads_and_latency_are_known(workers):
    assert workers.threads >= 2
    wait_until(lambda: workers.latency_s >= 0)


def test_closing_ends_running_items_and_keeps_what_they_trained(workers):
    first, items = make_items(1, epochs=1), make_items(4, epochs=100_000)
    submit(workers, first)  # after which all is compiled
    collect(workers, len(first))
    submit(workers, items)
    time.sleep(0.5)
    workers.close()
    assert workers.stop[0]
    results = [result for result in workers.drain() if result is not None]
    assert results
    assert all(not result.failure for result in results)
    trained = [m for item in items if (m := item.trial.folds.members[item.index]) is not None and m.history]
    assert 0 < len(trained) <= len(items)
    assert all(len(member.history) < 100_000 for member in trained)
