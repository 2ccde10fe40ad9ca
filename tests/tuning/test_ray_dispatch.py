"""The driver of a search on a cluster: which machine gets which items, and what it reports."""

import io
from concurrent.futures import Future
from types import SimpleNamespace

from rosenblatt.tuning.attempts import Attempt, Collection
from rosenblatt.tuning.node_worker import NodeWorker
from rosenblatt.tuning.ray_connection import Message, read_report
from rosenblatt.tuning.ray_dispatch import COLLECTION_WINDOW_S, MAX_AHEAD, RayDriver


class FakeActor:
    """Records the calls of an actor, which the test answers."""

    def __init__(self, threads, device):
        self.threads, self.device, self.calls, self.is_killed = threads, device, [], False

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *arguments: self._call(name, arguments))

    def _call(self, name, arguments):
        future = Future()
        self.calls.append((name, arguments, future))
        return SimpleNamespace(future=lambda: future)

    def answer(self, name, result):
        """Answer the first open call of a method."""
        _, arguments, future = next(call for call in self.calls if call[0] == name and not call[2].done())
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
        return arguments

    def items(self):
        """Attempts of the items that the actor was given."""
        return [attempt for name, arguments, _ in self.calls if name == "submit" for attempt in arguments[0]]


class FakeRay:
    """Machines that the test adds and removes."""

    def __init__(self, **cores):
        self.cores, self.actors, self.gpus = cores, [], 0

    def nodes(self):
        place = {"Alive": True, "NodeManagerAddress": "10.0.0.1", "NodeManagerPort": 1}
        return [
            place | {"NodeID": name, "NodeManagerHostname": name, "Resources": {"CPU": cores, "GPU": self.gpus}}
            for name, cores in self.cores.items()
        ]

    def remote(self, _class):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._start))

    def _start(self, *arguments):
        self.actors.append(FakeActor(*arguments))
        return self.actors[-1]

    def put(self, value):
        return value

    def kill(self, actor):
        actor.is_killed = True


class Rig:
    """A driver with its machines, and the reports that it has written."""

    def __init__(self, device="cpu", gpus=0, **cores):
        self.ray, self.pipe, self.n_items = FakeRay(**cores), io.BytesIO(), 0
        self.ray.gpus = gpus
        self.driver = RayDriver(self.ray, self.pipe, device, NodeWorker)
        self.driver._poll()
        for actor in self.ray.actors:
            actor.answer("load", actor.threads)
        self.run()

    def run(self):
        while not self.driver.events.empty():
            self.driver.events.get()()
        self.driver._assign()

    def submit(self, n, *keys, avoid=(), is_moved=False):
        for key in keys:
            self.driver.on_command(Message({"kind": "share", "key": key}, b"data"))
        for _ in range(n):
            header = {"attempt": Attempt(self.n_items, 0, 1 + self.n_items), "keys": keys}
            header |= {"kind": "item", "avoid": avoid, "is_moved": is_moved}
            self.driver.on_command(Message(header, b""))
            self.n_items += 1
        self.run()

    def finish(self, actor, n, seconds):
        """Return results of the first n items of an actor, each of which took some seconds."""
        node = next(node for node in self.driver._nodes if node.actor is actor)
        actor.answer("collect", Collection(list(node.assigned)[:n], n * seconds, b"results"))
        self.run()

    def reports(self, kind):
        pipe, reports = io.BytesIO(self.pipe.getvalue()), []
        while (message := read_report(pipe)) is not None:
            reports += [message] if message.header["kind"] == kind else []
        return reports


def test_items_are_spread_by_cores():
    rig = Rig(a=1, b=3)
    rig.submit(8)
    a, b = rig.ray.actors
    assert (len(a.items()), len(b.items())) == (2, 6)  # one in training, and one that waits, for each core


