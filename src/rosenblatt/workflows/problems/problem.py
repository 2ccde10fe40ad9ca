"""A learning problem: rows, targets and splits, ready to train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Data
from rosenblatt.data.media.images import Policy, look_at
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.forecasting import Windows
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import Question, has_answers, read_answers
from rosenblatt.errors import SpecError, TableError, listed
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec

Say = Callable[[str], None]
SPARED = 0.1  # of what is not for the test: the share that comes last, on which epochs are chosen


@dataclass(frozen=True)
class Asked:
    """What is asked of a table besides its targets."""

    task: Task | None = None
    ignore: Sequence[str] = ()
    keep: Sequence[str] = ()
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Problem:
    """Rows to learn from and to test on, and what is asked of them."""

    spec: Spec
    schema: Schema
    question: Question
    data: Data
    validation: Data | None
    frame: pl.DataFrame  # as read, of which all rows come
    test: pl.DataFrame  # the test rows, as read
    test_typed: pl.DataFrame
    truth: np.ndarray  # of the test rows, as `Question.y`
    target: Target  # how it is spread learnt from the training rows
    windows: Windows | None = None  # of a forecast

    @property
    def steps(self) -> int:
        """Answers of a row, where each of its steps has one; else 1."""
        return self.data.y.shape[1] if self.target.each_step else 1


def _of_kind(spec: Spec, what: str, *kinds: str) -> Spec:
    """The spec with one of these kinds of networks, the first where none was asked for. Raises SpecError."""
    if spec.network.kind == "mlp":
        return spec.replace(kind=kinds[0])
    if spec.network.kind not in kinds:
        raise SpecError(f"{what} is learnt by networks of kind {' or '.join(kinds)}, not {spec.network.kind}.")
    return spec


def _counts(learnt: int, watched: int, tested: int) -> str:
    return f"{learnt:,} to learn from, {watched:,} to choose epochs on, {tested:,} for the test"


def answered(table: Table, target: Target, say: Say) -> tuple[pl.DataFrame, np.ndarray]:
    """The rows of another table that have answers to the model's question, and these. Raises TableError."""
    try:
        y, notes = read_answers(table.frame, target)
    except TableError as error:
        raise TableError(f"{table.source!r}: {error}") from error
    for note in notes:
        say(f"{table.source}: {note}")
    if not has_answers(y).any():
        raise TableError(f"{table.source!r} has no values at all in {listed(target.names)}.")
    return _answered(table.frame, y, target.names, say)


def _answered(frame: pl.DataFrame, y: np.ndarray, names: Sequence[str], say: Say) -> tuple[pl.DataFrame, np.ndarray]:
    known = has_answers(y)
    if not known.all():
        say(f"{int((~known).sum()):,} rows without {listed(names, 3)} are left out")
    return frame.filter(known), y[known]


def readable(schema: Schema, damaged: Policy, frame: pl.DataFrame, say: Say) -> np.ndarray:
    """Which rows (n,) have images that can be read. Raises TableError where others may not be left out."""
    good = np.ones(frame.height, bool)
    for column in schema.media:
        if column.kind == "image" and column.name in frame.columns:
            cells = column.read(frame[column.name])[0].struct.field("image").to_list()
            looks = look_at(cells, damaged)
            bad = [
                cell if isinstance(cell, str) else f"row {row}"
                for row, (cell, look) in enumerate(zip(cells, looks, strict=True), 1)
                if look is None
            ]
            if bad:
                say(f"{column.name}: {len(bad)} damaged images are left out: {listed(bad, 5)}")
            good &= [look is not None for look in looks]
    return good
