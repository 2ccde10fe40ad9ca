"""How far runs are that still run, and how long they may take, from what they log and what was asked of them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import Connection, func, select

from rosenblatt.runs.store.filters import state_column
from rosenblatt.runs.store.records import SYSTEM_METRICS
from rosenblatt.runs.store.schema import metrics, params, run_metadata, runs

EPOCH_METRIC = "epoch"
EPOCH_PARAMS = ("epochs", "max_epochs", "n_epochs", "num_epochs", "num_train_epochs")
STEP_PARAMS = ("steps", "max_steps", "n_steps", "num_steps", "total_steps")


class Progress(BaseModel):
    """Progress of a running run."""

    fraction: float = Field(description="From 0 to 1.")
    seconds_left: float | None = Field(description="null: not known yet.")
    is_limit: bool = Field(description="Whether it may end earlier, as by early stopping.")


def load_progress(connection: Connection, ids: Sequence[str]) -> dict[str, Progress]:
    """Load the progress of the running ones of some runs; of some nothing is known."""
    query = select(runs.c.id, runs.c.kind, runs.c.started).where(runs.c.id.in_(ids), state_column() == "running")
    rows = connection.execute(query).all()
    progress = dict[str, Progress]()
    for run, kind, started in rows:
        elapsed = max(time.time() - started, 0.0)
        fraction, is_limit = (_search_fraction if kind == "search" else _training_fraction)(connection, run, elapsed)
        if fraction is not None:
            left = elapsed * (1 - fraction) / fraction if fraction > 0 else None
            progress[run] = Progress(fraction=fraction, seconds_left=left, is_limit=is_limit)
    return progress


def _search_fraction(connection: Connection, run: str, elapsed: float) -> tuple[float | None, bool]:
    """The fraction of its trials that have ended, or of its minutes."""
    is_request = (run_metadata.c.run == run, run_metadata.c.name == "request")
    text = connection.execute(select(run_metadata.c.value).where(*is_request)).scalar()
    try:
        search: Any = json.loads(text or "{}")["spec"]["search"]
        trials, minutes = search["trials"], search["minutes"]
    except (KeyError, TypeError, ValueError):
        return None, False
    fractions = []
    if isinstance(trials, int) and trials > 0:
        has_ended = (runs.c.parent == run, runs.c.kind == "trial", runs.c.state != "running")
        fractions.append(
            connection.execute(select(func.count()).select_from(runs).where(*has_ended)).scalar_one() / trials
        )
    if isinstance(minutes, int | float) and minutes > 0:
        fractions.append(elapsed / (60 * minutes))
    return (min(max(fractions), 1.0), True) if fractions else (None, False)


def _training_fraction(connection: Connection, run: str, _: float) -> tuple[float | None, bool]:
    """The fraction of its epochs or steps, if it logs them."""
    is_length = (params.c.run == run, params.c.name.in_((*EPOCH_PARAMS, *STEP_PARAMS)))
    lengths = connection.execute(select(params.c.name, params.c.numeric_value).where(*is_length)).all()
    is_own = (metrics.c.run == run, metrics.c.name.not_like(f"{SYSTEM_METRICS}%"))
    step = connection.execute(select(func.max(metrics.c.step)).where(*is_own)).scalar()
    epoch = connection.execute(
        select(metrics.c.last).where(metrics.c.run == run, metrics.c.name == EPOCH_METRIC)
    ).scalar()
    for name, length in lengths:
        done = epoch if name in EPOCH_PARAMS and epoch is not None else step
        if length and math.isfinite(length) and done is not None and 0 <= done <= length:
            return min(done / length, 1.0), True
    return None, False
