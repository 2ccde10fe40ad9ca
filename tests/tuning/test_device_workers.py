"""The worker of a search on a device, run with tensors on the CPU."""

from types import SimpleNamespace

import pytest

from rosenblatt.errors import SpecError
from rosenblatt.spec.dimensions import choice
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.device_workers import DeviceWorker
from rosenblatt.tuning.work_queue import WorkItem, WorkResult
from tests.tuning.test_coordinator import run_search
from tests.waiting import wait_until

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def work_item(member, number=0):
    """A work item of a trial whose member is built by `member()`."""
    item = WorkItem(SimpleNamespace(number=number, rows=None), 0, None, 1, None, is_last_rung=False)
    object.__setattr__(item, "member", member)
    return item


@pytest.fixture
def worker():
    worker = DeviceWorker("cpu")
    yield worker
    worker.close()


def test_a_search_finishes_all_its_trials(monkeypatch):
    monkeypatch.setattr(SearchCoordinator, "start_workers", lambda _: DeviceWorker("cpu"))
    search = run_search(trials=3, epochs=3, stopping="none")
    assert [trial.state for trial in search.history.trials] == ["finished"] * 3
    assert all(trial.statistics.epochs == 3 for trial in search.history.trials)


def test_members_of_one_shape_are_trained_in_one_stack(monkeypatch):
    from rosenblatt.training.torch.lanes import LaneStack

    n_members, train_epoch = [], LaneStack.train_epoch

    def count_members(self, stop):
        n_members.append(sum(member is not None for member in self.members))
        return train_epoch(self, stop)

    monkeypatch.setattr(LaneStack, "train_epoch", count_members)
    monkeypatch.setattr(SearchCoordinator, "start_workers", lambda _: DeviceWorker("cpu"))
    run_search({"weight_decay": choice(0.0, 0.1, 0.2)}, trials=3, epochs=3, stopping="none", sampler="grid")
    assert max(n_members) > 1


def test_a_member_that_cannot_be_built_fails_with_the_reason(worker):
    def refuse():
        raise SpecError("no such layer")

    worker.submit(work_item(refuse, number=7))
    result = worker.get(timeout=60)
    assert isinstance(result, WorkResult)
    assert (result.trial, result.failure) == (7, "no such layer")


def test_an_error_in_the_worker_is_raised_in_the_waiting_thread(worker):
    def fail():
        raise ZeroDivisionError("in the worker")

    worker.submit(work_item(fail))
    with pytest.raises(ZeroDivisionError, match="in the worker"):
        worker.get(timeout=60)


def test_closing_ends_the_thread():
    worker = DeviceWorker("cpu")
    worker.close()
    wait_until(lambda: not worker._worker.is_alive(), description="the thread to end")


def test_a_device_that_does_not_exist_is_rejected():
    with pytest.raises(SpecError, match="Device 'cuda:99' is not available"):
        DeviceWorker("cuda:99")
