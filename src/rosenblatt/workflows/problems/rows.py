"""Learning problems on tables of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Data
from rosenblatt.data.media.columns import KINDS as MEDIA
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.schema.inference import infer
from rosenblatt.data.splits import train_test
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.tagging import unit_of_tags
from rosenblatt.data.tasks.task import Question, ask, column_name
from rosenblatt.errors import TableError, listed
from rosenblatt.inspection.description import columns_in_words, task_in_words
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.problem import Asked, Problem, Say, _answered, answered, readable

FEW_TEST_ROWS = 30
TAKES = {"cnn": MEDIA, "rnn": MEDIA, "channel_mlp": ("image",)}  # kinds of columns that only such networks learn from


def _of_rows(
    table: Table,
    names: list[str],
    spec: Spec,
    asked: Asked,
    test: Table | None,
    validation: Table | None,
    say: Say,
) -> Problem:
    ignored = [column_name(table.frame, name) for name in asked.ignore]
    wanted = {*names, *asked.keep, spec.data.groups, spec.data.order}
    ignored += [name for name in table.aside if name not in wanted]
    question = _question(table.frame, names, ignored, asked.task, say)
    frame, y = _answered(table.frame, question.y, question.names, say)
    if len(y) < 2:
        raise TableError(f"Only one row has {listed(question.names, 3)}; two or more are needed to learn from.")
    groups, order = _grouped(frame, spec, names)
    ignored += [column_name(frame, spec.data.groups)] if spec.data.groups else []
    kept, words = ([column_name(frame, name) for name in some] for some in (asked.keep, (*table.texts, *asked.texts)))
    schema, spec = _schema(frame, names, ignored, kept, words, spec, say)
    good = readable(schema, spec.data.damaged, frame, say)
    frame, y = frame.filter(good), y[good]
    groups, order = (None if one is None else one[good] for one in (groups, order))
    for line in [*columns_in_words(schema), f"task: {task_in_words(question)}"]:
        say(line)
    if question.task == "tagging":
        spec = spec.replace(tokens=unit_of_tags(schema.read(frame), y, spec.data.tokens))
    training, test_rows = _split(y, spec, question, test is not None, groups, order)
    target = question.target(y[training], spec)
    test_frame, truth = (frame[test_rows], y[test_rows]) if test is None else answered(test, target, say)
    if test is not None:
        good = readable(schema, spec.data.damaged, test_frame, say)
        test_frame, truth = test_frame.filter(good), truth[good]
    test_typed = schema.read(test_frame, say)  # what is wrong with it is said before the long work
    if question.task == "tagging" and len(truth):
        unit_of_tags(test_typed, truth, spec.data.tokens)
    rough = " (few: their scores are rough)" if 0 < len(truth) < FEW_TEST_ROWS else ""
    say(f"rows: {len(training):,} for training, {len(truth):,} for the test{rough}")
    data = Data(
        schema.read(frame[training]),
        y[training],
        groups=None if groups is None else groups[training],
        order=None if order is None else order[training],
    )
    watched = None
    if validation is not None:
        other, answers = answered(validation, target, say)
        good = readable(schema, spec.data.damaged, other, say)
        typed, answers = schema.read(other.filter(good)), answers[good]
        watched = Data(typed, answers)
        if question.task == "tagging":
            unit_of_tags(typed, answers, spec.data.tokens)
    return Problem(spec, schema, question, data, watched, frame, test_frame, test_typed, truth, target)


def _question(frame: pl.DataFrame, names: list[str], ignored: list[str], task: Task | None, say: Say) -> Question:
    if set(ignored) & set(names):
        raise TableError(f"{names[0]!r} is the target; it cannot be ignored too.")
    question = ask(frame, names, task)
    for note in question.notes:
        say(note)
    return question


def _schema(
    frame: pl.DataFrame,
    targets: Sequence[str],
    ignore: Sequence[str],
    keep: Sequence[str],
    texts: Sequence[str],
    spec: Spec,
    say: Say,
) -> tuple[Schema, Spec]:
    """What the columns hold; and the spec, with another kind of network where only that can learn from them."""
    schema = infer(frame.drop([*targets, *ignore]), spec.data.max_categories).keeping(keep).as_texts(texts)
    media = [column.kind for column in schema.columns if column.kind in MEDIA]
    if spec.network.kind == "mlp" and media and (texts or not schema.learnt):
        spec = spec.replace(kind="cnn" if media[0] == "image" else "rnn")
        say(f"kind: {spec.network.kind}, as the rows hold {media[0]}s")
    schema = schema.with_media(TAKES.get(spec.network.kind, ()))
    empty = [column.name for column in schema.columns if column.kind == "empty"]
    if empty:
        raise TableError(
            f"No row has a value in {listed(empty)}. Fill in the table, or leave out what is empty with "
            f"--ignore {','.join(empty)}."
        )
    if not schema.learnt:
        reasons = "; ".join(f"{column.name}: {column.note}" for column in schema.columns)
        raise TableError(f"No column is left to learn from. {reasons or 'The table has only the target.'}")
    return schema, spec


def _grouped(frame: pl.DataFrame, spec: Spec, targets: Sequence[str]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The number of each row's group, and each row's place in order, where the spec names columns for them."""
    found: list[np.ndarray | None] = []
    for what, asked in (("groups", spec.data.groups), ("order", spec.data.order)):
        if not asked:
            found.append(None)
            continue
        name = column_name(frame, asked)
        if name in targets:
            raise TableError(f"{name!r} is the target; it cannot be the {what} too.")
        if frame[name].has_nulls():
            raise TableError(f"{name!r} is to be the {what}, but {frame[name].null_count()} rows have no value there.")
        column = frame[name] if what == "groups" else _times(frame[name])
        found.append((column.rank("dense") - 1).to_numpy())
    if found[0] is not None and found[1] is not None:
        raise TableError("Rows can be split by groups or by order, not by both. Leave one of them out.")
    return found[0], found[1]


def _times(column: pl.Series) -> pl.Series:
    """A column whose order is that of time: numbers and dates, also where they were read as text."""
    if column.dtype != pl.String:
        return column
    return infer(column.to_frame(), 1).columns[0].in_order(column)


def _split(
    y: np.ndarray,
    spec: Spec,
    question: Question,
    given: bool,
    groups: np.ndarray | None,
    order: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are for training, and which for the test; none where the test has a table of its own."""
    n, fraction = len(y), spec.data.test_fraction
    if given or fraction == 0:
        return np.arange(n), np.arange(0)
    return train_test(n, fraction, spec.training.seed, y if question.labels and y.ndim == 1 else None, groups, order)
