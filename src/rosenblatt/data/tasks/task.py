"""Detect the task from the target columns of a table, and encode their values as numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.schema.cells import (
    BOOLEANS,
    MARKERS_IN_TARGETS,
    all_integers,
    normalize_cells,
)
from rosenblatt.data.schema.columns import Column, Notes, Schema
from rosenblatt.data.schema.decimal_marks import DecimalMarks, detect_marks
from rosenblatt.data.schema.notes import summarize_notes
from rosenblatt.data.schema.numbers import TypedNumbers, infer_numbers, read_numbers
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.data.tasks.target import Label, Target
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
    """Find a column by name, or by number from 1, or from -1 for the last one. Raises TableError if there is none."""
    if name in frame.columns:
        return name
    if re.fullmatch(r"-?[0-9]{1,9}", name) and 1 <= abs(int(name)) <= frame.width:
        return frame.columns[int(name) - (int(name) > 0)]
    hint = did_you_mean(name, frame.columns)
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
        messages: receives a message for each spelling of a class that is read as another.

    Raises:
        TableError: if the columns do not hold what the task needs, or hold one value only.
    """
    series = [frame[name] for name in names]
    for column in series:
        _check_type(column, allows_lists=len(series) == 1)
    if task == "tagging":
        return _tag_target(series[0])
    marks = detect_marks(frame, format)
    if len(series) > 1:
        return _multiple_targets(series, task, marks)
    if series[0].dtype == pl.List:
        return _list_target(series[0])
    return _single_target(series[0], task, marks, messages)


def _typed_numbers(series: pl.Series, marks: DecimalMarks) -> TypedNumbers:
    return infer_numbers(normalize_cells(series, MARKERS_IN_TARGETS), marks[series.name], marks.thousands)


def _number_column(typed: TypedNumbers, marks: DecimalMarks) -> Column:
    """How the values of a regression are written."""
    name, values = typed.values.name, typed.values
    is_fraction = bool((values.abs() <= 1).all())
    number_format = typed.format.model_copy(update={"decimal": marks[name], "is_fraction": is_fraction})
    notes = (*typed.notes, *([marks.notes[name]] if name in marks.notes else []))
    return Column(name=name, kind="number", number_format=number_format, notes=notes)


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
    series: pl.Series, task: Task | None, marks: DecimalMarks, messages: list[str] | None
) -> SupervisedTask:
    text, typed = _to_text(series), _typed_numbers(series, marks)
    numbers = typed.values
    strays = text.filter(numbers.is_null() & text.is_not_null())
    is_numeric = strays.is_empty()
    if task != "multiclass" and not is_numeric and numbers.n_unique() > MAX_INTEGER_CLASSES:
        n_values = len(text) - text.null_count()
        raise TableError(
            f"The target {series.name!r} holds numbers in {n_values - len(strays)} of {n_values} cells, but "
            f"{len(strays)} other values, such as {strays[0]!r}. Correct or empty these cells; or, if all values are "
            "classes, use --task multiclass."
        )
    n_distinct = text.n_unique() - text.has_nulls()
    _check_units(typed, n_distinct, task)
    if n_distinct == 0:
        raise TableError(f"The target {series.name!r} has no values. Choose another column.")
    if n_distinct == 1:
        raise TableError(
            f"The target {series.name!r} holds one value only, {text.drop_nulls()[0]!r}; training needs two or more."
        )
    if task is None:
        are_classes = not is_numeric or (typed.format.unit and n_distinct <= MAX_INTEGER_CLASSES)
        task, reason = _guess_task(None if are_classes else numbers.drop_nulls(), n_distinct)
    else:
        reason = "as given"
    if task == "multilabel":
        raise TableError(
            f"Task multilabel needs several target columns, but only {series.name!r} is given. Use --target a,b,c."
        )
    if task != "regression":
        return _class_target(text, task, reason, n_distinct, messages)
    if not is_numeric:
        raise TableError(
            f"Task regression needs numbers, but the target {series.name!r} holds {strays[0]!r}. Use --task multiclass."
        )
    y = _check_finite(numbers).reshape(-1, 1)
    return SupervisedTask("regression", (series.name,), (), y, reason, columns=(_number_column(typed, marks),))


def _check_units(typed: TypedNumbers, n_distinct: int, task: Task | None) -> None:
    """Raise TableError for many values that are numbers in different units."""
    if typed.notes and not typed.values.count() and task != "multiclass" and n_distinct > MAX_INTEGER_CLASSES:
        raise TableError(
            f"The target {typed.values.name!r} holds numbers in different units ({typed.notes[0].detail}). Convert "
            "them to one unit; or, if all values are classes, use --task multiclass."
        )


