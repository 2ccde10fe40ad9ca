"""Scores of a model for groups of rows: the categories of a column, or intervals of its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.schema.cells import strip_cells
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.schema.inference import detect_medium, infer_schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import TableError, format_count
from rosenblatt.inspection.tables import ReportTable, shorten

MIN_GROUP_ROWS = 30  # of smaller groups no difference is reported
MAX_CATEGORIES = 15  # further categories are joined to one group
MAX_NUMBER_CATEGORIES = 8  # columns with more different numbers are divided into intervals
N_INTERVALS = 5
MAX_DECIMALS = 6  # smaller numbers are written with an exponent
CONFIDENCE = 0.95
MISSING, OTHERS = "(missing)", "(other values)"

Interval = tuple[float, float]


@dataclass(frozen=True)
class GroupScore:
    """The mean score of a group, beside that of all other rows."""

    name: str
    rows: int
    score: float
    interval: Interval | None  # 95%; None for a single row
    difference: float  # score of the group minus score of the other rows
    difference_interval: Interval | None  # 95%; None if the group or the rest is too small

    @property
    def is_small(self) -> bool:
        """Whether the group, or what remains without it, has too few rows for a comparison."""
        return self.difference_interval is None


@dataclass(frozen=True)
class GroupScores:
    """The scores of all groups of a column."""

    column: str
    metric: str
    higher_is_better: bool
    groups: tuple[GroupScore, ...]

    @property
    def worse(self) -> list[GroupScore]:
        """The groups that are clearly worse than the rest, the largest difference first."""
        sign = 1 if self.higher_is_better else -1
        groups = [g for g in self.groups if g.difference_interval and max(sign * d for d in g.difference_interval) < 0]
        return sorted(groups, key=lambda group: sign * group.difference)

    def to_table(self) -> ReportTable:
        """A table for a report."""
        too_small = f"too few rows to judge (fewer than {MIN_GROUP_ROWS})"
        rows = tuple(
            (
                shorten(group.name, 60),
                f"{group.rows:,}",
                format(group.score, self._number_format),
                self._format(group.interval),
                "" if group.is_small else format(group.difference, f"+{self._number_format}"),
                self._format(group.difference_interval),
                too_small if group.is_small else self._verdict(group),
            )
            for group in self.groups
        )
        caption = (
            f"The {self.metric} of each group, and its difference from that of all other rows. Intervals assume that "
            "rows are independent. About one group in twenty differs by chance alone."
        )
        headers = (self.column, "rows", self.metric, "95% interval", "difference", "95% interval of the difference", "")
        highlighted = frozenset(k for k, group in enumerate(self.groups) if group in self.worse)
        is_numeric = (False, True, True, True, True, True, False)
        return ReportTable(f"Errors by {self.column}", caption, headers, is_numeric, rows, highlighted)

    @property
    def _number_format(self) -> str:
        """The format that shows three significant digits of the largest score."""
        largest = max(abs(group.score) for group in self.groups)
        decimals = max(2 - math.floor(math.log10(largest)), 0) if largest else 0
        return f",.{decimals}f" if decimals <= MAX_DECIMALS else ".2e"

    def _format(self, interval: Interval | None) -> str:
        return " to ".join(format(bound, self._number_format) for bound in interval or ())

    def _verdict(self, group: GroupScore) -> str:
        low, high = group.difference_interval or (0.0, 0.0)
        if low <= 0 <= high:
            return "no clear difference"
        return "better than the rest" if (low > 0) == self.higher_is_better else "worse than the rest"


def score_by_group(
    schema: Schema,
    target: Target,
    frame: pl.DataFrame,
    name: str,
    errors: np.ndarray,
    weight: np.ndarray | None = None,
) -> GroupScores:
    """Score the groups of a column.

    Args:
        schema: the model's, which says how its columns are read; other columns are read as their values suggest.
        frame: the scored rows, with the column.
        errors: (n,) what `row_scores` returns.
        weight: (n,) weights of the rows.

    Raises:
        TableError: if the column holds images, lists or the like.
    """
    metric, higher_is_better = metric_of_rows(target)
    groups = []
    for group, is_member in _split(schema, frame[name]):
        members, rest = ((errors[rows], None if weight is None else weight[rows]) for rows in (is_member, ~is_member))
        is_small = min(len(members[0]), len(rest[0])) < MIN_GROUP_ROWS
        interval = mean_interval(*members)
        score = float(np.average(members[0], weights=members[1]))
        other_score = float(np.average(rest[0], weights=rest[1])) if len(rest[0]) else float("nan")
        difference_interval = None
        if interval and not is_small:
            difference_interval = _difference_interval(score, interval, other_score, mean_interval(*rest) or interval)
        groups.append(GroupScore(group, len(members[0]), score, interval, score - other_score, difference_interval))
    return GroupScores(name, metric, higher_is_better, tuple(groups))


def metric_of_rows(target: Target) -> tuple[str, bool]:
    """The name of the score whose mean over rows is compared, and whether higher is better."""
    if target.task == "regression":
        return "mean absolute error", False
    return ("labels right" if target.task == "multilabel" else "accuracy"), True


def row_scores(target: Target, y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """The score of each row (n,): 1 for the right class, the fraction of right labels, or the mean absolute error."""
    if target.task == "regression":
        return np.abs(y - predictions).mean(axis=1)
    is_right = target.to_predictions(predictions) == y
    return is_right.mean(axis=1) if target.task == "multilabel" else is_right.astype(float)


def mean_interval(values: np.ndarray, weight: np.ndarray | None = None) -> Interval | None:
    """95% interval of the mean of a sample: Wilson's score interval (1927) for zeros and ones, else Student's.

    Weighted values count as their effective number (Kish 1965).
    """
    from scipy.special import ndtri, stdtrit  # takes 0.3 s to import

    weight = np.ones(len(values)) if weight is None else weight
    n, mean = float(weight.sum() ** 2 / (weight**2).sum()), float(np.average(values, weights=weight))
    if np.isin(values, (0, 1)).all():
        z = float(ndtri((1 + CONFIDENCE) / 2))
        center, margin = mean + z**2 / (2 * n), z * np.sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2))
        scale = 1 + z**2 / n
        return max(float((center - margin) / scale), 0.0), min(float((center + margin) / scale), 1.0)
    if n < 2:
        return None
    variance = float(np.average((values - mean) ** 2, weights=weight)) / (n - 1)  # of the mean
    margin = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * np.sqrt(variance))
    return mean - margin, mean + margin


def _difference_interval(a: float, interval_a: Interval, b: float, interval_b: Interval) -> Interval:
    """The interval of a - b from those of two independent estimates (Newcombe 1998, method 10; Zou & Donner 2008)."""
    difference = a - b
    margin_below = np.hypot(a - interval_a[0], interval_b[1] - b)
    margin_above = np.hypot(interval_a[1] - a, b - interval_b[0])
    return float(difference - margin_below), float(difference + margin_above)


def check_groups(series: pl.Series) -> None:
    """Raise TableError for a column whose cells cannot be divided into groups: images, lists and the like."""
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object) or detect_medium(series):
        raise TableError(f"Errors cannot be grouped by {series.name!r}, which holds {series.dtype} cells. Choose a "
                         "column of categories, numbers or dates.")  # fmt: skip


def _split(schema: Schema, series: pl.Series) -> Iterator[tuple[str, np.ndarray]]:
    """The name and the mask (n,) of each group: intervals in order, or categories, the most frequent first."""
    check_groups(series)
    keys = _ordered_values(schema, series)
    if keys is not None and keys.drop_nulls().n_unique() > MAX_NUMBER_CATEGORIES:
        yield from _intervals(keys)
    else:
        yield from _categories(series.cast(pl.String).str.strip_chars() if keys is None else keys)


def _ordered_values(schema: Schema, series: pl.Series) -> pl.Series | None:
    """Numbers, which may be infinite, or dates, if the column holds such; None for categories."""
    if series.dtype.is_numeric():
        return series.cast(pl.Float64).fill_nan(None)
    column = next((column for column in schema.columns if column.name == series.name), None)
    try:
        column = column or infer_schema(series.to_frame(), MAX_CATEGORIES).columns[0]
    except TableError:  # infinite numbers, or numbers and words
        text = strip_cells(series)
        numbers = text.cast(pl.Float64, strict=False)
        return numbers.fill_nan(None) if numbers.null_count() == text.null_count() else None
    if column.kind == "identifier" and column.is_numeric:
        column = column.model_copy(update={"kind": "number"})
    return column.sort_key(series) if column.kind in ("number", "date") else None


def _intervals(values: pl.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Intervals with about as many rows each; equal values are in one interval."""
    ranks = ((values.rank("max") - 1) * N_INTERVALS / values.drop_nulls().len()).floor()
    for k in range(N_INTERVALS):
        is_member = (ranks == k).fill_null(False)
        members = values.filter(is_member)
        if len(members):
            low, high = _format_key(members.min()), _format_key(members.max())
            yield (f"{low} to {high}" if low != high else low), is_member.to_numpy()
    if values.has_nulls():
        yield MISSING, values.is_null().to_numpy()


def _categories(values: pl.Series) -> Iterator[tuple[str, np.ndarray]]:
    counts = (
        values.drop_nulls().alias("value").value_counts(name="rows").sort(["rows", "value"], descending=[True, False])
    )
    frequent = counts["value"].to_list()
    frequent = frequent if len(frequent) <= MAX_CATEGORIES + 1 else frequent[:MAX_CATEGORIES]
    for value in frequent:
        yield _format_key(value), (values == value).fill_null(False).to_numpy()
    is_other = values.is_not_null() & ~values.is_in(frequent)
    if is_other.any():
        others = format_count(counts.height - len(frequent), "category", "categories")
        yield f"{OTHERS[:-1]}, {others})", is_other.to_numpy()
    if values.has_nulls():
        yield MISSING, values.is_null().to_numpy()


def _format_key(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).removesuffix(" 00:00:00")
