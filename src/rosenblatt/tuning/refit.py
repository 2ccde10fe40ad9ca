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
from rosenblatt.tuning.coordinator import SearchCoordinator, SearchProgress
from rosenblatt.tuning.selection import SearchResult
from rosenblatt.tuning.time_budget import runs_all_epochs
from rosenblatt.tuning.trials import Trial, WorkItem, WorkResult

OPEN_ENDED_SCHEDULES = ("constant", "plateau")  # schedules after which nothing says that learning is over


def refit(
    search: SearchCoordinator, result: SearchResult, watch: Callable[[SearchProgress], None] | None = None
) -> SearchResult:
    """Train the trials of the model again, more networks of those that weigh more, on all rows: for all epochs, or as
    many as were best where a trial stopped when it got no better.

    There are as many networks as the time allows; without a deadline as a fit has. Where it allows none, or Ctrl-C
    comes before one has learnt all its epochs, what came of the search stays as it is.
    """
    started, trials = time.monotonic(), _new_trials(search, result)
    for trial in trials:
        trial.rows = search.prepared.rows(trial.resolved_spec)
    _train(search, trials, watch)
    for trial in trials:
        target_epochs = _epochs(search.trials[trial.number])
        trial.members = [member if member and len(member.history) >= target_epochs and not member.failure else None
                         for member in trial.members]  # fmt: skip
    n_networks = sum(trial.n_trained for trial in trials)
    trained_trials = [trial.to_trained_trial(trial.n_trained / n_networks) for trial in trials if trial.n_trained]
    trained_trials.sort(key=lambda trained_trial: (-trained_trial.weight, trained_trial.number))
    if not trained_trials:
        return replace(result, model=result.model.with_metadata(interrupted=search.interrupted))
    rows, seconds = len(search.prepared.data.y), time.monotonic() - started
    metadata = result.metadata.with_fields(
        ensemble=tuple(EnsembleMember(trial=trial.number, weight=trial.weight) for trial in trained_trials),
        refit=RefitSummary(networks=n_networks, rows=rows, seconds=round(seconds, 2)),
    )
    return replace(
        result,
        model=replace(result.model, trials=tuple(trained_trials)).with_metadata(
            members=n_networks, interrupted=search.interrupted
        ),
        metadata=metadata,
    )


def _new_trials(search: SearchCoordinator, result: SearchResult) -> list[Trial]:
    """The trials of the model as they are before they learn, with as many members as each is to have."""
    search_trials = [search.trials[trained_trial.number] for trained_trial in result.model.trials]
    weights, rows = [trained_trial.weight for trained_trial in result.model.trials], len(search.prepared.data.y)
    costs = [trial.cost(rows, _epochs(trial)) for trial in search_trials]
    if search.time_budget.deadline is None:
        n_networks = int(search.prepared.resolve(search.space.base)["members"])
    else:
        n_networks = search.time_budget.max_refit_networks(
            lambda n: np.repeat(costs, allocate_networks(weights, n)).tolist()
        )
    allocations = sorted(
        zip(costs, search_trials, allocate_networks(weights, n_networks), strict=True),
        key=lambda allocation: -allocation[0],
    )  # the longest first
    return [
        Trial(trial.number, trial.params, trial.resolved_spec, trial.encoder, trial.target, [None] * members)
        for _, trial, members in allocations
        if members
    ]


def _epochs(trial: Trial) -> int:
    """Epochs for which a trial's hyperparameters are trained where no rows are left to choose the best one on."""
    if runs_all_epochs(trial) and trial.resolved_spec.training.schedule not in OPEN_ENDED_SCHEDULES:
        return int(trial.resolved_spec["epochs"])
    return int(np.mean([member.best_epoch for member in trial.members if member is not None]))


def _train(search: SearchCoordinator, trials: list[Trial], watch: Callable[[SearchProgress], None] | None) -> None:
    """Train all members until they are done, the deadline passes, or Ctrl-C."""
    all_rows = Fold(np.arange(len(search.prepared.data.y)), np.arange(0))
    items = [
        WorkItem(trial, index, all_rows, _epochs(search.trials[trial.number]), None, is_last_rung=False)
        for trial in trials
        for index in range(len(trial.members))
    ]
    pool, n_done, deadline, started = search.start_workers(), 0, search.time_budget.deadline, time.monotonic()
    try:
        for item in items:
            pool.submit(item)
        while n_done < len(items) and (deadline is None or time.monotonic() < deadline):
            with suppress(Empty):
                n_done += isinstance(pool.get(), WorkResult)
            if watch:
                watch(search.progress(search.wall_seconds + time.monotonic() - started, (n_done, len(items))))
    except KeyboardInterrupt:
        search.interrupted = True
    finally:
        pool.close()


def allocate_networks(weights: list[float], n_networks: int) -> list[int]:
    """How many of so many networks each trial gets by its weight (by largest remainders)."""
    exact = n_networks * np.array(weights) / np.sum(weights)
    counts = exact.astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: n_networks - int(counts.sum())]:
        counts[index] += 1
    return [int(count) for count in counts]
