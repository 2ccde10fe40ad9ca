"""Refit the best trials of a search that held out rows, on all rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from queue import Empty

import numpy as np

from rosenblatt.data.splits import Fold
from rosenblatt.models.metadata import EnsembleMember, RefitSummary
from rosenblatt.training.workers import POLL_INTERVAL_S
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.progress import SearchProgress
from rosenblatt.tuning.selection import SearchResult
from rosenblatt.tuning.time_budget import runs_all_epochs
from rosenblatt.tuning.trial import Trial
from rosenblatt.tuning.work_queue import WorkItem, WorkResult
from rosenblatt.tuning.workers import Workers

OPEN_ENDED_SCHEDULES = ("constant", "plateau")  # learning rate schedules that do not decay to zero at the last epoch


def refit(
    search: SearchCoordinator, result: SearchResult, on_progress: Callable[[SearchProgress], None] | None = None
) -> SearchResult:
    """Train the trials of the model on all rows, with more networks for trials of larger weight.

    Networks are trained for all epochs, or for the best number of epochs of the search if the trial stops early. Their
    number is that of a fit without search, or as many as the deadline allows. If none is finished before the deadline
    or Ctrl-C, the result of the search is returned unchanged.
    """
    started, trials = time.monotonic(), _new_trials(search, result)
    for trial in trials:
        trial.rows = search.prepared.rows(trial.proposal.resolved_spec)
    interrupted = _train(search, trials, on_progress)
    for trial in trials:
        epochs = _epochs(search.history.trials[trial.number])
        trial.folds.members = [
            member if member and (member.finished or len(member.history) >= epochs) and not member.failure else None
            for member in trial.folds.members
        ]
    n_networks = sum(trial.folds.n_trained for trial in trials)
    if not n_networks:
        return replace(result, model=result.model.with_metadata(interrupted=interrupted))
    refitted = [trial.to_trained_trial(trial.folds.n_trained / n_networks) for trial in trials if trial.folds.n_trained]
    refitted.sort(key=lambda trained_trial: (-trained_trial.weight, trained_trial.number))
    rows, seconds = len(search.prepared.data.y), time.monotonic() - started
    return replace(
        result,
        model=replace(result.model, trials=tuple(refitted)).with_metadata(members=n_networks, interrupted=interrupted),
        metadata=result.metadata.with_fields(
            ensemble=tuple(EnsembleMember(trial=trained.number, weight=trained.weight) for trained in refitted),
            refit=RefitSummary(networks=n_networks, rows=rows, seconds=round(seconds, 2)),
        ),
    )


def _new_trials(search: SearchCoordinator, result: SearchResult) -> list[Trial]:
    """Untrained copies of the trials of the model, slowest first, each with the members allocated to it."""
    search_trials = [search.history.trials[trained.number] for trained in result.model.trials]
    weights, rows = [trained.weight for trained in result.model.trials], len(search.prepared.data.y)
    costs = [trial.estimate_seconds(rows, _epochs(trial)) for trial in search_trials]
    if search.time_budget.deadline is None:
        n_networks = int(search.plan.resolved_base["members"])
    else:
        n_networks = search.time_budget.max_refit_networks(
            lambda n: np.repeat(costs, allocate_networks(weights, n)).tolist()
        )
    allocations = zip(costs, search_trials, allocate_networks(weights, n_networks), strict=True)
    return [
        Trial.new(trial.number, trial.proposal, n_members)
        for _, trial, n_members in sorted(allocations, key=lambda allocation: -allocation[0])
        if n_members
    ]


def _epochs(trial: Trial) -> int:
    """Epochs to train without validation rows."""
    resolved_spec = trial.proposal.resolved_spec
    if runs_all_epochs(trial) and resolved_spec.training.schedule not in OPEN_ENDED_SCHEDULES:
        return int(resolved_spec["epochs"])
    return int(np.mean([member.best_epoch for member in trial.folds.members if member is not None]))


def _train(
    search: SearchCoordinator, trials: list[Trial], on_progress: Callable[[SearchProgress], None] | None
) -> bool:
    """Train all members until they are done, the deadline passes, or Ctrl-C; whether it was interrupted."""
    all_rows = Fold(np.arange(len(search.prepared.data.y)), np.arange(0))
    items = [
        WorkItem(trial, index, all_rows, _epochs(search.history.trials[trial.number]), None, is_last_rung=False)
        for trial in trials
        for index in range(len(trial.folds.members))
    ]
    workers: Workers | None = None
    deadline, started, n_done = search.time_budget.deadline, time.monotonic(), 0
    try:
        workers = search.start_workers()
        for item in items:
            workers.submit(item)
        while n_done < len(items) and (deadline is None or time.monotonic() < deadline):
            with suppress(Empty):
                n_done += isinstance(workers.get(POLL_INTERVAL_S), WorkResult)
            if on_progress:
                seconds = search.history.wall_seconds + time.monotonic() - started
                on_progress(search.progress(seconds, workers, (n_done, len(items))))
    except KeyboardInterrupt:
        return True
    finally:
        if workers:
            workers.close()
    return False


def allocate_networks(weights: list[float], n_networks: int) -> list[int]:
    """Number of networks of each trial, in proportion to the weights (largest remainder method)."""
    exact = n_networks * np.array(weights) / np.sum(weights)
    counts = exact.astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: n_networks - int(counts.sum())]:
        counts[index] += 1
    return [int(count) for count in counts]
