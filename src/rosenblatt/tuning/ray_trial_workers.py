"""Workers of a search over a training function, on the machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rosenblatt.errors import Notify, format_count
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.attempts import Attempt
from rosenblatt.tuning.ray_connection import RayConnection
from rosenblatt.tuning.ray_workers import Crash, RayWorkers
from rosenblatt.tuning.trial_messages import (
    FunctionBundle,
    FunctionPacker,
    ReceivedReport,
    TrialItem,
    TrialRestart,
    unpack_report,
)


class RayTrialWorkers(RayWorkers):
    """Train trials of a function in processes on the machines of a cluster.

    `submit` adds a `TrialItem`. `get` returns its reports; the last one has an end. A `TrialRestart` says that the
    trial is trained again, a `TrialFailure` that this is impossible, and a `LocalTurn` that the cluster is lost and
    the search must train the trial itself.

    Args:
        connection: starts the driver that joins the cluster.
        notify: called with a message when machines are lost or join.
        bundle: the function, with what it needs.
        cores_per_trial: cores of each process.
        gpus_per_trial: GPUs of each process.

    Raises:
        ClusterError: if the cluster cannot be used.
    """

    thread_noun, item_noun = ("process", "processes"), "trial"

    def __init__(
        self,
        connection: RayConnection,
        notify: Notify,
        bundle: FunctionBundle,
        cores_per_trial: int = 1,
        gpus_per_trial: int = 0,
    ) -> None:
        self._bundle = bundle
        self._work = {"cores_per_trial": cores_per_trial, "gpus_per_trial": gpus_per_trial}
        self._begun = set[tuple[int, int]]()
        super().__init__(connection, notify, lambda: WorkerPool(1))

    def stop_trial(self, item: TrialItem, reason: str) -> None:
        """Ask a trial to stop; to be repeated until its end, as it may be on its way to a machine."""
        with self._lock:
            in_flight = self._in_flight.get(item.key)
            if in_flight is not None and not self._local:
                self._driver.send("stop", attempt=in_flight.attempt, reason=reason)

    def _describe_work(self) -> Mapping[str, Any]:
        return self._work

    def _make_packer(self) -> FunctionPacker:
        return FunctionPacker(self._bundle)

    def _start(
        self, key: tuple[int, int], item: TrialItem, crashes: tuple[Crash, ...] = (), *, is_moved: bool = False
    ) -> bool:
        """Start an attempt; a trial that has ended its process is not trained by the process of the search."""
        if key in self._begun:
            self.put(TrialRestart(item))
        self._begun.add(key)
        if self._local and crashes:
            self.put(item.failure(f"its process ended ({crashes[-1].reason}), and then the cluster was lost"))
            return False
        return super()._start(key, item, crashes, is_moved=is_moved)

    def _on_results(self, header: dict[str, Any], content: bytes) -> None:
        """Pass a report on, unless it is of an attempt that was replaced."""
        report, contents = unpack_report(content)
        attempt = Attempt(*report.attempt)
        key = attempt.trial, attempt.fold
        with self._lock:
            in_flight = self._in_flight.get(key)
            if in_flight is None or in_flight.attempt != attempt:
                return
            if report.end is not None:
                del self._in_flight[key]
                self._n_losses = 0
            self.put(ReceivedReport(in_flight.item, str(header["node"]), report, contents))

    def _on_lost(self, header: dict[str, Any]) -> None:
        """Move the trials of a lost machine, or of one of its processes."""
        if not header["is_restarted"] and not header["is_crash"]:
            super()._on_lost(header)
            return
        crash = Crash(str(header["node"]), str(header["reason"]))
        with self._lock:
            n_moved = sum(self._move(Attempt(*attempt), crash) for attempt in header["attempts"])
        end = "starts again" if header["is_restarted"] else "is not started again"
        moved = format_count(n_moved, self.item_noun)
        self._notices.put(f"{crash.node}: a process has ended ({crash.reason}) and {end}; {moved} moved")
