"""Distribution of work items over the machines of a Ray cluster, an actor on each."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from math import ceil
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import IO, Any

from rosenblatt.tuning.attempts import Attempt, Collection, PackedItem
from rosenblatt.tuning.ray_connection import Message, write_report
from rosenblatt.tuning.search_status import MachineWork, StatusFile

POLL_INTERVAL_S = 1.0  # seconds between looks at the machines, and between reports on them
COLLECTION_WINDOW_S = 0.2  # seconds for which a machine collects results, so that Ray's cost for each is small
COLLECTION_WINDOW_PER_NODE_S = 0.005  # the same for large clusters, so that the driver keeps up
MAX_AHEAD = 256  # items that wait on a machine for each thread
MIN_ITEM_TO_LATENCY = 20  # items this many times longer than a collection wait in the driver, not on machines
MAX_CRASHES = 3  # of the actor of a machine without a result in between, after which the machine is not used any more;
# those of an item that ended its process there before are not counted
CLOSE_TIMEOUT_S = 8.0  # seconds for machines to stop training
NODE_ID_LABEL = "ray.io/node-id"  # that Ray gives to each machine
MAX_TRIALS = 5  # of a machine, in reports to the controller
SILENCE_ERROR = "ActorUnavailableError"  # of Ray, if it does not know yet whether the machine or the process has ended
ACTOR_THREADS = 8  # methods of an actor that run at a time
START_TIMEOUT_S = 15.0  # seconds to wait for further machines once the first is ready


@dataclass(eq=False)
class Node:
    """A machine, or one of its GPUs, with the actor that trains there."""

    node_id: str
    name: str
    cores: int
    resources: dict[str, Any]  # that its actor occupies
    actor: Any
    threads: int = 0  # items that it trains at a time; 0 until it is ready
    loaded: set[int] = field(default_factory=set)  # keys of shared objects that it has; some may be released
    loading: list[int] = field(default_factory=list)
    outbox: list[PackedItem] = field(default_factory=list)  # assigned items whose shared objects are not loaded
    assigned: dict[Attempt, PackedItem] = field(default_factory=dict)  # items without a result
    n_open_calls: int = 0  # calls that may return results
    is_silent: bool = False  # whether its connection is lost, of which its items are not the reason

    @property
    def trials(self) -> tuple[int, ...]:
        """Numbers of the trials of its items."""
        return tuple(sorted({attempt.trial for attempt in self.assigned}))

    @property
    def is_alone(self) -> bool:
        """Whether it trains an item that must not be trained with others."""
        return len(self.assigned) == 1 and next(iter(self.assigned.values())).is_suspect

    @property
    def is_blameless(self) -> bool:
        """Whether it trains an item that ended its process here before, and nothing else."""
        return self.is_alone and self.name in next(iter(self.assigned.values())).avoid


class RayDriver:
    """Distributes work items over the machines of a cluster.

    Args:
        ray: the module, connected to the cluster.
        reports: the pipe to the controller.
        device: "cpu", or the device of PyTorch that trains the items.
        worker_class: of the actors.
    """

    def __init__(self, ray: Any, reports: IO[bytes], device: str, worker_class: type[Any]) -> None:
        self._ray, self._reports, self._device, self._worker_class = ray, reports, device, worker_class
        self.events = SimpleQueue[Callable[[], None]]()
        self._nodes: list[Node] = []
        self._seen = set[str]()  # ids of all machines so far
        self._crashes = Counter[str]()  # by machine
        self._addresses: dict[str, str] = {}  # of machines, by id
        self._status = StatusFile()
        self._refs: dict[int, Any] = {}  # shared objects in the object store, by key
        self._waiting = deque[PackedItem]()
        self._suspects: list[PackedItem] = []  # waiting items that must be trained without others
        self._item_seconds = 0.0  # typical time of an item; 0 as long as it is unknown
        self._is_started, self._first_ready, self._next_poll = False, 0.0, 0.0
        self._closes_at: float | None = None
        self.is_done = False

    def run(self) -> None:
        """Handle commands and results until the controller closes the driver."""
        while not self.is_done:
            if time.monotonic() >= self._next_poll:
                self._next_poll = time.monotonic() + POLL_INTERVAL_S
                self._poll()
            with suppress(Empty):
                self.events.get(timeout=max(self._next_poll - time.monotonic(), 0.0))()
                while not self.events.empty():
                    self.events.get()()
            if self._closes_at is None:
                self._assign()
            else:
                is_late = time.monotonic() > self._closes_at
                self.is_done |= is_late or not any(node.n_open_calls for node in self._nodes)

    def end(self) -> None:
        """End all actors and leave the cluster."""
        self._status.remove()
        for node in self._nodes:
            self._ray.kill(node.actor)
        self._ray.shutdown()

    # Machines

    def _poll(self) -> None:
        """Look for machines that joined or were lost, and report all."""
        alive = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
        if self._closes_at is None:
            for node_id, description in alive.items():
                if node_id not in self._seen:
                    self._seen.add(node_id)
                    self._add_machine(node_id, description)
        for node in [node for node in self._nodes if node.node_id not in alive]:
            self._lose(node, "the machine was lost", is_machine_alive=False)
        is_complete = all(node.threads for node in self._nodes)
        if not self._is_started and self._first_ready:
            self._is_started = is_complete or time.monotonic() - self._first_ready > START_TIMEOUT_S
        self._report_nodes()
        self._write_status()

    def _write_status(self) -> None:
        self._status.write([
            MachineWork(
                address=self._addresses[node.node_id],
                threads=node.threads,
                trials=node.trials,
            )
            for node in self._nodes
        ])  # fmt: skip

    def _report_nodes(self) -> None:
        nodes = [
            {"name": n.name, "threads": n.threads, "running": len(n.assigned), "trials": n.trials[:MAX_TRIALS]}
            for n in self._nodes
            if n.threads
        ]
        write_report(
            self._reports, "nodes", nodes=nodes, is_started=self._is_started, latency_s=self._collection_window
        )

    def _add_machine(self, node_id: str, description: dict[str, Any]) -> None:
        """Name a machine, and start its actors."""
        cores, gpus = (int(description["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
        names = {node.name for node in self._nodes}
        address = self._addresses[node_id] = description["NodeManagerAddress"]
        candidates = description["NodeManagerHostname"], address, f"{address}:{description['NodeManagerPort']}"
        self._start_machine(node_id, next((name for name in candidates if name not in names), node_id), cores, gpus)

    def _start_machine(self, node_id: str, name: str, cores: int, gpus: int) -> None:
        """Start an actor for all cores of a machine, or for each of its GPUs."""
        if self._device == "cpu":
            if cores:
                self._start_actor(node_id, name, cores, {"num_cpus": cores})
            return
        for number in range(gpus):
            resources = {"num_cpus": 1 if cores >= gpus else 0, "num_gpus": 1}
            self._start_actor(node_id, f"{name}, GPU {number}" if gpus > 1 else name, cores, resources)
        if not gpus:
            write_report(self._reports, "notice", message=f"{name} has no GPU, so that it trains nothing")

    def _start_actor(self, node_id: str, name: str, cores: int, resources: dict[str, Any]) -> None:
        actor_class = self._ray.remote(self._worker_class).options(
            **resources, max_concurrency=ACTOR_THREADS, label_selector={NODE_ID_LABEL: node_id}
        )
        node = Node(node_id, name, cores, resources, actor_class.remote(cores, self._device))
        self._nodes.append(node)

        def on_ready(threads: int) -> None:
            node.threads = threads
            self._first_ready = self._first_ready or time.monotonic()
            self._next_poll = 0.0  # report it at once
            self._collect(node)

        self._call(node, node.actor.load.remote([], []), on_ready)

    def _lose(self, node: Node, reason: str, *, is_machine_alive: bool) -> None:
        """Forget an actor and tell the controller which items are lost with it; start it again on a machine that is
        alive."""
        if node not in self._nodes:
            return
        self._nodes.remove(node)
        self._ray.kill(node.actor)
        if self._closes_at is not None:
            return
        self._crashes[node.node_id] += not node.is_blameless
        is_restarted = is_machine_alive and self._crashes[node.node_id] < MAX_CRASHES
        report: dict[str, Any] = {"node": node.name, "reason": reason, "attempts": list(node.assigned)}
        is_crash = is_machine_alive and not node.is_silent
        report |= {"is_crash": is_crash, "is_restarted": is_restarted}
        write_report(self._reports, "lost", **report)
        if is_restarted:
            self._start_actor(node.node_id, node.name, node.cores, node.resources)

    # Calls of actors

    def _call(self, node: Node, ref: Any, on_result: Callable[[Any], None]) -> None:
        """Call a function with the result of an actor's method; an actor that has died loses its items."""

        def on_done(future: Future[Any]) -> None:
            error = future.exception()
            if error is None:
                on_result(future.result())
                return
            is_alive = any(other["Alive"] and other["NodeID"] == node.node_id for other in self._ray.nodes())
            node.is_silent = type(error).__name__ == SILENCE_ERROR
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = lines[-1] if is_alive else "the machine was lost"
            self._lose(node, "it does not answer" if node.is_silent else reason, is_machine_alive=is_alive)

        ref.future().add_done_callback(lambda future: self.events.put(partial(on_done, future)))

    def _collect(self, node: Node) -> None:
        node.n_open_calls += 1
        self._call(node, node.actor.collect.remote(self._collection_window), partial(self._on_collected, node))

    def _on_collected(self, node: Node, collection: Collection) -> None:
        node.n_open_calls -= 1
        for attempt in collection.attempts:
            node.assigned.pop(attempt, None)
        if collection.error:
            name, message = collection.error
            write_report(self._reports, "error", name=name, message=message)
        if collection.attempts:
            self._crashes[node.node_id] = 0
            seconds = collection.seconds / len(collection.attempts)
            self._item_seconds = 0.7 * self._item_seconds + 0.3 * seconds if self._item_seconds else seconds
        if collection.content:
            write_report(self._reports, "results", collection.content, node=node.name)
        if self._closes_at is None and node in self._nodes:
            self._collect(node)

    # Items

    @property
    def _collection_window(self) -> float:
        return max(COLLECTION_WINDOW_S, COLLECTION_WINDOW_PER_NODE_S * len(self._nodes))

    @property
    def _n_ahead(self) -> int:
        """Items that wait on a machine for each thread, so that none is idle while results are collected."""
        window = self._collection_window
        if not self._item_seconds:
            return 1
        return (
            0
            if self._item_seconds > MIN_ITEM_TO_LATENCY * window
            else min(ceil(window / self._item_seconds), MAX_AHEAD)
        )

    def _assign(self) -> None:
        """Give waiting items to the machines with the fewest, preferably to those that hold their data."""
        n_per_thread = 1 + self._n_ahead
        changed, reserved = self._assign_suspects()
        free = [node for node in self._nodes if len(node.assigned) < node.threads * n_per_thread and not node.is_alone]
        free = [node for node in free if node is not reserved]
        while self._waiting and free:
            item = self._waiting.popleft()
            node = min(free, key=lambda node: _load(node, item))
            self._give(node, item)
            changed.add(node)
            if len(node.assigned) >= node.threads * n_per_thread:
                free.remove(node)
        for node in changed:
            self._flush(node)

    def _assign_suspects(self) -> tuple[set[Node], Node | None]:
        """Give items that ended a process to machines without others, and not where they did so, if there is a choice.

        Returns the machines that got one, and a machine that gets nothing until it is free for the next one.
        """
        changed, ready = set[Node](), [node for node in self._nodes if node.threads]
        for item in list(self._suspects):
            allowed = [node for node in ready if node.name not in item.avoid] or ready
            candidates = [node for node in allowed if not node.is_alone]
            if not candidates:
                continue
            node = min(candidates, key=lambda node: (len(node.assigned), self._crashes[node.node_id]))
            if node.assigned:
                return changed, node
            self._suspects.remove(item)
            self._give(node, item)
            changed.add(node)
        return changed, None

    @staticmethod
    def _give(node: Node, item: PackedItem) -> None:
        node.assigned[item.attempt] = item
        node.outbox.append(item)

    def _flush(self, node: Node) -> None:
        """Send the items of the outbox whose shared objects are loaded; load what others need."""
        ready = [item for item in node.outbox if node.loaded.issuperset(item.keys)]
        if ready:
            node.outbox = [item for item in node.outbox if not node.loaded.issuperset(item.keys)]
            ref = node.actor.submit.remote([item.attempt for item in ready], [item.content for item in ready])
            self._call(node, ref, lambda _: None)
        if node.outbox and not node.loading:
            node.loading = sorted({key for item in node.outbox for key in item.keys} - node.loaded)
            self._call(node, self._load_objects(node, node.loading), partial(self._on_loaded, node))

    def _load_objects(self, node: Node, keys: list[int]) -> Any:
        """Load shared objects on a machine, after those that were released are removed there."""
        released = node.loaded - self._refs.keys()
        node.loaded -= released
        return node.actor.load.remote(sorted(released), keys, *(self._refs[key] for key in keys))

    def _on_loaded(self, node: Node, _threads: int) -> None:
        node.loaded.update(node.loading)
        node.loading = []
        self._flush(node)

    # Controller

    def on_command(self, message: Message) -> None:
        """Carry out a command of the controller."""
        header, content = message
        if header["kind"] == "share":
            self._refs[header["key"]] = self._ray.put(content)
        elif header["kind"] == "release":  # no item here refers to them, since the controller has their results
            for key in header["keys"]:
                self._refs.pop(key, None)
        elif header["kind"] == "item":
            attempt, keys, avoid, is_moved = (header[name] for name in ("attempt", "keys", "avoid", "is_moved"))
            self._enqueue(PackedItem(attempt, keys, content, avoid, is_moved))
        elif header["kind"] == "close":
            self.close()

    def _enqueue(self, item: PackedItem) -> None:
        """Add an item to its queue."""
        if item.is_suspect:
            self._suspects.append(item)
        else:
            self._wait(item)

    def _wait(self, item: PackedItem) -> None:
        """Let an item wait for a machine; one that was moved waits only for others that were."""
        n_before = sum(1 for _ in takewhile(attrgetter("is_moved"), self._waiting))
        self._waiting.insert(n_before if item.is_moved else len(self._waiting), item)

    def close(self) -> None:
        """Stop training; the driver is done when all machines have returned what they trained."""
        if self._closes_at is None:
            self._closes_at = time.monotonic() + CLOSE_TIMEOUT_S
            self._waiting.clear()
            self._suspects.clear()
            for node in self._nodes:
                if node.threads:
                    node.n_open_calls += 1
                    self._call(node, node.actor.close.remote(), partial(self._on_collected, node))


def _load(node: Node, item: PackedItem) -> float:
    """How busy a machine is; one that lacks the data of an item counts as one item per thread busier."""
    return len(node.assigned) / node.threads + (not node.loaded.issuperset(item.keys))
