"""Transform a table of time series into windows of past steps, each with the steps that follow it as its targets.

The values of a window are differences from its last value, divided by the mean step-to-step change. Series of different
levels can thus be trained on together, and the values of a rising series stay in the range of the training rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.media.columns import sequence_column
from rosenblatt.data.schema.columns import Column, Notes, Schema, plural_kind
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.schema.notes import summarize_notes
from rosenblatt.data.schema.order import read_order
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.errors import TableError, did_you_mean, format_list
from rosenblatt.spec.data import DataSpec

HISTORY, OFFSET, SCALE, END = "history", "offset", "scale", "end"
MIN_HISTORY = 2  # minimum number of past steps of a window
CALENDAR = {"month": (1, 12), "weekday": (1, 7), "hour": (0, 24)}  # first value and number of values of each feature


class _Series(NamedTuple):
    """One series, sorted by time."""

    name: str
    target: np.ndarray  # (T,) gaps hold the last value before them; NaN after the last value
    observed: np.ndarray  # (T,) False for gaps
    steps: int  # number of steps up to the last value
    past: np.ndarray  # (T, past covariates)
    known_covariates: np.ndarray  # (T, known covariates)
    times: pl.Series


class WindowTransform(BaseModel):
    """Which columns of a table form windows, and how long these are; saved with the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    time: Column
    series: str  # the column that identifies series; empty for a single series
    known_covariates: tuple[Column, ...]  # columns that are known in advance
    past_covariates: tuple[Column, ...]  # other columns of numbers, known up to the present
    value: Column  # the target column
    horizon: int  # number of steps to predict
    window: int  # maximum number of past steps

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame,
        target: str,
        spec: DataSpec,
        ignore: Sequence[str],
        format: TableFormat = DETECT_FORMAT,
    ) -> WindowTransform:
        """Assign the columns of a table, written in this format, to their roles in a forecast. Raises TableError."""
        _check_columns_exist(frame, spec)
        columns = {column.name: column for column in infer_schema(frame, spec.max_categories, format).columns}
        time, value = _identifier_as_number(columns[spec.time]), _identifier_as_number(columns[target])
        read_order(frame[spec.time], time, "time")
        if value.kind != "number":
            raise TableError(
                f"The target of a forecast must hold numbers, but {target!r} holds {plural_kind(value.kind)}."
            )
        if target in spec.known_covariates:
            raise TableError(f"{target!r} is the target of the forecast and cannot be known in advance.")
        known_covariates = tuple(columns[name] for name in spec.known_covariates)
        invalid = next((column for column in known_covariates if column.kind not in ("number", "boolean")), None)
        if invalid:
            raise TableError(
                f"known_covariates must name columns of numbers or of yes and no, but {invalid.name!r} holds "
                f"{plural_kind(invalid.kind)}."
            )
        used = {target, spec.time, spec.series, *spec.known_covariates, *ignore}
        past = tuple(column for name, column in columns.items() if name not in used and column.kind == "number")
        window = max(3 * spec.horizon, 24) if spec.window == "auto" else spec.window
        return cls(
            target=target, time=time, series=spec.series, known_covariates=known_covariates, past_covariates=past,
            value=value, horizon=spec.horizon, window=window,
        )  # fmt: skip

    def unused_columns(self, frame: pl.DataFrame) -> list[str]:
        """The columns of a table that are not used, as they hold no numbers."""
        used = {
            self.target,
            self.time.name,
            self.series,
            *(column.name for column in (*self.known_covariates, *self.past_covariates)),
        }
        return [name for name in frame.columns if name not in used]

    @property
    def target_columns(self) -> list[str]:
        """The names of the target columns, one for each step ahead."""
        return [f"{self.target} +{step}" for step in range(1, self.horizon + 1)]

    def targets(self, rows: pl.DataFrame) -> np.ndarray:
        """The targets (n, horizon) of windows, in units of each window's scale."""
        return rows.select(self.target_columns).to_numpy()

    def input_schema(self, rows: pl.DataFrame) -> Schema:
        """The schema of the inputs of windows."""
        excluded = {HISTORY, OFFSET, SCALE, END, "name", "steps", *self.target_columns}
        numeric = [Column(name=name, kind="number") for name in rows.columns if name not in excluded]
        return Schema(columns=(Column(name=HISTORY, kind="sequence", include=True), *numeric))

    def training_rows(
        self, frame: pl.DataFrame, messages: list[str] | None = None, format: TableFormat = DETECT_FORMAT
    ) -> pl.DataFrame:
        """Make a row for each window whose next steps are all known.

        `messages` receives what was left out. Raises TableError if there is no such window.
        """
        rows = [row for series in self._iter_series(frame, messages, format) for row in self._iter_windows(series)]
        if not rows:
            raise TableError(
                f"No series is longer than the shortest window ({MIN_HISTORY} steps) and the horizon ({self.horizon}) "
                "together. Choose a smaller horizon."
            )
        return self._to_frame(rows)

    def forecast_rows(
        self, frame: pl.DataFrame, messages: list[str] | None = None, format: TableFormat = DETECT_FORMAT
    ) -> pl.DataFrame:
        """Make a row for the end of each series, after its last target that is not empty.

        `messages` receives what was left out. Raises TableError if no series is long enough.
        """
        all_series = list(self._iter_series(frame, messages, format))
        if not all_series:
            raise TableError(
                f"A forecast needs at least {MIN_HISTORY} values, but no series has as many. Give longer ones."
            )
        return self._to_frame([self._make_window(series, series.steps) for series in all_series])

    def _iter_windows(self, series: _Series) -> Iterator[dict[str, object]]:
        for end in range(MIN_HISTORY, series.steps - self.horizon + 1):
            if series.observed[end : end + self.horizon].all():
                yield self._make_window(series, end)

    def _make_window(self, series: _Series, end: int) -> dict[str, object]:
        first = max(0, end - self.window)
        values = series.target[first:end]
        offset = float(values[-1])
        changes = np.abs(np.diff(values))
        scale = float(changes.mean()) if changes.size and changes.mean() > 0 else max(abs(offset), 1.0)
        past = np.column_stack([(values - offset) / scale, series.past[first:end], series.known_covariates[first:end]])
        future = slice(end, end + self.horizon)
        row: dict[str, object] = {
            HISTORY: past,
            OFFSET: offset,
            SCALE: scale,
            END: float(end),
            "name": series.name,
            "steps": float(series.steps),
        }
        targets = np.full(self.horizon, np.nan)
        targets[: len(series.target[future])] = (series.target[future] - offset) / scale
        row |= dict(zip(self.target_columns, targets.tolist(), strict=True))
        for k, column in enumerate(self.known_covariates):
            future_values = series.known_covariates[future, k]
            if len(future_values) < self.horizon:
                raise TableError(
                    f"{column.name!r} is known in advance, but series {series.name!r} has only {len(future_values)} of "
                    f"{self.horizon} rows after its end. Add them, with an empty {self.target!r}."
                )
            row |= {f"{column.name} +{step}": float(v) for step, v in enumerate(future_values, 1)}
        if self.time.kind == "date":
            row |= self._calendar_features(series.times, end)
        return row

    def _calendar_features(self, times: pl.Series, end: int) -> dict[str, object]:
        """Position of the end of a window in the year, week and day, as sine and cosine."""
        features: dict[str, object] = {}
        timestamp = times[end - 1]
        values = {"month": timestamp.month, "weekday": timestamp.isoweekday(), "hour": getattr(timestamp, "hour", 0)}
        for part in self.time.date_parts:
            if part in CALENDAR:
                first, period = CALENDAR[part]
                angle = 2 * np.pi * (values[part] - first) / period
                features |= {f"{part} (sine)": float(np.sin(angle)), f"{part} (cosine)": float(np.cos(angle))}
        return features

    def _iter_series(self, frame: pl.DataFrame, messages: list[str] | None, format: TableFormat) -> Iterator[_Series]:
        for name in (self.time.name, self.series):
            if name and name not in frame.columns:
                raise TableError(f"The table lacks the column {name!r}.{did_you_mean(name, frame.columns)}")
        typed = Schema(columns=(self.value, *self.known_covariates, *self.past_covariates)).read(
            frame, messages, format
        )
        numeric = {
            name: typed[name].replace_strict({"true": 1.0, "false": 0.0}, return_dtype=pl.Float64)
            if typed[name].dtype == pl.String
            else typed[name]
            for name in typed.columns
        }
        times = self._read_times(frame, messages, format)
        names = frame[self.series].cast(pl.String).fill_null("") if self.series else pl.Series([""] * frame.height)
        too_short = []
        indexed = names.alias("series").to_frame().with_row_index("row")
        for name, row_numbers in indexed.group_by("series", maintain_order=True).agg("row").iter_rows():
            rows = np.array(row_numbers)
            rows = rows[np.argsort(times[rows].to_numpy(), kind="stable")]
            self._check_unique_times(times[rows], name)
            value = numeric[self.target][rows].to_numpy().astype(np.float64)
            observed_steps = np.flatnonzero(~np.isnan(value))
            if observed_steps.size < MIN_HISTORY:
                too_short.append(name)
                continue
            first, last = int(observed_steps[0]), int(observed_steps[-1])
            rows, value = rows[first:], value[first:]
            steps, is_observed = last + 1 - first, ~np.isnan(value)
            last_observed = np.maximum.accumulate(np.where(is_observed[:steps], np.arange(steps), 0))
            value[:steps] = value[:steps][last_observed]  # fill gaps with the last value before them
            past, covariates = (
                self._stack_columns(numeric, columns, rows) for columns in (self.past_covariates, self.known_covariates)
            )
            yield _Series(name, value, is_observed, steps, past, covariates, times[rows])
        if too_short and self.series and messages is not None:
            messages.append(
                f"{len(too_short)} series with fewer than {MIN_HISTORY} values left out: {format_list(too_short, 5)}"
            )

    def _read_times(self, frame: pl.DataFrame, messages: list[str] | None, format: TableFormat) -> pl.Series:
        """The values by which rows are ordered in time. Raises TableError if a row has none."""
        time = Schema(columns=(self.time,)).with_day_first(format.day_first).columns[0]
        notes: Notes = []
        times = read_order(frame[time.name], time, "time", notes=notes)
        if messages is not None:
            messages += summarize_notes(notes)
        return times

    def _check_unique_times(self, times: pl.Series, name: str) -> None:
        """Raise TableError if two rows of a series have the same of these sorted times."""
        is_repeated = (times.diff().cast(pl.Int64) == 0) if times.dtype.is_temporal() else times.diff() == 0
        if is_repeated.any():
            time = times[is_repeated.arg_max() or 0]
            series_text = f" of series {name!r}" if self.series else ""
            raise TableError(
                f"Several rows{series_text} have the {self.time.name!r} {time}. Keep one of them, or name the column "
                "that identifies the series with --series."
            )

    @staticmethod
    def _stack_columns(typed: dict[str, pl.Series], columns: tuple[Column, ...], rows: np.ndarray) -> np.ndarray:
        parts = [typed[column.name][rows].to_numpy().astype(np.float64) for column in columns]
        return np.column_stack(parts) if parts else np.empty((len(rows), 0))

    def _to_frame(self, rows: list[dict[str, object]]) -> pl.DataFrame:
        history: list[np.ndarray] = [row.pop(HISTORY) for row in rows]  # type: ignore[misc]
        channels = 1 + len(self.past_covariates) + len(self.known_covariates)
        return pl.DataFrame(rows).with_columns(sequence_column(HISTORY, history, channels))

    def inverse_transform(self, frame: pl.DataFrame, predictions: np.ndarray) -> np.ndarray:
        """Convert targets or predictions (n, horizon) of windows to values of the target column."""
        offset, scale = (frame[name].to_numpy()[:, None] for name in (OFFSET, SCALE))
        return offset + scale * predictions


def _check_columns_exist(frame: pl.DataFrame, spec: DataSpec) -> None:
    """Check that the table has the columns that the spec names. Raises TableError."""
    named = (("time", spec.time), ("series", spec.series), *(("known_covariates", c) for c in spec.known_covariates))
    for option, name in named:
        if name and name not in frame.columns:
            raise TableError(
                f"{option} names {name!r}, but the table has no such column.{did_you_mean(name, frame.columns)}"
            )


def _identifier_as_number(column: Column) -> Column:
    """A column of numbers that differ from row to row, as a column of numbers."""
    return column.model_copy(update={"kind": "number", "notes": ()}) if column.is_numeric else column
