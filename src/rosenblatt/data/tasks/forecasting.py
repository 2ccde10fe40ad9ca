"""In: a table of one or several series over time. Out: a row for each window of the past, with the steps after it.

Values of a window are told as differences from its last one, in units of how much it changes from step to step, so that
series of different height are learnt from together, and a rising one does not leave what was learnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.media.columns import steps_column
from rosenblatt.data.schema.columns import Column, Say, Schema
from rosenblatt.data.schema.inference import infer
from rosenblatt.errors import TableError, listed, nearest
from rosenblatt.spec.data import DataSpec

HISTORY, LEVEL, UNIT, END = "history", "level", "unit", "end"
LEAST = 2  # steps of the past that a window has at least
CALENDAR = {"month": (1, 12), "weekday": (1, 7), "hour": (0, 24)}  # first value, and how many there are


class _Line(NamedTuple):
    """One series in the order of time."""

    name: str
    target: np.ndarray  # (T,) the last value before it where there is none; NaN where it is to be forecast
    there: np.ndarray  # (T,) whether there is a value
    steps: int  # until the last value
    past: np.ndarray  # (T, past columns)
    known: np.ndarray  # (T, known columns)
    times: pl.Series


class Windows(BaseModel):
    """How a table over time becomes windows; learnt once and saved with the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    time: Column
    series: str
    known: tuple[Column, ...]  # columns known in advance
    past: tuple[Column, ...]  # other columns of numbers, known up to now
    value: Column
    horizon: int
    window: int

    @classmethod
    def of(cls, frame: pl.DataFrame, target: str, spec: DataSpec, ignore: Sequence[str]) -> Windows:
        """What a table's columns are to a forecast. Raises TableError."""
        for what, name in (("time", spec.time), ("series", spec.series), *(("known", name) for name in spec.known)):
            if name and name not in frame.columns:
                raise TableError(f"{what} names {name!r}, but the table has no such column.")
        columns = {column.name: column for column in infer(frame, spec.max_categories).columns}
        time, value = _counted(columns[spec.time]), _counted(columns[target])
        if time.kind not in ("date", "number"):
            raise TableError(f"time must name a column of dates or numbers, but {spec.time!r} holds {_kinds(time)}.")
        if value.kind != "number":
            raise TableError(f"A forecast is of numbers, but the target {target!r} holds {_kinds(value)}.")
        if target in spec.known:
            raise TableError(f"{target!r} is to be forecast; it cannot be known in advance too.")
        known = tuple(columns[name] for name in spec.known)
        odd = next((column for column in known if column.kind not in ("number", "boolean")), None)
        if odd:
            raise TableError(
                f"known must name columns of numbers or of yes and no, but {odd.name!r} holds {_kinds(odd)}."
            )
        taken = {target, spec.time, spec.series, *spec.known, *ignore}
        past = tuple(column for name, column in columns.items() if name not in taken and column.kind == "number")
        window = max(3 * spec.horizon, 24) if spec.window == "auto" else spec.window
        return cls(
            target=target, time=time, series=spec.series, known=known, past=past,
            value=value, horizon=spec.horizon, window=window,
        )  # fmt: skip

    def unused(self, frame: pl.DataFrame) -> list[str]:
        """The columns of a table that tell nothing of the past, as they hold no numbers."""
        told = {self.target, self.time.name, self.series, *(column.name for column in (*self.known, *self.past))}
        return [name for name in frame.columns if name not in told]

    @property
    def answers(self) -> list[str]:
        """The columns to predict, one a step."""
        return [f"{self.target} +{step}" for step in range(1, self.horizon + 1)]

    def schema_of(self, rows: pl.DataFrame) -> Schema:
        """What is learnt from of windows."""
        told = {HISTORY, LEVEL, UNIT, END, "name", "steps", *self.answers}
        plain = [Column(name=name, kind="number") for name in rows.columns if name not in told]
        return Schema(columns=(Column(name=HISTORY, kind="sequence", asked=True), *plain))

    def rows(self, frame: pl.DataFrame, say: Say) -> pl.DataFrame:
        """A row for each window whose next steps are all known. Raises TableError where there is none."""
        made = [row for line in self._lines(frame, say) for row in self._windows(line)]
        if not made:
            raise TableError(
                f"No series is longer than the {LEAST} steps of a window and the {self.horizon} of the horizon "
                "together. Choose a smaller horizon."
            )
        return self._frame(made)

    def last(self, frame: pl.DataFrame, say: Say) -> pl.DataFrame:
        """A row for the end of each series; the steps after it are those whose target is empty, or none yet.

        Raises TableError where no series is long enough.
        """
        lines = list(self._lines(frame, say))
        if not lines:
            raise TableError(f"No series has the {LEAST} values that a forecast needs at least. Give longer ones.")
        return self._frame([self._window(line, line.steps) for line in lines])

    def _windows(self, line: _Line) -> Iterator[dict[str, object]]:
        for end in range(LEAST, line.steps - self.horizon + 1):
            if line.there[end : end + self.horizon].all():
                yield self._window(line, end)

    def _window(self, line: _Line, end: int) -> dict[str, object]:
        first = max(0, end - self.window)
        values = line.target[first:end]
        level = float(values[-1])
        change = np.abs(np.diff(values))
        unit = float(change.mean()) if change.size and change.mean() > 0 else max(abs(level), 1.0)
        past = np.column_stack([(values - level) / unit, line.past[first:end], line.known[first:end]])
        ahead = slice(end, end + self.horizon)
        row: dict[str, object] = {
            HISTORY: past,
            LEVEL: level,
            UNIT: unit,
            END: float(end),
            "name": line.name,
            "steps": float(line.steps),
        }
        answers = np.full(self.horizon, np.nan)
        answers[: len(line.target[ahead])] = (line.target[ahead] - level) / unit
        row |= dict(zip(self.answers, answers.tolist(), strict=True))
        for k, column in enumerate(self.known):
            told = line.known[ahead, k]
            if len(told) < self.horizon:
                raise TableError(
                    f"{column.name!r} is known in advance, but series {line.name!r} has only {len(told)} of "
                    f"{self.horizon} rows after its end. Add them, with an empty {self.target!r}."
                )
            row |= {f"{column.name} +{step}": float(v) for step, v in enumerate(told, 1)}
        if self.time.kind == "date":
            row |= self._calendar(line.times, end)
        return row

    def _calendar(self, times: pl.Series, end: int) -> dict[str, object]:
        """Where in year, week and day the window ends, as angles."""
        found: dict[str, object] = {}
        moment = times[end - 1]
        values = {"month": moment.month, "weekday": moment.isoweekday(), "hour": getattr(moment, "hour", 0)}
        for part in self.time.parts:
            if part in CALENDAR:
                first, many = CALENDAR[part]
                angle = 2 * np.pi * (values[part] - first) / many
                found |= {f"{part} (sine)": float(np.sin(angle)), f"{part} (cosine)": float(np.cos(angle))}
        return found

    def _lines(self, frame: pl.DataFrame, say: Say) -> Iterator[_Line]:
        for name in (self.time.name, self.series):
            if name and name not in frame.columns:
                raise TableError(f"The table lacks the column {name!r}.{nearest(name, frame.columns)}")
        read = Schema(columns=(self.value, *self.known, *self.past)).read(frame, say)
        as_number = {
            name: read[name].replace_strict({"true": 1.0, "false": 0.0}, return_dtype=pl.Float64)
            if read[name].dtype == pl.String
            else read[name]
            for name in read.columns
        }
        times = self._times(frame)
        names = frame[self.series].cast(pl.String).fill_null("") if self.series else pl.Series([""] * frame.height)
        short = []
        numbered = names.alias("series").to_frame().with_row_index("row")
        for name, of_series in numbered.group_by("series", maintain_order=True).agg("row").iter_rows():
            rows = np.array(of_series)
            rows = rows[np.argsort(times[rows].to_numpy(), kind="stable")]
            self._refuse_repeated(times[rows], name)
            value = as_number[self.target][rows].to_numpy().astype(np.float64)
            there = np.flatnonzero(~np.isnan(value))
            if there.size < LEAST:
                short.append(name)
                continue
            first, last = int(there[0]), int(there[-1])
            rows, value = rows[first:], value[first:]
            steps, known = last + 1 - first, ~np.isnan(value)
            before = np.maximum.accumulate(np.where(known[:steps], np.arange(steps), 0))
            value[:steps] = value[:steps][before]  # of a gap only what came before it is known
            past, ahead = (self._numbers(as_number, some, rows) for some in (self.past, self.known))
            yield _Line(name, value, known, steps, past, ahead, times[rows])
        if short and self.series:
            say(f"{len(short)} series have fewer than {LEAST} values, and are left out: {listed(short, 5)}")

    def _times(self, frame: pl.DataFrame) -> pl.Series:
        """What orders the rows. Raises TableError where a row has no time."""
        times = self.time.in_order(frame[self.time.name])
        if times.has_nulls():
            row = (times.is_null().arg_max() or 0) + 1
            raise TableError(
                f"Row {row} has no {self.time.name!r}, so that its place in time is not known. Fill it in."
            )
        return times

    def _refuse_repeated(self, times: pl.Series, name: str) -> None:
        """Raise TableError where two rows of a series have the same time, given in order."""
        repeated = (times.diff().cast(pl.Int64) == 0) if times.dtype.is_temporal() else times.diff() == 0
        if repeated.any():
            time = times[repeated.arg_max() or 0]
            of = f" of series {name!r}" if self.series else ""
            raise TableError(
                f"Several rows{of} have the {self.time.name!r} {time}. Keep one of them; or, if they are of several "
                "series, name the column that tells these apart with --series."
            )

    @staticmethod
    def _numbers(read: dict[str, pl.Series], columns: tuple[Column, ...], rows: np.ndarray) -> np.ndarray:
        parts = [read[column.name][rows].to_numpy().astype(np.float64) for column in columns]
        return np.column_stack(parts) if parts else np.empty((len(rows), 0))

    def _frame(self, rows: list[dict[str, object]]) -> pl.DataFrame:
        history: list[np.ndarray] = [row.pop(HISTORY) for row in rows]  # type: ignore[misc]
        channels = 1 + len(self.past) + len(self.known)
        return pl.DataFrame(rows).with_columns(steps_column(HISTORY, history, channels))

    def in_units(self, frame: pl.DataFrame, said: np.ndarray) -> np.ndarray:
        """What is said of windows (n, horizon), as values of the target."""
        level, unit = (frame[name].to_numpy()[:, None] for name in (LEVEL, UNIT))
        return level + unit * said


def _counted(column: Column) -> Column:
    """A column of whole numbers that differ from row to row as one of numbers."""
    numbers = column.kind == "identifier" and column.note.startswith("a number")
    return column.model_copy(update={"kind": "number"}) if numbers else column


def _kinds(column: Column) -> str:
    plural = {"category": "categories", "boolean": "yes and no", "empty": "nothing", "constant": "one value only"}
    return plural.get(column.kind, f"{column.kind}s")