def test_long_items_wait_in_the_driver_and_short_ones_on_machines():
    rig = Rig(a=1)
    rig.submit(1000)
    (actor,) = rig.ray.actors
    rig.finish(actor, 2, seconds=COLLECTION_WINDOW_S / 10)
    assert len(actor.items()) == 2 + 1 + 10
    rig.finish(actor, 11, seconds=1e-9)
    assert len(rig.driver._nodes[0].assigned) <= 1 + MAX_AHEAD
    rig = Rig(a=1)
    rig.submit(10)
    (actor,) = rig.ray.actors
    rig.finish(actor, 2, seconds=60.0)
    assert len(actor.items()) == 3


def test_data_is_loaded_once_on_each_machine_before_the_items_that_need_it():
    rig = Rig(a=1)
    rig.submit(1, 0, 1)
    (actor,) = rig.ray.actors
    assert actor.items() == []
    assert actor.answer("load", 1) == ([], [0, 1], b"data", b"data")
    rig.run()
    assert len(actor.items()) == 1
    rig.submit(1, 0, 1)
    assert len(actor.items()) == 2
    assert sum(name == "load" for name, *_ in actor.calls) == 2  # the first has no keys


def test_released_data_is_removed_from_the_store_and_from_machines():
    rig = Rig(a=1)
    rig.submit(1, 0, 1)
    (actor,) = rig.ray.actors
    actor.answer("load", 1)
    rig.run()
    rig.finish(actor, 1, seconds=1.0)
    rig.driver.on_command(Message({"kind": "release", "keys": [0]}))
    assert rig.driver._refs.keys() == {1}
    rig.submit(1, 1, 2)
    assert actor.answer("load", 1) == ([0], [2], b"data")
    rig.run()
    rig.submit(1, 0)
    assert actor.answer("load", 1) == ([], [0], b"data")


def test_a_machine_that_holds_the_data_is_preferred():
    rig = Rig(a=2, b=2)
    a, b = rig.ray.actors
    rig.submit(1, 0)
    a.answer("load", 2)
    rig.run()
    rig.submit(1, 0)
    assert (len(a.items()), len(b.items())) == (2, 0)
    rig.submit(2, 0)  # the machine is busy
    assert len(rig.driver._nodes[1].assigned) >= 1


def test_a_lost_machine_reports_its_items_and_one_that_joins_is_used():
    rig = Rig(a=1, b=1)
    rig.submit(2)
    rig.ray.cores = {"b": 1, "c": 2}
    rig.driver._poll()
    (lost,) = rig.reports("lost")
    assert (lost.header["node"], lost.header["is_crash"], lost.header["is_restarted"]) == ("a", False, False)
    assert lost.header["attempts"] == [[0, 0, 1]]
    rig.ray.actors[2].answer("load", 2)
    rig.run()
    rig.driver._report_nodes()
    assert [node["name"] for node in rig.reports("nodes")[-1].header["nodes"]] == ["b", "c"]


def test_items_of_a_lost_machine_are_trained_before_those_that_wait():
    rig = Rig(a=1)
    rig.submit(4)
    rig.submit(2, is_moved=True)
    (actor,) = rig.ray.actors
    rig.finish(actor, 2, seconds=60.0)
    rig.finish(actor, 1, seconds=60.0)
    rig.finish(actor, 1, seconds=60.0)
    assert [attempt.trial for attempt in actor.items()] == [0, 1, 4, 5, 2]


def test_items_are_no_suspects_if_only_the_connection_to_their_machine_is_lost():
    class ActorUnavailableError(Exception):
        """As Ray's."""

    rig = Rig(a=1)
    rig.submit(1)
    rig.ray.actors[0].answer("collect", ActorUnavailableError("RpcError"))
    rig.run()
    (lost,) = rig.reports("lost")
    assert (lost.header["reason"], lost.header["is_crash"]) == ("it does not answer", False)
    assert lost.header["attempts"] == [[0, 0, 1]]


def test_an_actor_that_ends_is_started_again_a_few_times():
    rig = Rig(a=1)
    for n_crashes in (1, 2, 3):
        rig.ray.actors[-1].answer("load" if n_crashes > 1 else "collect", RuntimeError("out of\nmemory"))
        rig.run()
        lost = rig.reports("lost")
        assert len(lost) == n_crashes
        assert (lost[-1].header["reason"], lost[-1].header["is_restarted"]) == ("memory", n_crashes < 3)
    assert len(rig.ray.actors) == 3
    assert all(actor.is_killed for actor in rig.ray.actors)


