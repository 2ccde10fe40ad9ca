"""In: a search that held out rows, and what came of it. Out: the same, with its best trials trained on all rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from queue import Empty

import numpy as np

from rosenblatt.data.splits import Fold
from rosenblatt.tuning.coordinator import Progress, Search
from rosenblatt.tuning.selection import Outcome
from rosenblatt.tuning.time_budget import is_steady
from rosenblatt.tuning.trials import Done, Trial, Unit

WITHOUT_END = ("constant", "plateau")  # schedules after which nothing says that learning is over


def refit(search: Search, found: Outcome, watch: Callable[[Progress], None] | None = None) -> Outcome:
    """Train the trials of the model again, more networks of those that weigh more, on all rows: for all epochs, or as
    many as were best where a trial stopped when it got no better.

    There are as many networks as the time allows; without a deadline as a fit has. Where it allows none, or Ctrl-C
    comes before one has learnt all its epochs, what came of the search stays as it is.
    """
    started, trials = time.monotonic(), _new_trials(search, found)
    for trial in trials:
        trial.rows = search.prepared.rows(trial.chosen)
    _train(search, trials, watch)
    for trial in trials:
        until = _epochs(search.trials[trial.number])
        trial.members = [one if one and len(one.history) >= until and not one.failure else None
                         for one in trial.members]  # fmt: skip
    many = sum(trial.trained for trial in trials)
    parts = [trial.network(trial.trained / many) for trial in trials if trial.trained]
    parts.sort(key=lambda part: (-part.weight, part.number))
    told: dict[str, object] = {"interrupted": search.interrupted}
    if not parts:
        return replace(found, model=found.model.with_facts(**told))
    rows, seconds = len(search.prepared.data.y), time.monotonic() - started
    facts = found.facts | {
        "ensemble": [{"trial": part.number, "weight": part.weight} for part in parts],
        "refit": {"networks": many, "rows": rows, "seconds": round(seconds, 2)},
    }
    return replace(found, model=replace(found.model, trials=tuple(parts)).with_facts(members=many, **told), facts=facts)


def _new_trials(search: Search, found: Outcome) -> list[Trial]:
    """The trials of the model as they are before they learn, with as many members as each is to have."""
    old = [search.trials[part.number] for part in found.model.trials]
    weights, rows = [part.weight for part in found.model.trials], len(search.prepared.data.y)
    each = [trial.cost(rows, _epochs(trial)) for trial in old]
    if search.clock.deadline is None:
        many = int(search.prepared.resolved(search.space.base)["members"])
    else:
        many = search.clock.many(lambda many: np.repeat(each, shares(weights, many)).tolist())
    given = sorted(zip(each, old, shares(weights, many), strict=True), key=lambda one: -one[0])  # the longest first
    return [
        Trial(trial.number, trial.values, trial.chosen, trial.encoder, trial.target, [None] * members)
        for _, trial, members in given
        if members
    ]


def _epochs(trial: Trial) -> int:
    """Epochs for which a trial's hyperparameters are trained where no rows are left to choose the best one on."""
    if is_steady(trial) and trial.chosen.training.schedule not in WITHOUT_END:
        return int(trial.chosen["epochs"])
    return int(np.mean([member.best_epoch for member in trial.members if member is not None]))


def _train(search: Search, trials: list[Trial], watch: Callable[[Progress], None] | None) -> None:
    """Train all members until they are done, the deadline passes, or Ctrl-C."""
    whole = Fold(np.arange(len(search.prepared.data.y)), np.arange(0))
    units = [
        Unit(trial, index, whole, _epochs(search.trials[trial.number]), None, last=False)
        for trial in trials
        for index in range(len(trial.members))
    ]
    crew, done, deadline, started = search.new_crew(), 0, search.clock.deadline, time.monotonic()
    try:
        for unit in units:
            crew.give(unit)
        while done < len(units) and (deadline is None or time.monotonic() < deadline):
            with suppress(Empty):
                done += isinstance(crew.listen(), Done)
            if watch:
                watch(search.progress(search.wall + time.monotonic() - started, (done, len(units))))
    except KeyboardInterrupt:
        search.interrupted = True
    finally:
        crew.close()


def shares(weights: list[float], many: int) -> list[int]:
    """How many of so many networks each trial gets by its weight (by largest remainders)."""
    exact = many * np.array(weights) / np.sum(weights)
    counts = exact.astype(int)
    for place in np.argsort(counts - exact, kind="stable")[: many - int(counts.sum())]:
        counts[place] += 1
    return [int(count) for count in counts]
