"""Workers of a search on the machines of a Ray cluster; the search continues if machines or the cluster are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from queue import Empty, SimpleQueue
from threading import Event, RLock, Thread, current_thread
from typing import IO, Any, NamedTuple, cast

from rosenblatt import errors
from rosenblatt.errors import ClusterError, Notify, RosenblattError, format_count, format_list
from rosenblatt.training.workers import POLL_INTERVAL_S, MessageQueue
from rosenblatt.tuning.packing import Attempt, ItemPacker, unpack_results
from rosenblatt.tuning.ray_connection import Message, RayConnection, read_report, write_command
from rosenblatt.tuning.work_queue import WorkItem
from rosenblatt.tuning.workers import NodeStatus, Workers

START_TIMEOUT_S = 60.0  # seconds for the driver to join the cluster and start its workers
SILENCE_TIMEOUT_S = 20.0  # seconds without a report after which the driver counts as lost
EMPTY_TIMEOUT_S = 60.0  # seconds without any machine after which the cluster counts as lost
CLOSE_TIMEOUT_S = 10.0  # seconds for the cluster to return what was trained
RECONNECT_TIMEOUT_S = 30.0  # the same to connect again
RECONNECT_DELAYS_S = (0.0, 5.0)  # before each attempt to connect again
MAX_CRASHES = 4  # of the process that trains an item, after which the item fails; more than a broken machine may have
MAX_LOSSES = 3  # of the connection without a result in between, after which this machine trains
MAX_NAMES = 5  # of machines in a message
ERROR_TIMEOUT_S = 5.0  # seconds for the rest of the driver's standard error, which its children may keep open
ERROR_LINES = 20  # last lines of the driver's standard error that are kept


class _InFlight(NamedTuple):
    item: WorkItem
    attempt: Attempt


class RayWorkers(MessageQueue):
    """Train work items on the machines of a cluster, and on this machine if the cluster is lost.

    Args:
        connection: starts the driver that joins the cluster.
        notify: called with a message when machines are lost or join.
        make_local: starts the workers of this machine that replace a lost cluster.
        device: "cpu", or the device of PyTorch that trains the networks.
        nodes_per_network: machines, or GPUs, that train each network together.

    Raises:
        ClusterError: if the cluster cannot be used.
    """

    def __init__(
        self,
        connection: RayConnection,
        notify: Notify,
        make_local: Callable[[], Workers],
        device: str = "cpu",
        nodes_per_network: int = 1,
    ) -> None:
        super().__init__()
        self._nodes_per_network = nodes_per_network
        self._connection, self._notify, self._device, self._make_local = connection, notify, device, make_local
        self._notices = SimpleQueue[str]()  # from other threads
        self._lock = RLock()
        self._in_flight: dict[tuple[int, int], _InFlight] = {}
        self._n_attempts = Counter[tuple[int, int]]()
        self._n_crashes = Counter[tuple[int, int]]()
        self._lost_nodes: dict[str, NodeStatus] = {}
        self._nodes: Sequence[NodeStatus] = ()
        self._has_started = False  # whether the machines that the cluster had at first are ready
        self._has_nodes_since = time.monotonic()
        self._local: Workers | None = None
        self._is_closed, self._connecting, self._n_losses = Event(), cast("_Driver | None", None), 0
        self._driver = self._connect(START_TIMEOUT_S)
        machines, threads = format_count(len(self.nodes), "machine"), format_count(self.threads, "thread")
        names = format_list([node.name for node in self.nodes], MAX_NAMES)
        self._notify(f"training on {machines} of cluster {connection.name} with {threads}: {names}")

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

    def submit(self, work: WorkItem) -> None:
        """Send a work item to the cluster."""
        with self._lock:
            self._start((work.trial.number, work.index), work)

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
        try:
            if connecting:
                connecting.kill()
            self._driver.close()
        finally:
            self._driver.end()
            if self._local:
                self._local.close()
        self._flush_notices()

    # Driver

    def _connect(self, timeout: float) -> _Driver:
        """Start a driver and wait until machines are ready."""
        work = {"device": self._device, "nodes_per_network": self._nodes_per_network}
        with self._lock:
            if self._is_closed.is_set():
                raise ClusterError("The workers are closed.")
            self._connecting = driver = _Driver(self._connection, work, self._on_report, self._on_driver_end)
        try:
            driver.wait_until_started(max(timeout, self._connection.machine_start_s))
        except BaseException:
            driver.kill()
            raise
        finally:
            self._connecting = None
        return driver

    def _check_driver(self) -> None:
        """End a driver that is silent or has lost all machines, so that its items are moved."""
        if self._local or self.stop[0]:
            return
        now = time.monotonic()
        if now - self._driver.last_report > SILENCE_TIMEOUT_S:
            self._driver.kill(f"no report for {SILENCE_TIMEOUT_S:g} s")
        elif self._nodes:
            self._has_nodes_since = now
        elif now - self._has_nodes_since > (timeout := max(EMPTY_TIMEOUT_S, self._connection.machine_start_s)):
            self._driver.kill(f"no machine for {timeout:g} s")

    def _on_driver_end(self, driver: _Driver) -> None:
        """Connect again, or continue on this machine, when a driver has ended that should not."""
        if self.stop[0] or not driver.is_started:
            return
        name = self._connection.name
        self._notices.put(f"cluster {name}: the connection is lost ({driver.end_reason}); connecting again")
        self._nodes = ()
        try:
            new_driver = self._connect_again()
            with self._lock:
                if self.stop[0]:
                    if new_driver:
                        new_driver.kill()
                    return
                self._replace_driver(new_driver)
        except Exception as error:  # noqa: BLE001 - `get` raises it again
            self.put(error)

    def _connect_again(self) -> _Driver | None:
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

    def _replace_driver(self, new_driver: _Driver | None) -> None:
        """Start all items in flight again with another driver or, without one, on this machine."""
        name, moved = self._connection.name, list(self._in_flight.items())
        if new_driver:
            self._driver, self._has_nodes_since = new_driver, time.monotonic()
            self._notices.put(f"cluster {name}: connected again; {format_count(len(moved), 'work item')} restarted")
        else:
            try:
                self._local = self._make_local()
            except RosenblattError as error:
                raise ClusterError(
                    f"Cluster {name} cannot be reached, and this machine cannot go on: {error}"
                ) from error
            threads = format_count(self._local.threads, "thread")
            self._notices.put(f"cluster {name} cannot be reached; the search continues on this machine ({threads})")
        for key, (item, _) in moved:
            self._start(key, item)

    def _start(self, key: tuple[int, int], item: WorkItem) -> None:
        """Send an item to the cluster, or give it to the workers of this machine, as the next attempt."""
        self._n_attempts[key] += 1
        attempt = Attempt(*key, self._n_attempts[key])
        self._in_flight[key] = _InFlight(item, attempt)
        if self._local:
            self._local.submit(item)
        else:
            self._driver.send_item(item, attempt, is_suspect=self._n_crashes[key] > 0)

    # Reports

    def _on_report(self, message: Message) -> None:
        header, content = message
        handlers: dict[str, Callable[[], None]] = {
            "nodes": lambda: self._on_nodes(header),
            "results": lambda: self._on_results(content),
            "lost": lambda: self._on_lost(header),
            "notice": lambda: self._notices.put(str(header["message"])),
            "error": lambda: self.put(_error(str(header["name"]), str(header["message"]))),
        }
        if header["kind"] in handlers:
            handlers[header["kind"]]()

    def _on_nodes(self, header: dict[str, Any]) -> None:
        nodes = [NodeStatus(str(node["name"]), int(node["threads"]), int(node["running"])) for node in header["nodes"]]
        earlier = {node.name for node in self._nodes}
        for node in nodes:
            returned = self._lost_nodes.pop(node.name, None)
            if self._has_started and node.name not in earlier:
                verb = "is back" if returned else "joined"
                self._notices.put(f"{node.name} {verb} ({format_count(node.threads, 'thread')})")
        self._nodes, self.latency_s = tuple(nodes), float(header["latency_s"])
        self._has_started = bool(header["is_started"])

    def _on_results(self, content: bytes) -> None:
        """Give trials what machines have trained; results of attempts that were replaced are ignored."""
        for packed in unpack_results(content):
            key = packed.attempt.trial, packed.attempt.fold
            with self._lock:
                in_flight = self._in_flight.get(key)
                if in_flight is None or in_flight.attempt != packed.attempt:
                    continue
                del self._in_flight[key]
            item, self._n_losses = in_flight.item, 0
            packed.install(item)
            try:
                if item.evaluate is not None and not self.stop[0]:
                    item.evaluate(item.trial, item.index, item.fold)
                self.put(packed.result)
            except BaseException as error:  # noqa: BLE001 - `get` raises it again
                self.put(error)

    def _on_lost(self, header: dict[str, Any]) -> None:
        """Move the items of a lost machine."""
        name, is_crash = str(header["node"]), bool(header["is_crash"])
        with self._lock:
            node = next((node for node in self._nodes if node.name == name), NodeStatus(name, 0))
            self._nodes = tuple(node for node in self._nodes if node.name != name)
            if not header["is_restarted"]:
                self._lost_nodes[name] = NodeStatus(name, node.threads, is_lost=True)
            n_moved = 0
            for attempt in (Attempt(*attempt) for attempt in header["attempts"]):
                n_moved += self._move(attempt, name, is_crash=is_crash)
        end = "its worker is started again" if header["is_restarted"] else "it is not used any more"
        self._notices.put(f"{name}: {header['reason']}; {end}, and {format_count(n_moved, 'work item')} moved")

    def _move(self, attempt: Attempt, node: str, *, is_crash: bool) -> bool:
        """Send a lost item again, unless it ended its process too often; whether it was sent."""
        key = attempt.trial, attempt.fold
        in_flight = self._in_flight.get(key)
        if in_flight is None or in_flight.attempt != attempt:
            return False
        self._n_crashes[key] += is_crash
        if self._n_crashes[key] >= MAX_CRASHES:
            del self._in_flight[key]
            reason = f"the process that trained it ended {MAX_CRASHES} times, at last on {node}"
            self.put(in_flight.item.failure(reason))
            return False
        self._start(key, in_flight.item)
        return True

    def _flush_notices(self) -> None:
        with suppress(Empty):
            while True:
                self._notify(self._notices.get_nowait())


class _Driver:
    """The child process that joins the cluster, and the thread that reads its reports."""

    def __init__(
        self,
        connection: RayConnection,
        work: Mapping[str, Any],
        on_report: Callable[[Message], None],
        on_end: Callable[[_Driver], None],
    ) -> None:
        self._name, self._on_report, self._on_end = connection.name, on_report, on_end
        self.is_started, self.last_report, self.end_reason = False, time.monotonic(), ""
        self._refusal, self._ready, self._lines = "", Event(), deque[str](maxlen=ERROR_LINES)
        self._packer = ItemPacker()
        pipe = subprocess.PIPE
        try:  # in a session of its own, so that Ctrl-C does not reach it
            self._process = subprocess.Popen(  # noqa: S603 - the command of the connection
                connection.command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError as error:
            raise ClusterError(f"The driver of cluster {self._name} cannot be started: {error}.") from error
        self._commands = SimpleQueue[Callable[[IO[bytes]], None] | None]()  # None is the last
        self._reader, self._writer, self._error_reader = (
            Thread(target=target, daemon=True)
            for target in (self._read_reports, self._write_commands, self._read_errors)
        )
        for thread in (self._reader, self._writer, self._error_reader):
            thread.start()
        environment = dict(connection.environment)
        self._send("start", address=connection.address, environment=environment, **work)

    def send_item(self, item: WorkItem, attempt: Attempt, *, is_suspect: bool) -> None:
        """Send a work item, after the shared objects that it is the first to need.

        A suspect, whose process has ended before, is trained without others, so that it is known which item ends it.
        """
        packed = self._packer.pack(item, attempt.number)
        for shared in self._packer.take_new():
            self._send("share", shared.content, key=shared.key)
        self._send("item", packed.content, attempt=packed.attempt, keys=packed.keys, is_suspect=is_suspect)

    def _send(self, kind: str, content: bytes = b"", **header: Any) -> None:
        """Queue a command, so that a driver that does not read blocks nobody."""
        self._commands.put(partial(write_command, kind=kind, content=content, **header))

    def wait_until_started(self, timeout: float) -> None:
        """Wait until machines are ready. Raises ClusterError."""
        if not self._ready.wait(timeout):
            raise ClusterError(
                f"Cluster {self._name} has no machine that is ready after {timeout:g} s. Check that it is up "
                "and that no other program occupies its cores."
            )
        if not self.is_started:
            raise ClusterError(f"Cluster {self._name} cannot be used: {self._refusal or self.end_reason}")

    def close(self) -> None:
        """Let the machines stop, and wait for what they have trained."""
        self._send("close")
        self._reader.join(CLOSE_TIMEOUT_S)

    def end(self) -> None:
        """End the process, and wait until its last reports are handled."""
        self.kill()
        if self._reader is not current_thread():
            self._reader.join(CLOSE_TIMEOUT_S)

    def kill(self, reason: str = "") -> None:
        """End the process."""
        self.end_reason = self.end_reason or reason
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _read_reports(self) -> None:
        with cast("IO[bytes]", self._process.stdout) as reports:
            try:
                while (message := read_report(reports, self._note_life)) is not None:
                    self._handle(message)
                    self._note_life()
            except Exception as error:  # noqa: BLE001 - whatever a machine sent, the search goes on
                self.end_reason = f"it sent a message that cannot be read: {error or type(error).__name__}"
        self.kill()
        self._commands.put(None)
        self._writer.join()
        self._error_reader.join(ERROR_TIMEOUT_S)
        self.end_reason = self.end_reason or (self._lines[-1] if self._lines else "its driver has ended")
        self._ready.set()
        self._on_end(self)

    def _note_life(self) -> None:
        self.last_report = time.monotonic()

    def _handle(self, message: Message) -> None:
        header = message.header
        if header["kind"] == "refused":
            self._refusal = str(header["message"])
        elif header["kind"] == "joined" and header["rosenblatt"] != version("rosenblatt"):
            self._refusal = (
                f"it has rosenblatt {header['rosenblatt']}, but this machine has {version('rosenblatt')}. Install the "
                "same version."
            )
            self._ready.set()
        else:
            self._on_report(message)
            if header["kind"] == "nodes" and header["is_started"] and not self._refusal:
                self.is_started = True
                self._ready.set()

    def _write_commands(self) -> None:
        with suppress(OSError), cast("IO[bytes]", self._process.stdin) as pipe:  # an error means that it has ended
            while (write := self._commands.get()) is not None:
                write(pipe)

    def _read_errors(self) -> None:
        with cast("IO[bytes]", self._process.stderr) as lines:
            for line in lines:
                if text := line.decode(errors="replace").strip():
                    self._lines.append(text)


def _error(name: str, message: str) -> RosenblattError:
    """An error of a machine, as the class that it has there if it is one for users."""
    error_class = getattr(errors, name, None)
    if isinstance(error_class, type) and issubclass(error_class, RosenblattError):
        return error_class(message)
    return ClusterError(f"A machine of the cluster could not train a network: {name}: {message}")