def test_each_gpu_has_an_actor_and_machines_without_one_are_reported():
    rig = Rig(device="cuda", gpus=2, a=4)
    assert [(actor.threads, actor.device) for actor in rig.ray.actors] == [(4, "cuda")] * 2
    rig = Rig(device="cuda", a=4)
    assert not rig.ray.actors
    assert rig.reports("notice")[0].header["message"] == "a has no GPU, so that it trains nothing"


def test_an_error_of_a_machine_reaches_the_controller():
    rig = Rig(a=1)
    rig.ray.actors[0].answer("collect", Collection([], 0.0, b"", ("TableError", "no such image")))
    rig.run()
    assert rig.reports("error")[0].header == {"kind": "error", "name": "TableError", "message": "no such image"}


def test_closing_returns_what_machines_have_trained():
    rig = Rig(a=1)
    rig.submit(3)
    rig.driver.on_command(Message({"kind": "close"}))
    (actor,) = rig.ray.actors
    actor.answer("close", Collection([Attempt(0, 0, 1)], 1.0, b"partial"))
    actor.answer("collect", Collection([], 0.0, b""))
    rig.driver.run()
    assert rig.driver.is_done
    assert [report.content for report in rig.reports("results")] == [b"partial"]


def test_an_item_whose_process_ended_is_trained_without_others():
    rig = Rig(a=2)
    rig.submit(1)
    rig.submit(2, avoid=("a",))
    rig.submit(2)
    (actor,) = rig.ray.actors
    assert [attempt.trial for attempt in actor.items()] == [0]
    for n in (2, 3):
        rig.finish(actor, 1, seconds=1.0)
        assert [attempt.trial for attempt in actor.items()] == list(range(n))
    rig.finish(actor, 1, seconds=1.0)
    assert [attempt.trial for attempt in actor.items()] == [0, 1, 2, 3, 4]


def test_an_item_whose_process_ended_moves_to_another_machine_while_others_go_on():
    rig = Rig(a=1, b=1)
    a, b = rig.ray.actors
    rig.submit(4)
    rig.submit(1, avoid=("a",))
    rig.submit(2)
    rig.finish(a, 2, seconds=1.0)
    assert [attempt.trial for attempt in a.items()] == [0, 2, 5, 6]
    rig.finish(b, 2, seconds=1.0)
    assert [attempt.trial for attempt in b.items()] == [1, 3, 4]


def test_an_item_that_ends_its_process_again_and_again_does_not_cost_a_machine():
    rig = Rig(a=1)
    for n_crashes in range(1, 6):
        rig.submit(1, avoid=("a",) * (n_crashes - 1))
        rig.ray.actors[-1].answer("collect", RuntimeError("out of memory"))
        rig.run()
        rig.ray.actors[-1].answer("load", 1)
        rig.run()
    assert [message.header["is_restarted"] for message in rig.reports("lost")] == [True] * 5


def test_a_machine_on_which_items_of_others_end_is_given_up():
    rig = Rig(a=1)
    for _ in range(3):
        rig.submit(1, avoid=("b",))
        rig.ray.actors[-1].answer("collect", RuntimeError("out of memory"))
        rig.run()
        if rig.reports("lost")[-1].header["is_restarted"]:
            rig.ray.actors[-1].answer("load", 1)
            rig.run()
    assert [message.header["is_restarted"] for message in rig.reports("lost")] == [True, True, False]


def test_a_machine_is_given_up_only_if_it_crashes_without_a_result_in_between():
    rig = Rig(a=1)
    for _ in range(5):
        actor = rig.ray.actors[-1]
        rig.submit(1)
        rig.finish(actor, 1, seconds=1.0)
        actor.answer("collect", RuntimeError("out of memory"))
        rig.run()
        rig.ray.actors[-1].answer("load", 1)
        rig.run()
    assert all(message.header["is_restarted"] for message in rig.reports("lost"))
