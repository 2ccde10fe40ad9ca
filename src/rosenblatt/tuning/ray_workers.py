"""Workers of a search on the machines of a Ray cluster; the search continues if machines or the cluster are lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue
from threading import Event, RLock
from typing import Any, NamedTuple, cast

from rosenblatt import errors
from rosenblatt.errors import ClusterError, Notify, RosenblattError, format_count, format_list
from rosenblatt.training.workers import POLL_INTERVAL_S, MessageQueue
from rosenblatt.tuning.attempts import Attempt, Packer
from rosenblatt.tuning.driver_process import DriverProcess
from rosenblatt.tuning.packing import ItemPacker, PackedResult, unpack_results
from rosenblatt.tuning.ray_connection import (
    Message,
    RayConnection,
)
from rosenblatt.tuning.work_queue import WorkItem
from rosenblatt.tuning.workers import NodeStatus, Workers

START_TIMEOUT_S = 60.0  # seconds for the driver to join the cluster and start its workers
EMPTY_TIMEOUT_S = 60.0  # seconds without any machine after which the cluster counts as lost
RECONNECT_TIMEOUT_S = 30.0  # the same to connect again
RECONNECT_DELAYS_S = (0.0, 5.0)  # before each attempt to connect again
MAX_CRASHES = 3  # of the process that trains an item, after which the item fails
MAX_LOCAL_CRASHES = 1  # the same for items that this machine trains, as they may end the search itself
MAX_LOSSES = 3  # of the connection without a result in between, after which this machine trains
MAX_NAMES = 5  # of machines in a message


TrialLog = Callable[[int, str], None]
"""Called with the number of a trial, and lines on it."""


class Crash(NamedTuple):
    """An attempt whose process ended."""

    node: str  # name of the machine
    reason: str


class _InFlight(NamedTuple):
    item: Any  # a work item of the coordinator, or of a subclass
    attempt: Attempt
    crashes: tuple[Crash, ...]  # attempts whose process ended


class RayWorkers(MessageQueue):
    """Train work items on the machines of a cluster, and on this machine if the cluster is lost.

    Args:
        connection: starts the driver that joins the cluster.
        notify: called with a message when machines are lost or join.
        make_local: starts the workers of this machine that replace a lost cluster.
        device: "cpu", or the device of PyTorch that trains the networks.
        nodes_per_network: machines, or GPUs, that train each network together.
        log: called with the number of a trial and text on what machines did with it and printed; by several threads.

    Raises:
        ClusterError: if the cluster cannot be used.
    """

    thread_noun: tuple[str, ...] = ("thread",)  # in messages; with its plural, unless that adds an s
    item_noun = "work item"

    def __init__(
        self,
        connection: RayConnection,
        notify: Notify,
        make_local: Callable[[], Workers],
        device: str = "cpu",
        nodes_per_network: int = 1,
        log: TrialLog | None = None,
    ) -> None:
        super().__init__()
        self._log = log
        self._nodes_per_network = nodes_per_network
        self._connection, self._notify, self._device, self._make_local = connection, notify, device, make_local
        self._notices = SimpleQueue[str]()  # from other threads
        self._lock = RLock()
        self._in_flight: dict[tuple[int, int], _InFlight] = {}
        self._attempt_numbers = count(1)
        self._lost_nodes: dict[str, NodeStatus] = {}
        self._nodes: Sequence[NodeStatus] = ()
        self._has_started = False  # whether the machines that the cluster had at first are ready
        self._has_nodes_since = time.monotonic()
        self._local: Workers | None = None
        self._is_closed, self._connecting, self._n_losses = Event(), cast("DriverProcess | None", None), 0
        self._driver = cast("DriverProcess", None)
        driver = self._connect(START_TIMEOUT_S)
        with self._lock:
            self._driver = driver
            if driver.has_ended:
                raise ClusterError(f"Cluster {connection.name} cannot be used: {driver.end_reason}")
        names = [node.name for node in self.nodes if not node.is_lost]
        machines, threads = format_count(len(names), "machine"), format_count(self.threads, *self.thread_noun)
        self._notify(
            f"training on {machines} of cluster {connection.name} with {threads}: {format_list(names, MAX_NAMES)}"
        )

    # Contract

    @property
    def threads(self) -> int:
        """Number of items that are trained at a time."""
        if self._local:
            return self._local.threads
        n_threads = sum(node.threads for node in self._nodes)
        return max(n_threads // self._nodes_per_network, min(n_threads, 1))

    @property
    def nodes(self) -> Sequence[NodeStatus]:
        """The machines of the cluster, with those that were lost."""
        return (*self._nodes, *self._lost_nodes.values())

    def submit(self, work: Any) -> None:
        """Send a work item to the cluster."""
        with self._lock:
            self._start(work.key, work)

    def get(self, timeout: float = POLL_INTERVAL_S) -> Any:
        """Return the next result. Raises Empty after `timeout` seconds, and any error of a worker."""
        self._flush_notices()
        self._check_driver()
        if self._local and self._messages.empty():
            return self._local.get(timeout)
        return super().get(timeout)

    def drain(self) -> list[Any]:
        """Return all results that are waiting."""
        return super().drain() + (self._local.drain() if self._local else [])

    def close(self) -> None:
        """Stop all training, keep what was trained, and end the driver."""
        with self._lock:  # from now on, nothing is connected or started
            self.stop[0] = 1
            self._is_closed.set()
            connecting = self._connecting
            driver = self._driver
        try:
            if connecting:
                connecting.kill()
            driver.close()
        finally:
            driver.end()
            if self._local:
                self._local.close()
        self._flush_notices()

    # Driver

    def _connect(self, timeout: float) -> DriverProcess:
        """Start a driver and wait until machines are ready."""
        with self._lock:
            if self._is_closed.is_set():
                raise ClusterError("The workers are closed.")
            self._connecting = driver = DriverProcess(
                self._connection, self._describe_work(), self._make_packer(), self._on_report, self._on_driver_end
            )
        try:
            driver.wait_until_started(max(timeout, self._connection.machine_start_s))
        except BaseException:
            driver.kill()
            raise
        finally:
            self._connecting = None
        return driver

    def _describe_work(self) -> Mapping[str, Any]:
        """What the driver must know to start its actors."""
        return {"device": self._device, "nodes_per_network": self._nodes_per_network}

    def _make_packer(self) -> Packer:
        return ItemPacker()

    def _check_driver(self) -> None:
        """End a driver that is silent or has lost all machines, so that its items are moved."""
        if self._local or self.stop[0]:
            return
        now = time.monotonic()
        self._driver.end_if_silent()
        if self._nodes:
            self._has_nodes_since = now
        elif now - self._has_nodes_since > (timeout := max(EMPTY_TIMEOUT_S, self._connection.machine_start_s)):
            self._driver.kill(f"no machine for {timeout:g} s")

    def _on_driver_end(self, driver: DriverProcess) -> None:
        """Connect again, or continue on this machine, when the driver has ended that has the items."""
        with self._lock:
            driver.has_ended = True
            if self.stop[0] or driver is not self._driver:
                return
        name = self._connection.name
        self._notices.put(f"cluster {name}: the connection is lost ({driver.end_reason}); connecting again")
        self._nodes = ()
        try:
            while not self._replace_driver(self._connect_again()):
                pass
        except Exception as error:  # noqa: BLE001 - `get` raises it again
            self.put(error)

    def _connect_again(self) -> DriverProcess | None:
        """Start another driver; None if that is not possible, or drivers end again and again without a result."""
        self._n_losses += 1
        if self._n_losses > MAX_LOSSES:
            return None
        for delay in RECONNECT_DELAYS_S:
            if self._is_closed.wait(delay):
                return None
            with suppress(ClusterError):
                return self._connect(RECONNECT_TIMEOUT_S)
        return None

    def _replace_driver(self, new_driver: DriverProcess | None) -> bool:
        """Start all items in flight again with another driver or, without one, on this machine.

        Returns False if the new driver has ended already.
        """
        with self._lock:
            if self.stop[0]:
                if new_driver:
                    new_driver.kill()
                return True
            if new_driver and new_driver.has_ended:
                return False
            moved, self._in_flight = self._in_flight, {}
            if new_driver:
                self._driver, self._has_nodes_since = new_driver, time.monotonic()
                restarted = format_count(len(moved), self.item_noun)
                self._notices.put(f"cluster {self._connection.name}: connected again; {restarted} restarted")
            else:
                self._start_local()
            place = "" if new_driver else " on this machine"
            for key, (item, _, crashes) in moved.items():
                self._log_work(item, self._connection.name, f"the connection was lost; it is trained again{place}")
                self._start(key, item, crashes, is_moved=True)
            return True

    def _start_local(self) -> None:
        """Start the workers of this machine. Raises ClusterError if that is impossible."""
        name = self._connection.name
        try:
            self._local = self._make_local()
        except RosenblattError as error:
            raise ClusterError(f"Cluster {name} cannot be reached, and this machine cannot go on: {error}") from error
        threads = format_count(self._local.threads, "thread")
        self._notices.put(f"cluster {name} cannot be reached; the search continues on this machine ({threads})")

    def _start(
        self, key: tuple[int, int], item: Any, crashes: tuple[Crash, ...] = (), *, is_moved: bool = False
    ) -> bool:
        """Send an item to the cluster as another attempt, or give it to the workers of this machine.

        Returns False if it fails instead, because too many attempts have ended their process.
        """
        if len(crashes) >= MAX_CRASHES or (self._local and len(crashes) > MAX_LOCAL_CRASHES):
            node, reason = crashes[-1]
            self.put(item.failure(f"{len(crashes)} processes that trained it ended, the last one on {node}: {reason}"))
            return False
        if self._local:
            self._local.submit(item)
        else:
            attempt = Attempt(*key, next(self._attempt_numbers))
            self._in_flight[key] = _InFlight(item, attempt, crashes)
            self._driver.send_item(item, attempt, [crash.node for crash in crashes], is_moved=is_moved)
        return True

    # Reports

    def _on_report(self, message: Message) -> None:
        header, content = message
        handlers: dict[str, Callable[[], None]] = {
            "nodes": lambda: self._on_nodes(header),
            "results": lambda: self._on_results(header, content),
            "lost": lambda: self._on_lost(header),
            "notice": lambda: self._notices.put(str(header["message"])),
            "error": lambda: self.put(_error(str(header["name"]), str(header["message"]))),
        }
        if header["kind"] in handlers:
            handlers[header["kind"]]()

    def _on_nodes(self, header: dict[str, Any]) -> None:
        nodes = [
            NodeStatus(str(node["name"]), int(node["threads"]), int(node["running"]), tuple(map(int, node["trials"])))
            for node in header["nodes"]
        ]
        earlier = {node.name for node in self._nodes}
        for node in nodes:
            returned = self._lost_nodes.pop(node.name, None)
            if self._has_started and node.name not in earlier:
                verb = "is back" if returned else "joined"
                self._notices.put(f"{node.name} {verb} ({format_count(node.threads, *self.thread_noun)})")
        self._nodes, self.latency_s = tuple(nodes), float(header["latency_s"])
        self._has_started = bool(header["is_started"])

    def _on_results(self, header: dict[str, Any], content: bytes) -> None:
        """Give trials what machines have trained; results of attempts that were replaced are ignored."""
        for packed in unpack_results(content):
            key = packed.attempt.trial, packed.attempt.fold
            with self._lock:
                in_flight = self._in_flight.get(key)
                if in_flight is None or in_flight.attempt != packed.attempt:
                    continue
                try:
                    packed.install(in_flight.item)
                except ClusterError as error:
                    self._move(packed.attempt, Crash(str(header["node"]), str(error)))
                    continue
                del self._in_flight[key]
            item, self._n_losses = in_flight.item, 0
            if packed.n_epochs or packed.result.failure or packed.result.output:
                self._log_work(item, str(header["node"]), _describe_result(packed, item))
            try:
                if item.evaluate is not None and not self.stop[0]:
                    item.evaluate(item.trial, item.index, item.fold)
                self.put(packed.result)
            except BaseException as error:  # noqa: BLE001 - `get` raises it again
                self.put(error)

    def _on_lost(self, header: dict[str, Any]) -> None:
        """Move the items of a lost machine."""
        name, reason = str(header["node"]), str(header["reason"])
        with self._lock:
            node = next((node for node in self._nodes if node.name == name), NodeStatus(name, 0))
            self._nodes = tuple(node for node in self._nodes if node.name != name)
            if not header["is_restarted"]:
                self._lost_nodes[name] = NodeStatus(name, node.threads, is_lost=True)
            loss, is_crash = Crash(name, reason), bool(header["is_crash"])
            n_moved = sum(self._move(Attempt(*attempt), loss, is_crash=is_crash) for attempt in header["attempts"])
        end = "its worker is started again" if header["is_restarted"] else "it is not used any more"
        self._notices.put(f"{name}: {reason}; {end}, and {format_count(n_moved, self.item_noun)} moved")

    def _move(self, attempt: Attempt, loss: Crash, *, is_crash: bool = True) -> bool:
        """Start a lost item again, unless it ended too many processes; whether it was started."""
        key = attempt.trial, attempt.fold
        in_flight = self._in_flight.get(key)
        if in_flight is None or in_flight.attempt != attempt:
            return False
        del self._in_flight[key]
        crashes = (*in_flight.crashes, *([loss] if is_crash else []))
        is_started = self._start(key, in_flight.item, crashes, is_moved=True)
        self._log_work(
            in_flight.item, loss.node, f"{loss.reason}; {'it is trained again' if is_started else 'it fails'}"
        )
        return is_started

    def _log_work(self, item: WorkItem, node: str, text: str) -> None:
        """Log what happened to an item on a machine, with the number of the network if its trial has several."""
        if self._log:
            network = f"network {item.index + 1}: " if len(item.trial.folds.members) > 1 else ""
            first, *rest = text.splitlines()
            lines = [f"{network}{first}", *rest]
            self._log(item.trial.number, "".join(f"{node}: {line}\n" for line in lines))

    def _flush_notices(self) -> None:
        with suppress(Empty):
            while True:
                self._notify(self._notices.get_nowait())


def _describe_result(packed: PackedResult, item: WorkItem) -> str:
    """What a machine trained, and what it printed."""
    member, result = item.trial.folds.members[item.index], packed.result
    last, n = member.n_epochs if member else 0, packed.n_epochs
    epochs = f"epochs {last - n + 1} to {last}" if n > 1 else f"epoch {last}" if n else "no epoch"
    failure = f"; failed: {result.failure}" if result.failure else ""
    return f"{epochs} in {result.seconds:.2f} s{failure}\n{result.output}"


def _error(name: str, message: str) -> RosenblattError:
    """An error of a machine, as the class that it has there if it is one for users."""
    error_class = getattr(errors, name, None)
    if isinstance(error_class, type) and issubclass(error_class, RosenblattError):
        return error_class(message)
    return ClusterError(f"A machine of the cluster could not train a network: {name}: {message}")
