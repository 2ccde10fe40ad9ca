"""Contract of the workers of a search: threads of this machine, the lanes of a GPU, or the machines of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rosenblatt.tuning.work_queue import WorkItem


class Workers(Protocol):
    """Train the work items of a search; the coordinator decides what is trained and owns all results.

    `submit` adds an item, and `get` returns a `WorkResult` when its fold has reached its epochs. By then the trial of
    the item has the trained member and, after the last rung, its out-of-fold predictions. Each item has one result,
    also if it was trained twice because a machine was lost. Items may end in any order.
    """

    stop: np.ndarray  # (1,) set once the workers are closed

    @property
    def threads(self) -> int:
        """Number of items that are trained at a time; it changes when machines join or are lost."""

    @property
    def latency_s(self) -> float:
        """Seconds from the end of a work item until a worker without waiting items has the next one."""

    def submit(self, work: WorkItem) -> None:
        """Add a work item."""

    def get(self, timeout: float) -> Any:
        """Return the next result. Raises Empty after `timeout` seconds, and any exception of a worker."""

    def put(self, message: Any) -> None:
        """Add a result."""

    def drain(self) -> list[Any]:
        """Return all results that are waiting; None for items that were skipped."""

    def close(self) -> None:
        """Stop all work within a batch, keep what was trained, skip what has not begun, and end all workers."""


@dataclass(frozen=True)
class NodeStatus:
    """A machine of a cluster, as a search sees it."""

    name: str
    threads: int  # items that it trains at a time
    running: int = 0  # items that it has
    trials: tuple[int, ...] = ()  # of these items, the first few
    is_lost: bool = False


def list_nodes(workers: Workers) -> Sequence[NodeStatus]:
    """The machines of workers on a cluster; none for workers of this machine."""
    return getattr(workers, "nodes", ())


MakeWorkers = Callable[[int | None], Workers]
"""Starts workers; called with the number of threads that the user wants on this machine, None for one per core."""
