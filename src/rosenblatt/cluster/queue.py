"""The queue of experiments in the store: commands that wait for their turn, and the runners that take them.

A runner takes an experiment by a conditional update, so that it has one runner, and gives signs of life by the clock of
the database. A runner whose experiment was cancelled, or taken by another one, sees it by its next sign of life.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, RowMapping, case, select

from rosenblatt.errors import RunError, format_list
from rosenblatt.runs.store.clock import database_time
from rosenblatt.runs.store.filters import STALE_SECONDS
from rosenblatt.runs.store.owners import has_died, is_alive_here
from rosenblatt.runs.store.schema import queue
from rosenblatt.runs.store.store import Store

MAX_LOST_ATTEMPTS = 3  # starts after which an experiment that its runners never ended counts as failed
LOST_RUNNER = "its runner was killed or lost"
_UNFINISHED = ("waiting", "running")


@dataclass(frozen=True, kw_only=True)
class NewExperiment:
    """A command to add to the queue."""

    arguments: tuple[str, ...]  # of `rosenblatt`: fit people.csv --target income
    folder: str  # in which it starts
    machine: str
    user: str
    config: str | None = None  # the content of the file that --config names
    output: str | None = None  # the path of the model that it writes
    source: str | None = None  # a hash of the source of a script
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class Experiment(NewExperiment):
    """A command in the queue."""

    number: int
    state: str  # waiting, running, finished, failed, cancelled
    reason: str | None
    run: str | None  # the id of its last run
    attempts: int
    added: float  # seconds since 1970
    started: float | None
    ended: float | None
    seconds: float | None  # from its start to its end or, while it runs, until now
    owner: str | None
    process: str | None
    log: str | None  # HOST:PATH
    is_lost: bool  # whether its runner gives no sign of life

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Read an experiment from its row."""
        is_lost = row["state"] == "running" and (bool(row["is_stale"]) or has_died(row["owner"]))
        values: dict[str, Any] = {field.name: row.get(field.name) for field in fields(cls)}
        return cls(**values | {"arguments": tuple(json.loads(row["arguments"])), "is_lost": is_lost})

    def to_json(self) -> dict[str, Any]:
        """The experiment as JSON-serializable data."""
        hidden = ("owner", "process", "config")
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in hidden}
        return values | {"arguments": list(self.arguments)}


def add_experiments(store: Store, experiments: Sequence[NewExperiment]) -> list[int]:
    """Add experiments to the queue, in their order; returns their numbers. Raises StoreError."""
    numbers = []
    with store.writing() as connection:
        for experiment in experiments:
            values = {field.name: getattr(experiment, field.name) for field in fields(NewExperiment)}
            values |= {"arguments": json.dumps(experiment.arguments), "state": "waiting", "attempts": 0}
            statement = queue.insert().values(**values, added=database_time()).returning(queue.c.number)
            numbers.append(int(connection.execute(statement).scalar_one()))
    return numbers


def load_experiments(store: Store, numbers: Collection[int] | None = None) -> list[Experiment]:
    """Load experiments in the order in which they are taken, then those that have ended by their number.

    Args:
        store: The store.
        numbers: Their numbers; by default all.

    Raises:
        RunError: If one of the numbers is not in the queue.
    """
    with store.reading() as connection:
        experiments = _load(connection, queue.c.number.in_(numbers) if numbers is not None else queue.c.number > 0)
    missing = set(numbers or ()) - {experiment.number for experiment in experiments}
    if missing:
        raise RunError(
            f"There is no experiment {format_list(sorted(missing))} in the queue. `rosenblatt queue list` shows it."
        )
    return experiments


def take_experiment(store: Store, owner: str, may_take: Callable[[Experiment], bool]) -> Experiment | None:
    """Take the next experiment that waits, so that no other runner takes it; None if none waits that one may take.

    Raises StoreError.
    """
    with store.writing() as connection:
        for experiment in filter(may_take, _load(connection, queue.c.state == "waiting")):
            values = {
                "state": "running",
                "owner": owner,
                "reason": None,
                "attempts": queue.c.attempts + 1,
                "started": database_time(),
                "ended": None,
                "heartbeat": database_time(),
                "process": None,
            }
            is_free = (queue.c.number == experiment.number) & (queue.c.state == "waiting")
            if connection.execute(queue.update().where(is_free).values(values)).rowcount:
                return _load(connection, queue.c.number == experiment.number)[0]
    return None


