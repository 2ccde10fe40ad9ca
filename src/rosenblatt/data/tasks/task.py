"""Detect the task from the target columns of a table, and encode their values as numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.schema.booleans import is_yes
from rosenblatt.data.schema.cells import all_integers, strip_cells
from rosenblatt.data.schema.columns import Column, Notes, Schema
from rosenblatt.data.schema.decimal_marks import DecimalMarks, detect_marks
from rosenblatt.data.schema.missing import MissingRule, make_rule
from rosenblatt.data.schema.notes import summarize_notes
from rosenblatt.data.schema.numbers import read_numbers
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.data.tasks.labels import make_labels, match_labels, similar_labels
from rosenblatt.data.tasks.target import Label, Target
from rosenblatt.data.tasks.target_cells import TargetCells, read_target_cells
from rosenblatt.errors import TableError, did_you_mean, format_list
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec

MAX_INTEGER_CLASSES = 20  # number of distinct integers up to which they are classes, not values


@dataclass(frozen=True)
class SupervisedTask:
    """The task of a table, and the targets of its rows."""

    task: Task
    names: tuple[str, ...]
    labels: tuple[Label, ...]
    y: np.ndarray  # targets as in `Target`, NaN if missing
    reason: str  # why this task was chosen
    hint: str = ""  # how to choose the other task that is possible
    label_pairs: tuple[tuple[Label, Label], ...] = ()  # as in `Target`
    list_column: str = ""  # as in `Target`
    columns: tuple[Column, ...] = ()  # as in `Target`

    def target(self, y: np.ndarray, spec: Spec) -> Target:
        """Fit the target to the training targets y. Raises SpecError."""
        if self.task == "regression":
            target = Target.fit_regression(self.names, y, spec.data.target_transform, spec.training.loss)
        else:
            target = Target(
                names=self.names,
                task=self.task,
                labels=self.labels,
                label_pairs=self.label_pairs,
                list_column=self.list_column,
            )
        return target.model_copy(update={"columns": self.columns}).with_loss(spec, y)


def has_targets(y: np.ndarray) -> np.ndarray:
    """A mask (n,) of the rows whose targets are all present; y as in `SupervisedTask`."""
    return ~np.isnan(y.reshape(len(y), -1)).any(axis=1)


def resolve_column_name(frame: pl.DataFrame, name: str) -> str:
    """Find a column by name, or by number from 1, or from -1 for the last one.

    Raises:
        TableError: if there is none, or if a number may be meant as a name like those of other columns.
    """
    if name in frame.columns:
        return name
    if re.fullmatch(r"-?[0-9]{1,9}", name) and 1 <= abs(int(name)) <= frame.width:
        counters = {str(i) for i in range(frame.width + 1)}
        if int(name) > 0 and not counters.isdisjoint(frame.columns):
            raise TableError(
                f"There is no column named {name!r}, but others have numbers as names: "
                f"{format_list(frame.columns, 3)}. Give the name of a column, or count from the end: "
                f"{int(name) - frame.width - 1}."
            )
        return frame.columns[int(name) - (int(name) > 0)]
    hint = did_you_mean(name, frame.columns)
    if all(column == f"column_{i}" for i, column in enumerate(frame.columns, 1)):
        hint = " If the first line of the file names the columns, use --header (header=True in Python)."
    raise TableError(f"There is no column {name!r}; the table has {format_list(frame.columns)}.{hint}")


def detect_task(
    frame: pl.DataFrame,
    names: Sequence[str],
    task: Task | None = None,
    messages: list[str] | None = None,
    format: TableFormat = DETECT_FORMAT,
) -> SupervisedTask:
    """Detect the task from the target columns, or take the one given.

    Args:
        frame: the table as read, with all columns, as all help to find how numbers are written.
        names: the target columns.
        task: the task, or None to detect it.
        format: how the table is written.
        messages: receives hints on classes that differ only in how they are written.

    Raises:
        TableError: if the columns do not hold what the task needs, or hold one value only.
    """
    series = [frame[name] for name in names]
    for column in series:
        _check_type(column, allows_lists=len(series) == 1)
    if task == "tagging":
        return _tag_target(series[0])
    marks = detect_marks(frame, format)
    if len(series) == 1 and series[0].dtype == pl.List:
        return _list_target(series[0])
    cells = [read_target_cells(frame, name, marks, format) for name in names]
    if len(cells) > 1:
        return _multiple_targets(cells, task, marks)
    return _single_target(cells[0], task, marks, messages)


def _check_type(series: pl.Series, *, allows_lists: bool) -> None:
    """Raise TableError for a target column whose cells are no words, numbers, dates or lists of these."""
    dtype = series.dtype
    cell = dtype.inner if allows_lists and isinstance(dtype, pl.List) else dtype
    if cell.is_nested() or cell in (pl.Binary, pl.Object, pl.Duration):
        raise TableError(
            f"The target {series.name!r} must hold words, numbers, dates or lists of labels, but its type is {dtype}. "
            "Convert the column, or choose another one."
        )


def _single_target(
    cells: TargetCells, task: Task | None, marks: DecimalMarks, messages: list[str] | None
) -> SupervisedTask:
    name, numbers, strays = cells.name, cells.typed.values, cells.strays
    if task != "multiclass" and len(strays) and numbers.n_unique() > MAX_INTEGER_CLASSES:
        n_numbers = numbers.count()
        raise TableError(
            f"The target {name!r} holds numbers in {n_numbers} of {n_numbers + len(strays)} cells, but "
            f"{len(strays)} other values, such as {strays[0]!r}. Correct or empty these cells; or, if all values are "
            "classes, use --task multiclass."
        )
    _check_units(cells, task)
    _check_distinct(cells)
    reason, hint = "as given", ""
    if task is None:
        task, reason, hint = _guess_task(cells)
    if task == "multilabel":
        raise TableError(f"Task multilabel needs several target columns, but only {name!r} is given. "
                         "Use --target a,b,c.")  # fmt: skip
    if task != "regression":
        return _class_target(cells, task, reason, hint, messages)
    if not cells.is_numeric:
        raise TableError(
            f"Task regression needs numbers, but the target {name!r} holds {strays[0]!r}. Use --task multiclass."
        )
    y = _check_finite(numbers.alias(name)).reshape(-1, 1)
    return SupervisedTask("regression", (name,), (), y, reason, hint, columns=(cells.number_column(marks),))


def _check_units(cells: TargetCells, task: Task | None) -> None:
    """Raise TableError for many values that are numbers in different units."""
    notes, has_numbers = cells.typed.notes, cells.typed.values.count() > 0
    if notes and not has_numbers and task != "multiclass" and cells.n_distinct > MAX_INTEGER_CLASSES:
        raise TableError(
            f"The target {cells.name!r} holds numbers in different units ({notes[0].detail}). Convert them to one "
            "unit; or, if all values are classes, use --task multiclass."
        )


def _check_distinct(cells: TargetCells) -> None:
    """Raise TableError if a target holds fewer than two values."""
    if cells.n_distinct == 0:
        raise TableError(f"The target {cells.name!r} has no values. Choose another column.")
    if cells.n_distinct == 1:
        value = cells.values.drop_nulls()[0]
        raise TableError(f"The target {cells.name!r} holds one value only, {value!r}; training needs two or more.")


def _class_target(cells: TargetCells, task: Task, reason: str, hint: str, messages: list[str] | None) -> SupervisedTask:
    n, n_distinct = len(cells.values), cells.n_distinct
    if task == "binary" and n_distinct != 2:
        raise TableError(
            f"Task binary needs two classes, but the target {cells.name!r} holds {n_distinct}. Use --task multiclass."
        )
    if n_distinct > max(MAX_INTEGER_CLASSES, n // 4):
        advice = "Use --task regression if they are values, or choose" if cells.is_numeric else "Choose"
        raise TableError(
            f"The target {cells.name!r} holds {n_distinct} different values in {n} rows, too many for classes. "
            f"{advice} another column."
        )
    labels, codes = cells.labels()
    if messages is not None:
        messages += [f"{cells.name}: {similar}" for similar in similar_labels(labels)]
    task, y = "binary" if n_distinct == 2 else "multiclass", codes.fill_null(np.nan).to_numpy()
    return SupervisedTask(task, (cells.name,), labels, y, reason, hint, columns=(cells.class_column(),))


def _multiple_targets(cells: list[TargetCells], task: Task | None, marks: DecimalMarks) -> SupervisedTask:
    names = tuple(column.name for column in cells)
    for column in cells:
        _check_distinct(column)
    if task in (None, "multilabel") and all(column.n_distinct == 2 for column in cells):
        label_pairs, indicators = zip(*(_label_pair(column) for column in cells), strict=True)
        reason, columns = f"{len(names)} columns of two values each", tuple(column.class_column() for column in cells)
        y = np.column_stack(indicators)
        return SupervisedTask("multilabel", names, (), y, reason, label_pairs=label_pairs, columns=columns)
    if task in (None, "regression") and all(column.is_numeric for column in cells):
        y = np.column_stack([_check_finite(column.typed.values.alias(column.name)) for column in cells])
        columns = tuple(column.number_column(marks) for column in cells)
        return SupervisedTask("regression", names, (), y, f"{len(names)} columns of numbers", columns=columns)
    raise TableError(
        f"The targets {format_list(names)} must all hold two values (labels) or all hold numbers (values). Fit one "
        "model for each."
    )


def _label_pair(cells: TargetCells) -> tuple[tuple[Label, Label], np.ndarray]:
    """How no and yes of a label are written, and its indicator (n,), NaN if missing."""
    (off, on), codes = cells.labels()
    indicator = codes.fill_null(np.nan).to_numpy()
    return ((on, off), 1 - indicator) if is_yes(str(off)) and not is_yes(str(on)) else ((off, on), indicator)


def _list_target(series: pl.Series) -> SupervisedTask:
    labels = tuple(sorted(series.explode().drop_nulls().cast(pl.String).unique().to_list()))
    if not labels:
        raise TableError(f"The target {series.name!r} has no values. Choose another column.")
    y = _labels_to_indicators(series, labels)
    return SupervisedTask("multilabel", labels, (), y, f"lists of {len(labels)} labels", list_column=series.name)


def _tag_target(series: pl.Series) -> SupervisedTask:
    """Targets of one tag for each step of a row: lists, or words separated by spaces."""
    rows = _tag_lists(series)
    labels = tuple(make_labels(rows.explode().drop_nulls().unique(), pl.String(), is_typed=False).values())
    if len(labels) < 2:
        raise TableError(
            f"The target {series.name!r} must hold two different tags or more, but holds {format_list(labels)}."
        )
    y = _tag_indices(rows, labels)
    return SupervisedTask("tagging", (series.name,), labels, y, f"{len(labels)} tags for each step")


def _tag_lists(series: pl.Series) -> pl.Series:
    if series.dtype == pl.List:
        return series.cast(pl.List(pl.String))
    return series.cast(pl.String).str.extract_all(r"\S+")


def _tag_indices(rows: pl.Series, labels: Sequence[Label]) -> np.ndarray:
    """The indices (n, T) of the tags, -1 after the end of a row, NaN for rows without tags."""
    tag_index = {str(label): index for index, label in enumerate(labels)}
    max_length = max((len(tags) for tags in rows.to_list() if tags), default=1)
    y = np.full((len(rows), max_length), -1.0)
    for k, tags in enumerate(rows.to_list()):
        if tags is None:
            y[k] = np.nan
            continue
        unknown = next((tag for tag in tags if tag not in tag_index), None)
        if unknown is not None:
            raise TableError(
                f"The target {rows.name!r} holds the tag {unknown!r}, but the tags are {format_list(labels)}."
            )
        y[k, : len(tags)] = [tag_index[tag] for tag in tags]
    return y


def _labels_to_indicators(series: pl.Series, labels: Sequence[str]) -> np.ndarray:
    cells = series.cast(pl.List(pl.String))
    indicators = [cells.list.contains(label).cast(pl.Float64).fill_null(np.nan).to_numpy() for label in labels]
    return np.column_stack(indicators)


def adapt_to_table(
    schema: Schema, target: Target, frame: pl.DataFrame, format: TableFormat, messages: list[str]
) -> tuple[Schema, Target]:
    """A schema and a target with numbers in the format of a later table, which its inputs and targets prove together.

    `messages` receives which columns are written otherwise than in training. Raises TableError if a format is unknown.
    """
    notes: Notes = []
    targets = Schema(columns=target.columns)
    formats = Schema(columns=(*schema.columns, *target.columns)).adapt(frame, format, notes).number_formats
    messages += summarize_notes(notes)
    columns = targets.with_number_formats(formats).columns
    return schema.with_number_formats(formats), target.model_copy(update={"columns": columns})


def read_targets(
    frame: pl.DataFrame,
    target: Target,
    messages: list[str] | None = None,
    format: TableFormat = DETECT_FORMAT,
) -> np.ndarray:
    """Read the target columns of a table with the labels of a fitted target, as `SupervisedTask.y`, NaN where missing.

    Classes are recognized as `match_labels` does. `messages` receives a message for each spelling of a class that is
    read as another; `format` is how the table is written, as far as it differs from the training table.

    Raises:
        TableError: if a target column is missing, or holds a value that the target does not have.
    """
    for name in (target.list_column,) if target.list_column else target.names:
        if name not in frame.columns:
            raise TableError(
                f"The table lacks the target {name!r}, which evaluation needs.{did_you_mean(name, frame.columns)}"
            )
        _check_type(frame[name], allows_lists=bool(target.list_column) or target.task == "tagging")
    if target.task == "tagging":
        return _tag_indices(_tag_lists(frame[target.names[0]]), target.labels)
    if target.list_column:
        if frame[target.list_column].dtype != pl.List:
            raise TableError(f"The target {target.list_column!r} must hold lists of labels, as in training.")
        return _labels_to_indicators(frame[target.list_column], target.names)
    saved = target.columns or tuple(
        Column(name=name, kind="number" if target.task == "regression" else "category") for name in target.names
    )
    schema = Schema(columns=saved)
    schema = schema if format.missing is None else schema.with_missing(make_rule(format.missing))
    if target.task == "regression":
        return _read_values(frame, schema, messages, format)
    rules = [column.missing_rule for column in schema.columns]
    if format.is_typed:
        rules = [MissingRule(with_markers=False, words=rule.words) for rule in rules]
    if target.task == "multilabel":
        pairs = target.label_pairs or [(0, 1)] * len(target.names)
        indicators = [
            match_labels(frame[name], pair, rule, messages, "values must be")
            for name, pair, rule in zip(target.names, pairs, rules, strict=True)
        ]
        return np.column_stack(indicators)
    return match_labels(frame[target.names[0]], target.labels, rules[0], messages, "classes are")


def _read_values(frame: pl.DataFrame, schema: Schema, messages: list[str] | None, format: TableFormat) -> np.ndarray:
    """The targets (n, K) of a regression, written as in training."""
    notes, values = Notes(), []
    for column in schema.adapt(frame, format, notes).columns:
        text = column.missing_rule.apply(strip_cells(frame[column.name]))
        typed = read_numbers(text, column.number_format)
        strays = text.filter(typed.values.is_null() & text.is_not_null())
        if len(strays):
            raise TableError(
                f"The target {column.name!r} must hold numbers, but holds {strays[0]!r}. Correct the table."
            )
        notes += [(column.name, note) for note in typed.notes]
        values.append(_check_finite(typed.values))
    if messages is not None:
        messages += summarize_notes(notes)
    return np.column_stack(values)


def _guess_task(cells: TargetCells) -> tuple[Task, str, str]:
    """Guess the task from the values; say why, and how to choose the other one that is possible."""
    n_distinct = cells.n_distinct
    if n_distinct == 2:
        return "binary", "two values", ""
    has_unit = cells.typed.format.unit and n_distinct <= MAX_INTEGER_CLASSES
    if not cells.is_numeric or has_unit:
        return "multiclass", f"{n_distinct} classes", ""
    if cells.are_codes:
        return "multiclass", "codes with leading zeros", "use --task regression for values"
    numbers = cells.typed.values.drop_nulls()
    is_integer, low, high = all_integers(numbers), float(numbers.min() or 0), float(numbers.max() or 0)  # type: ignore[arg-type]
    if is_integer and low in (0.0, 1.0) and high == low + n_distinct - 1 and n_distinct <= MAX_INTEGER_CLASSES:
        return "multiclass", f"the integers from {low:.0f} to {high:.0f}", "use --task regression for values"
    is_few = is_integer and n_distinct <= MAX_INTEGER_CLASSES
    return "regression", f"{n_distinct} different numbers", "use --task multiclass for classes" if is_few else ""


def _check_finite(numbers: pl.Series) -> np.ndarray:
    infinite = ~numbers.is_finite().fill_null(True)
    if infinite.any():
        raise TableError(
            f"The target {numbers.name!r} holds an infinite number in row {(infinite.arg_max() or 0) + 1}. "
            "Write a finite number there, or leave the cell empty."
        )
    return numbers.fill_null(np.nan).to_numpy()
