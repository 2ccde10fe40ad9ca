"""A search as its page shows it: its trials by time, rung and hyperparameter, and what is left of it."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import Row, and_, select

from rosenblatt.dashboard.details import RunQuery, check_run
from rosenblatt.errors import RunError
from rosenblatt.runs.store.details import RunDetails
from rosenblatt.runs.store.queries import run_details
from rosenblatt.runs.store.schema import metrics, params, run_metadata, runs
from rosenblatt.runs.store.store import Store
from rosenblatt.spec.scoring import Direction, scoring_direction

MAX_TRIALS = 20_000  # of an answer, the newest ones
MAX_VALUES = 60  # hyperparameters of an answer


class Member(BaseModel):
    """A trial in the ensemble, and its weight."""

    trial: int
    weight: float


class SearchAnswer(BaseModel):
    """A search. Columns have a value for each trial, in the order of their numbers."""

    id: str
    name: str
    state: str
    started: float
    duration: float
    scoring: str
    is_maximized: bool
    planned_trials: int | None = Field(description="null: as many as the time allows.")
    minutes: float | None = Field(description="The limit of its time; null: none.")
    total: int = Field(description="Number of trials; those after the newest 20,000 are not in the columns.")
    numbers: list[int]
    ids: list[str]
    states: list[str]
    reasons: list[str]
    starts: list[float]
    ends: list[float | None]
    scores: list[list[float | None]] = Field(description="After each rung that the trial has reached.")
    epochs: list[int | None]
    seconds: list[float | None] = Field(description="Of training, on one core.")
    params: dict[str, list[float | str | None]] = Field(description="Hyperparameters that the search chooses.")
    hidden_params: int = Field(description="Number of others that differ.")
    rungs: list[str] = Field(description="Fraction of a full training at each rung; empty as long as it runs.")
    ensemble: list[Member]
    importance: dict[str, float]


def load_search(store: Store, query: RunQuery) -> SearchAnswer:
    """Load a search. Raises RunError if there is no run of this id, or it is none."""
    check_run(store, query.run)
    details = run_details(store, query.run)
    if details.kind != "search":
        raise RunError(f"Run {query.run} is no search, but of kind {details.kind}.")
    metric, outcome = details.metric, (details.model_extra or {}).get("search") or {}
    scoring = metric or ((details.request or {}).get("spec") or {}).get("training", {}).get("scoring", "loss")
    is_maximized = _is_maximized(details, scoring)
    rows = _load_trials(store, query.run)
    shown = rows[-MAX_TRIALS:]
    records = _load_records(store, query.run)
    scores = [records.get(row.id, {}).get("scores") or [] for row in shown]
    if metric:
        scores = _metric_scores(store, query.run, metric, is_maximized, [row.id for row in shown])
    values, n_hidden = _load_params(store, query.run, [row.id for row in shown])
    return SearchAnswer(
        id=details.id, name=details.name, state=details.state, started=details.started, duration=details.duration,
        scoring=scoring, is_maximized=is_maximized, total=len(rows), **_plan(details),
        numbers=[row.number for row in shown], ids=[row.id for row in shown], states=[row.state for row in shown],
        reasons=[row.reason or "" for row in shown], starts=[row.started for row in shown],
        ends=[row.ended for row in shown], scores=scores,
        epochs=[records.get(row.id, {}).get("epochs") for row in shown],
        seconds=[records.get(row.id, {}).get("seconds") for row in shown],
        params=values, hidden_params=n_hidden,
        rungs=[f"{rung['fraction']:.3g}" for rung in outcome.get("rungs", ())],
        ensemble=[Member(**member) for member in outcome.get("ensemble", ())],
        importance=outcome.get("importance", {}),
    )  # fmt: skip


def _is_maximized(details: RunDetails, scoring: str) -> bool:
    """Whether higher scores are better, as the search of a function says itself, and the scoring of others."""
    return Direction(details.direction or scoring_direction(scoring)) is Direction.MAXIMIZE


def _plan(details: RunDetails) -> dict[str, Any]:
    """The budget of a search."""
    search = ((details.request or {}).get("spec") or {}).get("search", {})
    return {"planned_trials": search.get("trials"), "minutes": search.get("minutes")}


def _is_trial(search: str) -> Any:
    return and_(runs.c.parent == search, runs.c.kind == "trial")


def _load_trials(store: Store, search: str) -> list[Row[Any]]:
    columns = [runs.c[name] for name in ("id", "number", "state", "reason", "started", "ended")]
    with store.reading() as connection:
        return list(connection.execute(select(*columns).where(_is_trial(search)).order_by(runs.c.number)))


def _load_records(store: Store, search: str) -> dict[str, dict[str, Any]]:
    """What each trial recorded of its scores, by id."""
    query = select(run_metadata.c.run, run_metadata.c.value).join(runs, runs.c.id == run_metadata.c.run)
    with store.reading() as connection:
        rows = connection.execute(query.where(_is_trial(search), run_metadata.c.name == "trial"))
        return {run: json.loads(value) for run, value in rows}


def _metric_scores(
    store: Store, search: str, metric: str, is_maximized: bool, ids: list[str]
) -> list[list[float | None]]:
    """The best value of the metric of each trial of a training function."""
    best = metrics.c.max if is_maximized else metrics.c.min
    query = select(metrics.c.run, best).join(runs, runs.c.id == metrics.c.run)
    with store.reading() as connection:
        rows = connection.execute(query.where(_is_trial(search), metrics.c.name == metric))
        values: dict[str, float | None] = {run: value for run, value in rows}  # noqa: C416 - rows are no pairs for mypy
    return [[values[run]] if run in values else [] for run in ids]


def _load_params(store: Store, search: str, ids: list[str]) -> tuple[dict[str, list[float | str | None]], int]:
    """The hyperparameters that were chosen and differ, by name, and the number of those left out."""
    columns = params.c.run, params.c.name, params.c.value, params.c.numeric_value
    query = select(*columns).join(runs, runs.c.id == params.c.run).where(_is_trial(search), params.c.explicit)
    values: dict[str, dict[str, float | str]] = {}
    with store.reading() as connection:
        for run, name, value, number in connection.execute(query):
            values.setdefault(name, {})[run] = value if number is None else number
    differing = [name for name, by_run in sorted(values.items()) if len(set(by_run.values())) > 1]
    columns_shown = differing[:MAX_VALUES]
    return {name: [values[name].get(run) for run in ids] for name in columns_shown}, len(differing[MAX_VALUES:])