def _class_target(
    text: pl.Series, task: Task, reason: str, n_distinct: int, messages: list[str] | None
) -> SupervisedTask:
    if task == "binary" and n_distinct != 2:
        raise TableError(
            f"Task binary needs two classes, but the target {text.name!r} holds {n_distinct}. Use --task multiclass."
        )
    text = _unify_spelling(text, messages)
    n_distinct = text.n_unique() - text.has_nulls()
    if n_distinct == 1:
        raise TableError(
            f"The target {text.name!r} holds one class only, {text.drop_nulls()[0]!r}; training needs two or more."
        )
    if n_distinct > max(MAX_INTEGER_CLASSES, len(text) // 4):
        raise TableError(
            f"The target {text.name!r} holds {n_distinct} different values in {len(text)} rows, too many for classes. "
            "Choose another column."
        )
    labels = _sorted_labels(text.drop_nulls().unique().to_list())
    names, numbers = [str(label) for label in labels], list(range(len(labels)))
    codes = text.replace_strict(names, numbers, return_dtype=pl.Float64, default=None).fill_null(np.nan)
    task = "binary" if n_distinct == 2 else "multiclass"
    return SupervisedTask(task, (text.name,), labels, codes.to_numpy(), reason)


def _unify_spelling(text: pl.Series, messages: list[str] | None) -> pl.Series:
    """Merge classes that differ only in case or a final period or space into the most frequent spelling."""
    spellings = text.drop_nulls().alias("class").value_counts(name="rows", sort=True)["class"].to_list()
    canonical: dict[str, str] = {}
    for value in spellings:
        canonical.setdefault(_normalize_label(value), value)
    replacements = {
        value: canonical[_normalize_label(value)] for value in spellings if canonical[_normalize_label(value)] != value
    }
    if messages is not None:
        messages += [f"{text.name}: {value!r} is read as {spelling!r}" for value, spelling in replacements.items()]
    return text.replace(replacements) if replacements else text


def _multiple_targets(series: list[pl.Series], task: Task | None, marks: DecimalMarks) -> SupervisedTask:
    texts = [_to_text(column) for column in series]
    names = tuple(column.name for column in series)
    values = [_sorted_labels(text.drop_nulls().unique().to_list()) for text in texts]
    for name, column_values in zip(names, values, strict=True):
        if len(column_values) < 2:
            raise TableError(f"The target {name!r} holds one value only, {column_values}; training needs two or more.")
    if task in (None, "multilabel") and all(len(pair) == 2 for pair in values):
        label_pairs = tuple((off, on) if not _is_true(off) else (on, off) for off, on in values)
        y = np.column_stack([_pair_to_indicator(text, pair)[0] for text, pair in zip(texts, label_pairs, strict=True)])
        return SupervisedTask("multilabel", names, (), y, f"{len(names)} columns of two values each", label_pairs)
    typed = [_typed_numbers(column, marks) for column in series]
    is_numeric = all(t.values.null_count() == text.null_count() for t, text in zip(typed, texts, strict=True))
    if task in (None, "regression") and is_numeric:
        y = np.column_stack([_check_finite(t.values) for t in typed])
        columns = tuple(_number_column(t, marks) for t in typed)
        return SupervisedTask("regression", names, (), y, f"{len(names)} columns of numbers", columns=columns)
    raise TableError(
        f"The targets {format_list(names)} must all hold two values (labels) or all hold numbers (values). Fit one "
        "model for each."
    )


def _list_target(series: pl.Series) -> SupervisedTask:
    labels = tuple(sorted(series.explode().drop_nulls().cast(pl.String).unique().to_list()))
    if not labels:
        raise TableError(f"The target {series.name!r} has no values. Choose another column.")
    y = _labels_to_indicators(series, labels)
    return SupervisedTask("multilabel", labels, (), y, f"lists of {len(labels)} labels", (), series.name)


def _tag_target(series: pl.Series) -> SupervisedTask:
    """Targets of one tag for each step of a row: lists, or words separated by spaces."""
    rows = _tag_lists(series)
    labels = _sorted_labels(rows.explode().drop_nulls().unique().to_list())
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

    Class names match regardless of case, surrounding spaces and a trailing period. `messages` receives a message for
    each spelling of a class that is read as another; `format` is how the table is written, as far as it differs from
    the training table.

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
    if target.task == "regression":
        return _read_values(frame, target, messages, format)
    texts = [_to_text(frame[name]) for name in target.names]
    if target.task == "multilabel":
        return np.column_stack([_parse_label(text, pair) for text, pair in zip(texts, target.label_pairs, strict=True)])
    return _class_indices(texts[0], target, messages)


def _read_values(frame: pl.DataFrame, target: Target, messages: list[str] | None, format: TableFormat) -> np.ndarray:
    """The targets (n, K) of a regression, written as in training."""
    notes: Notes = []
    saved = target.columns or tuple(Column(name=name, kind="number") for name in target.names)
    values = []
    for column in Schema(columns=saved).adapt(frame, format, notes).columns:
        text = normalize_cells(frame[column.name], MARKERS_IN_TARGETS)
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


def _class_indices(text: pl.Series, target: Target, messages: list[str] | None) -> np.ndarray:
    indices = {str(label): index for index, label in enumerate(target.labels)}
    normalized_indices = {_normalize_label(str(label)): index for index, label in enumerate(target.labels)}
    codes = dict(indices)
    for value in text.drop_nulls().unique().sort().to_list():
        if value in indices:
            continue
        index = normalized_indices.get(_normalize_label(value)) if len(normalized_indices) == len(indices) else None
        if index is None:
            raise TableError(
                f"The target {text.name!r} holds {value!r}, but the classes are {format_list(target.labels)}. Correct "
                "the table."
            )
        codes[value] = index
        if messages is not None:
            messages.append(f"{text.name}: {value!r} is read as {target.labels[index]!r}")
    numbers = text.replace_strict(list(codes), list(codes.values()), return_dtype=pl.Float64, default=None)
    return numbers.fill_null(np.nan).to_numpy()


def _normalize_label(value: str) -> str:
    return value.casefold().rstrip(". ").strip()


def _to_text(series: pl.Series) -> pl.Series:
    """Target values as strings, with 1.0 as "1"."""
    text = normalize_cells(series, MARKERS_IN_TARGETS)
    if series.dtype == pl.Boolean:
        return text
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count() and all_integers(numbers.drop_nulls()):
        return numbers.cast(pl.Int64).cast(pl.String).alias(series.name)
    return text


def _guess_task(numbers: pl.Series | None, n_distinct: int) -> tuple[Task, str]:
    """Guess the task from the values, given as numbers if all are, and say why."""
    if n_distinct == 2:
        return "binary", "two values"
    if numbers is None:
        return "multiclass", f"{n_distinct} classes"
    low, high = float(numbers.min() or 0), float(numbers.max() or 0)  # type: ignore[arg-type]
    are_class_indices = all_integers(numbers) and low in (0.0, 1.0) and high == low + n_distinct - 1
    if are_class_indices and n_distinct <= MAX_INTEGER_CLASSES:
        return "multiclass", f"the integers from {low:.0f} to {high:.0f}; use --task regression for values"
    return "regression", f"{n_distinct} different numbers"


def _sorted_labels(values: list[str]) -> tuple[Label, ...]:
    """The sorted classes; those written as integers become integers."""
    if all(re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", value) for value in values):
        return tuple(sorted(int(value) for value in values))
    return tuple(sorted(values))


def _is_true(value: Label) -> bool:
    return BOOLEANS.get(str(value).lower(), False)


def _pair_to_indicator(text: pl.Series, label_pair: tuple[Label, Label]) -> tuple[np.ndarray, pl.Series]:
    """An indicator (n,) of a label, NaN if missing or unknown, and the cells with unknown values."""
    lower = text.str.to_lowercase()
    off, on = (str(word).lower() for word in label_pair)
    indicator = lower.replace_strict([off, on], [0.0, 1.0], default=None, return_dtype=pl.Float64)
    return indicator.fill_null(np.nan).to_numpy(), text.filter(indicator.is_null() & text.is_not_null())


def _parse_label(text: pl.Series, label_pair: tuple[Label, Label]) -> np.ndarray:
    indicator, strays = _pair_to_indicator(text, label_pair)
    if len(strays):
        raise TableError(
            f"The target {text.name!r} holds {strays[0]!r}, but the values must be {format_list(label_pair)}. Correct "
            "the table."
        )
    return indicator


def _check_finite(numbers: pl.Series) -> np.ndarray:
    infinite = ~numbers.is_finite().fill_null(True)
    if infinite.any():
        raise TableError(
            f"The target {numbers.name!r} holds an infinite number in row {(infinite.arg_max() or 0) + 1}. "
            "Write a finite number there, or leave the cell empty."
        )
    return numbers.fill_null(np.nan).to_numpy()
