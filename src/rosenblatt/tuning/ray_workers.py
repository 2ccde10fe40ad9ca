"""Workers of a search on the machines of a Ray cluster; the search continues if machines or the cluster are lost."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from itertools import count
from queue import Empty, SimpleQueue
from threading import Event, RLock, Thread, current_thread
from typing import IO, Any, NamedTuple, cast

from rosenblatt import errors
from rosenblatt.errors import ClusterError, Notify, RosenblattError, format_count, format_list
from rosenblatt.training.workers import POLL_INTERVAL_S, MessageQueue
from rosenblatt.tuning.attempts import Attempt, Packer
from rosenblatt.tuning.packing import ItemPacker, unpack_results
from rosenblatt.tuning.ray_connection import (
    HEARTBEAT_INTERVAL_S,
    SILENCE_TIMEOUT_S,
    Message,
    RayConnection,
    read_report,
    write_command,
)
from rosenblatt.tuning.start_marker import last_line, skip_start
from rosenblatt.tuning.workers import NodeStatus, Workers

START_TIMEOUT_S = 60.0  # seconds for the driver to join the cluster and start its workers
EMPTY_TIMEOUT_S = 60.0  # seconds without any machine after which the cluster counts as lost
CLOSE_TIMEOUT_S = 10.0  # seconds for the cluster to return what was trained
RECONNECT_TIMEOUT_S = 30.0  # the same to connect again
RECONNECT_DELAYS_S = (0.0, 5.0)  # before each attempt to connect again
MAX_CRASHES = 3  # of the process that trains an item, after which the item fails
MAX_LOCAL_CRASHES = 1  # the same for items that this machine trains, as they may end the search itself
MAX_LOSSES = 3  # of the connection without a result in between, after which this machine trains
MAX_NAMES = 5  # of machines in a message
ERROR_TIMEOUT_S = 5.0  # seconds for the rest of the driver's standard error, which its children may keep open
ERROR_LINES = 20  # last lines of the driver's standard error that are kept


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
    ) -> None:
        super().__init__()
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
        self._is_closed, self._connecting, self._n_losses = Event(), cast("_Driver | None", None), 0
        self._driver = cast("_Driver", None)
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

    def _connect(self, timeout: float) -> _Driver:
        """Start a driver and wait until machines are ready."""
        with self._lock:
            if self._is_closed.is_set():
                raise ClusterError("The workers are closed.")
            self._connecting = driver = _Driver(
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
        if now - self._driver.last_report > SILENCE_TIMEOUT_S:
            self._driver.kill(f"no report for {SILENCE_TIMEOUT_S:g} s")
        elif self._nodes:
            self._has_nodes_since = now
        elif now - self._has_nodes_since > (timeout := max(EMPTY_TIMEOUT_S, self._connection.machine_start_s)):
            self._driver.kill(f"no machine for {timeout:g} s")

    def _on_driver_end(self, driver: _Driver) -> None:
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

    def _replace_driver(self, new_driver: _Driver | None) -> bool:
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
            for key, (item, _, crashes) in moved.items():
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
            try:
                if item.evaluate is not None and not self.stop[0]:
                    item.evaluate(item.trial, item.index, item.fold)
                self.put(packed.result)
            except BaseException as error:  # noqa: BLE001 - `get` raises it again
                self.put(error)

    def _on_lost(self, header: dict[str, Any]) -> None:
        """Move the items of a lost machine."""
        name, reason = str(header["node"]), str(header["reason"])
        crash = Crash(name, reason) if header["is_crash"] else None
        with self._lock:
            node = next((node for node in self._nodes if node.name == name), NodeStatus(name, 0))
            self._nodes = tuple(node for node in self._nodes if node.name != name)
            if not header["is_restarted"]:
                self._lost_nodes[name] = NodeStatus(name, node.threads, is_lost=True)
            n_moved = sum(self._move(Attempt(*attempt), crash) for attempt in header["attempts"])
        end = "its worker is started again" if header["is_restarted"] else "it is not used any more"
        self._notices.put(f"{name}: {reason}; {end}, and {format_count(n_moved, self.item_noun)} moved")

    def _move(self, attempt: Attempt, crash: Crash | None) -> bool:
        """Start a lost item again, unless it ended too many processes; whether it was started."""
        key = attempt.trial, attempt.fold
        in_flight = self._in_flight.get(key)
        if in_flight is None or in_flight.attempt != attempt:
            return False
        del self._in_flight[key]
        return self._start(key, in_flight.item, (*in_flight.crashes, *([crash] if crash else [])), is_moved=True)

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
        packer: Packer,
        on_report: Callable[[Message], None],
        on_end: Callable[[_Driver], None],
    ) -> None:
        self._name, self._on_report, self._on_end = connection.name, on_report, on_end
        self.is_started, self.has_ended = False, False
        self.last_report, self.end_reason = time.monotonic(), ""
        self._refusal, self._ready, self._lines = "", Event(), deque[str](maxlen=ERROR_LINES)
        self._packer = packer
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
        silence_s = SILENCE_TIMEOUT_S
        self.send("start", address=connection.address, environment=environment, silence_s=silence_s, **work)

    def send_item(self, item: Any, attempt: Attempt, avoid: Sequence[str], *, is_moved: bool) -> None:
        """Send a work item, after the shared objects that it is the first to need.

        An item whose process ended on machines to avoid is trained without others, and on other machines if possible.
        One that was moved is trained before items that wait.
        """
        packed = self._packer.pack(item, attempt.number)
        if released := self._packer.take_released():
            self.send("release", keys=released)
        for shared in self._packer.take_new():
            self.send("share", shared.content, key=shared.key)
        order = {"avoid": tuple(avoid), "is_moved": is_moved}
        self.send("item", packed.content, attempt=packed.attempt, keys=packed.keys, **order)

    def send(self, kind: str, content: bytes = b"", **header: Any) -> None:
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
        self.send("close")
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
                prefix = bytearray()
                if not skip_start(reports, prefix) and not self._lines and (line := last_line(prefix)):
                    self._lines.append(f"it printed {line!r}")
                while (message := read_report(reports, self._note_life)) is not None:
                    self.last_report = math.inf  # it is not silent while its report is handled
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
        """Write commands, and a sign of life if there is none for a while."""
        with suppress(OSError), cast("IO[bytes]", self._process.stdin) as pipe:  # an error means that it has ended
            while True:
                try:
                    write = self._commands.get(timeout=HEARTBEAT_INTERVAL_S)
                except Empty:
                    write = partial(write_command, kind="alive")
                if write is None:
                    return
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
