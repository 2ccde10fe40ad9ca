"""In: a table and the names of its target columns. Out: the task, and what is to be predicted as numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.schema.cells import BOOLEANS, MARKERS_IN_TARGETS, clean, is_whole, parse_numbers
from rosenblatt.data.tasks.target import Label, Target
from rosenblatt.errors import TableError, listed, nearest
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec

MOST_NUMBERED_CLASSES = 20  # more whole numbers than this are values, not classes


@dataclass(frozen=True)
class Question:
    """What is asked of a table: the task, and the answers in its rows."""

    task: Task
    names: tuple[str, ...]
    labels: tuple[Label, ...]
    y: np.ndarray  # (n,) class numbers, (n, labels) zeros and ones, or (n, targets) values; NaN where missing
    reason: str  # why it was taken to be this task
    words: tuple[tuple[Label, Label], ...] = ()  # as in `Target`
    lists: str = ""  # as in `Target`
    notes: tuple[str, ...] = ()  # what was read leniently

    def target(self, y: np.ndarray, spec: Spec) -> Target:
        """The target, how it is spread being learnt from the training rows y. Raises SpecError."""
        if self.task == "regression":
            target = Target.of_values(self.names, y, spec.data.target_transform, spec.training.loss)
        else:
            target = Target(names=self.names, task=self.task, labels=self.labels, words=self.words, lists=self.lists)
        return target.taught_by(spec, y)


def has_answers(y: np.ndarray) -> np.ndarray:
    """Which rows (n,) have all their answers; y as in `Question`."""
    return ~np.isnan(y.reshape(len(y), -1)).any(axis=1)


def column_name(frame: pl.DataFrame, asked: str) -> str:
    """The column that is asked for by name, or by number from 1 (from the end where negative). Raises TableError."""
    if asked in frame.columns:
        return asked
    if re.fullmatch(r"-?[0-9]{1,9}", asked) and 1 <= abs(int(asked)) <= frame.width:
        return frame.columns[int(asked) - (int(asked) > 0)]
    hint = nearest(asked, frame.columns)
    raise TableError(f"There is no column {asked!r}; the table has {listed(frame.columns)}.{hint}")


def ask(frame: pl.DataFrame, names: Sequence[str], task: Task | None = None) -> Question:
    """Find out the task from the target columns, or take the one given.

    Raises:
        TableError: where the columns do not hold what the task needs, or but one value.
    """
    series = [frame[name] for name in names]
    if task == "tagging":
        return _tags(series[0])
    if len(series) > 1:
        return _several(series, task)
    if series[0].dtype == pl.List:
        return _lists(series[0])
    return _one(series[0], task)


def _one(series: pl.Series, task: Task | None) -> Question:
    text = _text(series)
    _, numbers = parse_numbers(text)
    strays = text.filter(numbers.is_null() & text.is_not_null())
    numeric = strays.is_empty()
    if task != "multiclass" and not numeric and numbers.n_unique() > MOST_NUMBERED_CLASSES:
        found = len(text) - text.null_count()
        raise TableError(
            f"The target {series.name!r} holds numbers in {found - len(strays)} of {found} cells, but {len(strays)} "
            f"are none, such as {strays[0]!r}. Correct or empty these; or, if all are classes, use --task multiclass."
        )
    distinct = text.n_unique() - text.has_nulls()
    if distinct == 0:
        raise TableError(f"The target {series.name!r} has no values at all. Choose another column.")
    if distinct == 1:
        raise TableError(
            f"The target {series.name!r} holds one value only, {text.drop_nulls()[0]!r}; two or more are needed to "
            "learn from."
        )
    if task is None:
        task, reason = _likely_task(numbers.drop_nulls() if numeric else None, distinct)
    else:
        reason = "as asked"
    if task == "multilabel":
        raise TableError(
            f"Task multilabel needs several target columns, but {series.name!r} is one. Name them all: --target a,b,c."
        )
    if task != "regression":
        return _classes(text, task, reason, distinct)
    if not numeric:
        raise TableError(
            f"Task regression needs numbers, but the target {series.name!r} holds {strays[0]!r}. Use --task multiclass."
        )
    return Question("regression", (series.name,), (), _finite(numbers).reshape(-1, 1), reason)


def _classes(text: pl.Series, task: Task, reason: str, distinct: int) -> Question:
    if task == "binary" and distinct != 2:
        raise TableError(
            f"Task binary needs two classes, but the target {text.name!r} holds {distinct}. Use --task multiclass."
        )
    text, notes = _one_spelling(text)
    distinct = text.n_unique() - text.has_nulls()
    if distinct == 1:
        raise TableError(f"The target {text.name!r} holds one class only, {text.drop_nulls()[0]!r}.")
    if distinct > max(MOST_NUMBERED_CLASSES, len(text) // 4):
        raise TableError(
            f"The target {text.name!r} holds {distinct} different values in {len(text)} rows, too many for classes. Is "
            "it the right column?"
        )
    labels = _sorted_labels(text.drop_nulls().unique().to_list())
    names, numbers = [str(label) for label in labels], list(range(len(labels)))
    codes = text.replace_strict(names, numbers, return_dtype=pl.Float64, default=None).fill_null(np.nan)
    task = "binary" if distinct == 2 else "multiclass"
    return Question(task, (text.name,), labels, codes.to_numpy(), reason, notes=notes)


def _one_spelling(text: pl.Series) -> tuple[pl.Series, tuple[str, ...]]:
    """Classes that differ in case, or by blanks or a point at their end, as one; the most frequent spelling wins."""
    counts = text.drop_nulls().alias("class").value_counts(name="rows", sort=True)["class"].to_list()
    first: dict[str, str] = {}
    for value in counts:
        first.setdefault(_loosely(value), value)
    other = {value: first[_loosely(value)] for value in counts if first[_loosely(value)] != value}
    notes = tuple(f"{text.name}: {value!r} is read as {kept!r}" for value, kept in other.items())
    return text.replace(other) if other else text, notes


def _several(series: list[pl.Series], task: Task | None) -> Question:
    texts = [_text(column) for column in series]
    names = tuple(column.name for column in series)
    values = [_sorted_labels(text.drop_nulls().unique().to_list()) for text in texts]
    for name, found in zip(names, values, strict=True):
        if len(found) < 2:
            raise TableError(
                f"The target {name!r} holds one value only, {found}; two or more are needed to learn from."
            )
    if task in (None, "multilabel") and all(len(found) == 2 for found in values):
        words = tuple((off, on) if not _is_yes(off) else (on, off) for off, on in values)
        y = np.column_stack([_holds(text, pair)[0] for text, pair in zip(texts, words, strict=True)])
        return Question("multilabel", names, (), y, f"{len(names)} columns of two values each", words)
    numbers = [parse_numbers(text)[1] for text in texts]
    numeric = all(n.null_count() == text.null_count() for n, text in zip(numbers, texts, strict=True))
    if task in (None, "regression") and numeric:
        y = np.column_stack([_finite(n) for n in numbers])
        return Question("regression", names, (), y, f"{len(names)} columns of numbers")
    raise TableError(
        f"The targets {listed(names)} are neither all of two values (several labels) nor all numbers (several values). "
        "Fit one model for each."
    )


def _lists(series: pl.Series) -> Question:
    labels = tuple(sorted(series.explode().drop_nulls().cast(pl.String).unique().to_list()))
    if not labels:
        raise TableError(f"The target {series.name!r} has no values at all. Choose another column.")
    y = _members_of_lists(series, labels)
    return Question("multilabel", labels, (), y, f"lists of {len(labels)} labels", (), series.name)


def _tags(series: pl.Series) -> Question:
    """For each row as many tags as it has steps: lists, or words with blanks between them."""
    rows = _tag_lists(series)
    labels = _sorted_labels(rows.explode().drop_nulls().unique().to_list())
    if len(labels) < 2:
        raise TableError(f"The target {series.name!r} must hold two tags or more, but holds {listed(labels)}.")
    y = _tag_numbers(rows, labels)
    return Question("tagging", (series.name,), labels, y, f"{len(labels)} tags for each step")


def _tag_lists(series: pl.Series) -> pl.Series:
    if series.dtype == pl.List:
        return series.cast(pl.List(pl.String))
    return series.cast(pl.String).str.extract_all(r"\S+")


def _tag_numbers(rows: pl.Series, labels: Sequence[Label]) -> np.ndarray:
    """(n, T) numbers of the tags, -1 after the end of a row, NaN where there are none."""
    place = {str(label): number for number, label in enumerate(labels)}
    longest = max((len(tags) for tags in rows.to_list() if tags), default=1)
    y = np.full((len(rows), longest), -1.0)
    for k, tags in enumerate(rows.to_list()):
        if tags is None:
            y[k] = np.nan
            continue
        unknown = next((tag for tag in tags if tag not in place), None)
        if unknown is not None:
            raise TableError(f"The target {rows.name!r} holds the tag {unknown!r}, but known are {listed(labels)}.")
        y[k, : len(tags)] = [place[tag] for tag in tags]
    return y


def _members_of_lists(series: pl.Series, labels: Sequence[str]) -> np.ndarray:
    cells = series.cast(pl.List(pl.String))
    holds = [cells.list.contains(label).cast(pl.Float64).fill_null(np.nan).to_numpy() for label in labels]
    return np.column_stack(holds)


def read_answers(frame: pl.DataFrame, target: Target) -> tuple[np.ndarray, list[str]]:
    """The answers in a table for a model's target, as `Question.y`, NaN where missing; and what was read leniently.

    A class is also recognized where it differs in case, or by blanks or a point at its end. Raises TableError for
    others.
    """
    for name in (target.lists,) if target.lists else target.names:
        if name not in frame.columns:
            raise TableError(
                f"The table lacks the target {name!r}, without which nothing can be evaluated."
                f"{nearest(name, frame.columns)}"
            )
    if target.task == "tagging":
        return _tag_numbers(_tag_lists(frame[target.names[0]]), target.labels), []
    if target.lists:
        if frame[target.lists].dtype != pl.List:
            raise TableError(f"The target {target.lists!r} held lists of labels, but not in this table.")
        return _members_of_lists(frame[target.lists], target.names), []
    texts = [_text(frame[name]) for name in target.names]
    if target.task == "multilabel":
        return np.column_stack([_label(text, pair) for text, pair in zip(texts, target.words, strict=True)]), []
    if target.task == "regression":
        columns = [parse_numbers(text)[1] for text in texts]
        for text, numbers in zip(texts, columns, strict=True):
            strays = text.filter(numbers.is_null() & text.is_not_null())
            if len(strays):
                raise TableError(
                    f"The target {text.name!r} must hold numbers, but holds {strays[0]!r}. Correct the table."
                )
        return np.column_stack([_finite(numbers) for numbers in columns]), []
    return _known_classes(texts[0], target)


def _known_classes(text: pl.Series, target: Target) -> tuple[np.ndarray, list[str]]:
    exact = {str(label): number for number, label in enumerate(target.labels)}
    loose = {_loosely(str(label)): number for number, label in enumerate(target.labels)}
    notes, codes = [], dict(exact)
    for value in text.drop_nulls().unique().sort().to_list():
        if value in exact:
            continue
        number = loose.get(_loosely(value)) if len(loose) == len(exact) else None
        if number is None:
            raise TableError(
                f"The target {text.name!r} holds {value!r}, but the model knows {listed(target.labels)}. Correct the "
                "table."
            )
        codes[value] = number
        notes.append(f"{text.name}: {value!r} is read as {target.labels[number]!r}")
    numbers = text.replace_strict(list(codes), list(codes.values()), return_dtype=pl.Float64, default=None)
    return numbers.fill_null(np.nan).to_numpy(), notes


def _loosely(value: str) -> str:
    return value.casefold().rstrip(". ").strip()


def _text(series: pl.Series) -> pl.Series:
    """The answers as strings, in which 1 and 1.0 are the same."""
    text = clean(series, MARKERS_IN_TARGETS)
    if series.dtype == pl.Boolean:
        return text
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count() and is_whole(numbers.drop_nulls()):
        return numbers.cast(pl.Int64).cast(pl.String).alias(series.name)
    return text


def _likely_task(numbers: pl.Series | None, distinct: int) -> tuple[Task, str]:
    """The task that the values suggest (`numbers` where they are some), and why."""
    if distinct == 2:
        return "binary", "two values"
    if numbers is None:
        return "multiclass", f"{distinct} classes"
    low, high = float(numbers.min() or 0), float(numbers.max() or 0)  # type: ignore[arg-type]
    counted = is_whole(numbers) and low in (0.0, 1.0) and high == low + distinct - 1
    if counted and distinct <= MOST_NUMBERED_CLASSES:
        return "multiclass", f"the whole numbers from {low:.0f} to {high:.0f}; --task regression for a value"
    return "regression", f"numbers, {distinct} different ones"


def _sorted_labels(values: list[str]) -> tuple[Label, ...]:
    """The classes in order; those written as whole numbers are numbers."""
    if all(re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", value) for value in values):
        return tuple(sorted(int(value) for value in values))
    return tuple(sorted(values))


def _is_yes(value: Label) -> bool:
    return BOOLEANS.get(str(value).lower(), False)


def _holds(text: pl.Series, words: tuple[Label, Label]) -> tuple[np.ndarray, pl.Series]:
    """1 where a label holds, 0 where not, NaN where missing or neither, (n,); and the cells that are neither."""
    lower = text.str.to_lowercase()
    off, on = (str(word).lower() for word in words)
    holds = lower.replace_strict([off, on], [0.0, 1.0], default=None, return_dtype=pl.Float64)
    return holds.fill_null(np.nan).to_numpy(), text.filter(holds.is_null() & text.is_not_null())


def _label(text: pl.Series, words: tuple[Label, Label]) -> np.ndarray:
    holds, strays = _holds(text, words)
    if len(strays):
        raise TableError(
            f"The target {text.name!r} holds {strays[0]!r}, but the model knows {listed(words)}. Correct the table."
        )
    return holds


def _finite(numbers: pl.Series) -> np.ndarray:
    infinite = ~numbers.is_finite().fill_null(True)
    if infinite.any():
        raise TableError(
            f"The target {numbers.name!r} holds an infinite number in row {(infinite.arg_max() or 0) + 1}. "
            "Write a finite number there, or leave the cell empty."
        )
    return numbers.fill_null(np.nan).to_numpy()
