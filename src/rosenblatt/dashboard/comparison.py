"""Comparison of several runs: what differs between their inputs, their sources, and which hyperparameters matter."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, Field

from rosenblatt.dashboard.details import check_run
from rosenblatt.dashboard.endpoints import ApiRequest
from rosenblatt.errors import RunError
from rosenblatt.runs.compare import list_inputs, source_difference
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.queries import load_params, load_summaries, run_details
from rosenblatt.runs.store.records import metric_direction
from rosenblatt.runs.store.store import Store

MAX_RUNS, MAX_IMPORTANCE_RUNS = 20, 500
MAX_DIFFERENCE_CHARACTERS = 500_000


class DifferencesRequest(ApiRequest):
    """Runs to compare."""

    runs: list[str] = Field(min_length=1, max_length=MAX_RUNS)


class Differences(BaseModel):
    """What differs: by section and name, the values as text, in the order of the runs; null: a run has none."""

    runs: list[str]
    names: list[str]
    sections: dict[str, dict[str, list[str | None]]]


class SourceQuery(ApiRequest):
    """Two runs."""

    first: str
    second: str


class SourceDifference(BaseModel):
    """The difference of two sources, as `diff -u` prints it; empty if they are the same."""

    text: str
    is_cut: bool


class ImportanceRequest(ApiRequest):
    """Runs, and the metric that tells good ones from others."""

    runs: list[str] = Field(min_length=1, max_length=MAX_IMPORTANCE_RUNS)
    metric: str


class Importance(BaseModel):
    """Importance of each hyperparameter that differs, most important first (PED-ANOVA: Watanabe et al. 2023)."""

    runs: int = Field(description="Number of runs that have a finite best value of the metric.")
    direction: str = Field(description="Which values are better: min or max.")
    fractions: dict[str, float] = Field(description="They add up to 1; empty if there are too few runs.")
    needed: int = Field(description="Number of runs from which on it is computed.")


def load_differences(store: Store, request: DifferencesRequest) -> Differences:
    """Compare hyperparameters, data and environment of some runs. Raises RunError if one does not exist."""
    for run in request.runs:
        check_run(store, run)
    details = [run_details(store, run) for run in request.runs]
    inputs = [list_inputs(run) for run in details]
    sections = dict[str, dict[str, list[str | None]]]()
    for section in inputs[0]:
        names = sorted({name for run in inputs for name in run[section]})
        rows = {name: [run[section].get(name) for run in inputs] for name in names}
        sections[section] = {
            name: [None if value is None else str(value) for value in values]
            for name, values in rows.items() if any(value != values[0] for value in values)
        }  # fmt: skip
    return Differences(runs=request.runs, names=[run.name for run in details], sections=sections)


def load_source_difference(store: Store, query: SourceQuery) -> SourceDifference:
    """Compare the sources of two runs. Raises RunError if one does not exist or has no source."""
    sources = []
    for run in (query.first, query.second):
        check_run(store, run)
        source = run_details(store, run).source
        if source is None:
            raise RunError(f"Run {run} has no source of its own. Trials have that of their search.")
        sources.append(source)
    text = source_difference(Artifacts(store.url, store), sources[0], sources[1])
    return SourceDifference(text=text[:MAX_DIFFERENCE_CHARACTERS], is_cut=len(text) > MAX_DIFFERENCE_CHARACTERS)


def load_importance(store: Store, request: ImportanceRequest) -> Importance:
    """Compute which hyperparameters distinguish the best runs from others."""
    from rosenblatt.tuning.importance import rank_hyperparameters  # loads Optuna
    from rosenblatt.tuning.samplers import MIN_IMPORTANCE_TRIALS

    params, summaries = load_params(store, request.runs), load_summaries(store, request.runs)
    scored = list[tuple[dict[str, str], float]]()
    for run in request.runs:
        summary: Any = summaries[run].get(request.metric)
        if summary and summary.best is not None and math.isfinite(summary.best):
            scored.append((params[run], summary.best))
    direction = metric_direction(request.metric)
    fractions = rank_hyperparameters(scored, minimize=direction == "min")
    return Importance(runs=len(scored), direction=direction, fractions=fractions, needed=MIN_IMPORTANCE_TRIALS)
