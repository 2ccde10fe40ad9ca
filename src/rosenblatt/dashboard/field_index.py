"""Which hyperparameters and metrics runs have, and where their values differ, kept in memory.

The store has a row for each value of each run: to group 2 million of them by name takes seconds. Here a run is a row of
hashes, one for each field, so that a filter costs milliseconds. Rows of runs that changed are read again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Text, cast, func, select

from rosenblatt.runs.store.schema import metrics, params, point_logs, runs
from rosenblatt.runs.store.store import Store, batches

REFRESH_TIME_S = 0.3  # after which a refresh answers from the runs that were read so far
REFRESH_INTERVAL_S = 1.0
MAX_NAME_LISTS = 1000
ABSENT = 0  # the code of a value that a run lacks
MAX_CODE = 2**31 - 1
_TABLES: dict[str, tuple[Any, Any]] = {"params": (params, params.c.value), "metrics": (metrics, metrics.c.last)}
_JSON_LIST = {"sqlite": "json_group_array", "postgresql": "json_agg"}


class FieldCounts(NamedTuple):
    """The fields of some runs: by kind and name, how many runs have it, and whether their values differ."""

    examined: int  # number of the runs that were read so far
    fields: dict[tuple[str, str], tuple[int, bool]]


class FieldIndex:
    """The values of all hyperparameters and metrics of all runs, as hashes.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, Lock()
        self._columns: dict[tuple[str, str], int] = {}  # by kind and name
        self._codes = np.zeros((64, 64), np.int32)  # (rows, columns), partly unused
        self._rows: dict[str, int] = {}  # by run
        self._free_rows = list[int]()
        self._fresh_until = 0.0
        self._versions: dict[str, tuple[Any, ...]] = {}  # by run: what changes if its values do
        self._name_lists: dict[tuple[str, str], np.ndarray] = {}  # columns by kind and JSON of names, which runs share

    def count(self, ids: Sequence[str]) -> FieldCounts:
        """Find the fields of some runs. Raises StoreError."""
        with self._lock:
            self._refresh(set(ids))
            rows = np.array([self._rows[run] for run in ids if run in self._rows], np.int64)
            if not rows.size:
                return FieldCounts(0, {})
            codes = self._codes[rows, : len(self._columns)]
            n_runs = np.count_nonzero(codes != ABSENT, axis=0).tolist()
            differs = (codes != codes[0]).any(axis=0).tolist()
            fields = {key: (n_runs[column], differs[column]) for key, column in self._columns.items() if n_runs[column]}
            return FieldCounts(len(rows), fields)

    def _refresh(self, ids: Collection[str]) -> None:
        """Read runs that are new or have changed, those of some ids first, then newest first; forget deleted ones."""
        if time.monotonic() < self._fresh_until:
            return
        deadline = time.monotonic() + REFRESH_TIME_S
        has_log = select(point_logs.c.run).where(point_logs.c.run == runs.c.id).exists()
        query = select(runs.c.id, runs.c.state, runs.c.ended, runs.c.heartbeat, has_log).order_by(runs.c.started.desc())
        with self._store.reading() as connection:
            versions = {run: tuple(version) for run, *version in connection.execute(query)}
            for run in self._rows.keys() - versions.keys():
                self._free_rows.append(self._rows.pop(run))
                self._versions.pop(run, None)
            changed = [
                run for run, version in versions.items()
                if self._versions.get(run) != version or version[0] == "running" or version[-1]
            ]  # fmt: skip
            changed.sort(key=lambda run: run not in ids)
            for batch in batches(changed):
                for kind in _TABLES:
                    self._read(connection, kind, batch)
                self._versions |= {run: versions[run] for run in batch}
                if time.monotonic() > deadline:
                    return
        self._fresh_until = time.monotonic() + REFRESH_INTERVAL_S

    def _read(self, connection: Connection, kind: str, ids: Sequence[str]) -> None:
        table, value = _TABLES[kind]
        make_list = getattr(func, _JSON_LIST[connection.dialect.name])
        text = value if kind == "params" else cast(value, Text)  # JSON has no infinity
        query = select(table.c.run, cast(make_list(table.c.name), Text), cast(make_list(text), Text))
        own_columns = [column for (other, _), column in self._columns.items() if other == kind]
        rows = [self._find_row(run) for run in ids]
        self._codes[np.ix_(rows, own_columns)] = ABSENT
        for run, names, values in connection.execute(query.where(table.c.run.in_(ids)).group_by(table.c.run)):
            columns = self._find_columns(kind, names)
            self._codes[self._rows[run], columns] = [hash(item) & MAX_CODE or 1 for item in json.loads(values)]

    def _find_row(self, run: str) -> int:
        if run not in self._rows:
            self._rows[run] = self._free_rows.pop() if self._free_rows else len(self._rows)
            if self._rows[run] >= len(self._codes):
                self._codes = np.concatenate([self._codes, np.zeros_like(self._codes)])
        return self._rows[run]

    def _find_columns(self, kind: str, names: str) -> np.ndarray:
        """The columns of names, as JSON; new names get a column."""
        key = kind, names
        if key not in self._name_lists:
            if len(self._name_lists) >= MAX_NAME_LISTS:
                self._name_lists.clear()
            for name in json.loads(names):
                self._columns.setdefault((kind, name), len(self._columns))
            while len(self._columns) > self._codes.shape[1]:
                self._codes = np.concatenate([self._codes, np.zeros_like(self._codes)], axis=1)
            self._name_lists[key] = np.array([self._columns[kind, name] for name in json.loads(names)], np.int64)
        return self._name_lists[key]