def update_started(store: Store, number: int, owner: str, columns: Mapping[str, str]) -> bool:
    """Record run, process and log of an experiment that its runner starts; returns False if it is not this runner's.

    Raises StoreError.
    """
    with store.writing() as connection:
        return bool(connection.execute(queue.update().where(_is_own(number, owner)).values(columns)).rowcount)


def give_sign_of_life(store: Store, owner: str, numbers: Collection[int]) -> set[int]:
    """Give a sign of life of some running experiments; returns those that are this runner's. Raises StoreError."""
    if not numbers:
        return set()
    is_own = queue.c.number.in_(numbers) & (queue.c.owner == owner) & (queue.c.state == "running")
    with store.writing() as connection:
        connection.execute(queue.update().where(is_own).values(heartbeat=database_time()))
        return set(connection.execute(select(queue.c.number).where(is_own)).scalars())


def end_experiment(store: Store, number: int, owner: str, state: str, reason: str | None = None) -> bool:
    """End an experiment as finished or failed, or let it wait again; returns False if it is not this runner's.

    Raises StoreError.
    """
    ended = None if state == "waiting" else database_time()
    with store.writing() as connection:
        values = {"state": state, "reason": reason, "ended": ended, "heartbeat": database_time(), "owner": None}
        return bool(connection.execute(queue.update().where(_is_own(number, owner)).values(values)).rowcount)


def cancel_experiments(store: Store, numbers: Collection[int]) -> list[Experiment]:
    """Cancel experiments that wait or run; returns those that were cancelled, as they were before.

    The runner of a running one ends its process. Raises RunError if a number is not in the queue.
    """
    load_experiments(store, numbers)
    is_unfinished = queue.c.number.in_(numbers) & queue.c.state.in_(_UNFINISHED)
    with store.writing() as connection:
        before = _load(connection, is_unfinished)
        values = {"state": "cancelled", "reason": None, "ended": database_time()}
        connection.execute(queue.update().where(is_unfinished).values(values))
    return before


def release_lost(store: Store) -> list[Experiment]:
    """Let experiments wait again whose runner was killed or gives no sign of life.

    Those whose process has not ended yet go on running until a later call, and those that were lost again and again
    have failed. Returns all of them, as they are afterwards. Raises StoreError.
    """
    with store.reading() as connection:
        lost = [experiment for experiment in _load(connection, queue.c.state == "running") if experiment.is_lost]
    if not lost:
        return []
    with store.writing() as connection:
        for experiment in lost:
            if is_alive_here(experiment.process):
                continue
            has_failed = experiment.attempts >= MAX_LOST_ATTEMPTS
            values = {
                "state": "failed" if has_failed else "waiting",
                "reason": f"{LOST_RUNNER} {experiment.attempts} times" if has_failed else LOST_RUNNER,
                "ended": database_time() if has_failed else None,
                "owner": None,
            }
            is_same = _is_own(experiment.number, experiment.owner or "")
            connection.execute(queue.update().where(is_same).values(values))
        return _load(connection, queue.c.number.in_([experiment.number for experiment in lost]))


def _is_own(number: int, owner: str) -> ColumnElement[bool]:
    return (queue.c.number == number) & (queue.c.owner == owner) & (queue.c.state == "running")


def _load(connection: Connection, condition: ColumnElement[bool]) -> list[Experiment]:
    """Load the experiments that fulfil a condition, the next ones first, then those that have ended, newest first."""
    now = database_time()
    rank = case((queue.c.state == "running", 0), (queue.c.state == "waiting", 1), else_=2)
    is_stale = case((queue.c.heartbeat < now - STALE_SECONDS, 1), else_=0)
    ended = case((queue.c.state == "running", now), else_=queue.c.ended)
    query = select(queue, is_stale.label("is_stale"), (ended - queue.c.started).label("seconds"))
    place = case((rank == 2, -queue.c.number), else_=-queue.c.priority)
    query = query.where(condition).order_by(rank, place, queue.c.number)
    return [Experiment.from_row(row) for row in connection.execute(query).mappings()]
