"""Part `faults` of cluster.py: what a search loses if one of its machines is switched off, or cut off silently.

An epoch waits half a second, so that several machines on few cores do not slow one another down: what is measured is
the time until the loss is noticed, and until the items are trained elsewhere.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from cluster_machines import MachineCluster, machine_cluster
from cluster_scorer import EPOCH_S, EpochLine, SlowScorer, read_epochs
from cluster_search import KeptOpen, make_search

from rosenblatt.tuning.attempts import Attempt
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.ray_workers import Crash, RayWorkers
from rosenblatt.tuning.trial import Trial

TRIALS_PER_MACHINE = 6
EPOCHS, FOLDS, ROWS = 6, 2, 1_000
FAULTS = ("power_off", "cut")


class Run(NamedTuple):
    """A search: its duration and what machines have trained, with times since its start."""

    search: SearchCoordinator
    seconds: float
    epochs: list[EpochLine]
    fault_at: float
    noticed_at: float
    moved: list[tuple[int, int]]  # items, named as in `epochs`


def run_search(cluster: MachineCluster, trials: int, fault: Callable[[], None] | None, delay_s: float) -> Run:
    """Search with workers that stay open, with a fault after some seconds."""
    fault_at, moved_at, moved = list[float](), list[float](), list[Attempt]()

    def strike() -> None:
        fault_at.append(time.time() - started)
        fault()

    def move(self: RayWorkers, attempt: Attempt, loss: Crash, **options: bool) -> bool:
        moved_at.append(time.time() - started)
        moved.append(attempt)
        return move_item(self, attempt, loss, **options)

    move_item, folders = RayWorkers._move, tempfile.TemporaryDirectory(dir="/var/tmp")  # machines have a /tmp each
    with folders as name, patch.object(RayWorkers, "_move", move):
        folder = Path(name)
        options = {"epochs": EPOCHS, "folds": FOLDS, "sampler": "random", "scoring": "accuracy"}
        search = make_search(trials, lambda _: KeptOpen(cluster.workers), ROWS, **options)

        def make_scorer(trial: Trial) -> SlowScorer:
            return SlowScorer(trial.number, folder)

        search.epoch_scorer = make_scorer
        timer = threading.Timer(delay_s, strike)
        started = time.time()
        if fault:
            timer.start()
        search.run()
        seconds = time.time() - started
        epochs = [line._replace(time=line.time - started) for line in read_epochs(folder)]
    assert all(trial.state == "finished" for trial in search.history.trials)
    assert len(search.history.trials) == trials
    items = [(attempt.trial, int(search.plan.folds[attempt.fold].validation.min())) for attempt in moved]
    return Run(search, seconds, epochs, *(times[0] if times else 0.0 for times in (fault_at, moved_at)), items)


def measure_fault(fault: str, n_machines: int, phase: float) -> dict[str, float]:
    """A search without the fault, then one with it; `phase` is when it happens, as a fraction of an item."""
    trials = TRIALS_PER_MACHINE * n_machines
    with machine_cluster(n_machines) as cluster:
        lost = cluster.machines[-1]
        run_search(cluster, n_machines, None, 0.0)  # compiles
        undisturbed = run_search(cluster, trials, None, 0.0)
        delay_s = undisturbed.seconds / 3 + phase * EPOCHS * EPOCH_S
        run = run_search(cluster, trials, getattr(lost, fault), delay_s)
        lost.mend()
    counted = sum(len(m.history) for trial in run.search.history.trials for m in trial.folds.members if m)
    before = [line for line in run.epochs if line.machine != lost.name or line.time <= run.fault_at]
    # From the fault on, one machine less does the rest of the work
    ideal = run.fault_at + (undisturbed.seconds - run.fault_at) * n_machines / (n_machines - 1)
    return {
        "noticed and moved after s": run.noticed_at - run.fault_at,
        "runs elsewhere after s": _restart(run, lost.name) - run.fault_at,
        "undisturbed s": undisturbed.seconds,
        "with the fault s": run.seconds,
        "later than with one machine less s": run.seconds - ideal,
        "epochs trained twice": len(before) - counted,
        "epochs of a rung": EPOCHS,
        "fault at s": run.fault_at,
    }


def _restart(run: Run, lost: str) -> float:
    """When the last of the moved items began elsewhere."""
    elsewhere = [line for line in run.epochs if line.machine != lost]
    return max(min(line.time for line in elsewhere if line.item == item) for item in run.moved) - EPOCH_S


def measure_faults(n_machines: int, repeats: int) -> list[dict[str, Any]]:
    """Medians over repeats, at different moments of an item, for each fault."""
    rows = list[dict[str, Any]]()
    for fault in FAULTS:
        runs = [measure_fault(fault, n_machines, (i + 0.5) / repeats) for i in range(repeats)]
        row = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        largest = {f"{name}, largest": max(run[name] for run in runs) for name in list(runs[0])[:2]}
        rows.append({"fault": fault, "machines": n_machines} | row | largest)
    return rows
