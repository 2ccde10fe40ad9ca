"""Part `sizes` of cluster.py: bytes of the messages of a search, which this machine trains on one thread."""

from __future__ import annotations

from typing import Any

import polars as pl
from cluster_bytes import SETTINGS, CountedWorkers
from cluster_objectives import make_rows
from cluster_search import make_search

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.spec import Spec
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.packing import Attempt, pack_results
from rosenblatt.tuning.work_queue import WorkItem
from rosenblatt.tuning.workers import MakeWorkers

SMALL_ROWS, SMALL_COLUMNS = 400, 2
LARGE_ROWS, LARGE_TRIALS = 250_000, 4


class SizedWorkers(CountedWorkers):
    """A thread, the items and results of which are also packed."""

    def __init__(self) -> None:
        super().__init__(WorkerPool(1))
        self._items: dict[tuple[int, int], tuple[int, WorkItem]] = {}
        self.n_results = self.result_bytes = 0

    def submit(self, work: WorkItem) -> None:
        member = work.trial.folds.members[work.index]
        self._items[work.key] = len(member.history) if member else 0, work
        super().submit(work)

    def get(self, timeout: float) -> Any:
        result = self._workers.get(timeout)
        if result is not None:
            first_epoch, item = self._items.pop((result.trial, result.fold))
            self.result_bytes += len(pack_results([(Attempt(*item.key, 1), first_epoch, item, result)]))
            self.n_results += 1
        return result


def _make_small(trials: int, make_workers: MakeWorkers) -> SearchCoordinator:
    """A search of the default space on a small table."""
    x, y = make_rows(SMALL_ROWS)
    frame = pl.DataFrame({f"x{k}": x[:, k] for k in range(SMALL_COLUMNS)})
    target = Target(names=("y",), task="binary", labels=("no", "yes"))
    spec = Spec.from_hyperparameters(trials=trials, deterministic=True)
    prepared = PreparedData(Dataset(frame, y), lambda spec: target.with_loss(spec, y))
    return SearchCoordinator(spec, prepared, make_workers=make_workers)


def measure_sizes(trials: int) -> list[dict[str, Any]]:
    """Sizes for a small table with the default space, and for a large one with small networks."""
    figures = list[dict[str, Any]]()
    for rows in (SMALL_ROWS, LARGE_ROWS):
        workers = SizedWorkers()
        search = (
            _make_small(trials, lambda _, w=workers: w)
            if rows == SMALL_ROWS
            else make_search(LARGE_TRIALS, lambda _, w=workers: w, rows, **SETTINGS)
        )
        search.run()
        workers._workers.close()
        n = workers.n_results
        figures.append({
            "rows": rows,
            "trials": len(search.history.trials),
            "results": n,
            "MB shared": workers.shared_bytes / 1e6,
            "MB of an item": workers.item_bytes / 1e6 / n,
            "MB of a result": workers.result_bytes / 1e6 / n,
        })  # fmt: skip
    return figures
