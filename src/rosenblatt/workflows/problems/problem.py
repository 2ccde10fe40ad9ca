"""A learning problem: rows, targets and splits, ready to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.columns import holds_samples
from rosenblatt.data.media.contents import cell_name
from rosenblatt.data.media.images import DamagedPolicy, find_damaged_images
from rosenblatt.data.row_hashes import choose_image_hash
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.forecasting import WindowTransform
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import SupervisedTask, has_targets, read_targets
from rosenblatt.errors import SpecError, TableError, format_count, format_list
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedTrial
from rosenblatt.models.training_rows import RowHashes
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec

VALIDATION_FRACTION = 0.1  # fraction of a series or text, after the test part is taken off its end, for validation


@dataclass(frozen=True)
class ProblemRequest:
    """The tables of a fit, and how their columns are used."""

    table: Table
    spec: Spec
    targets: Sequence[str] = ()  # names or numbers of the columns to predict
    task: Task | None = None  # None: detected from the target columns
    ignore: Sequence[str] = ()  # columns left out
    keep: Sequence[str] = ()  # identifiers that are used as inputs nevertheless
    texts: Sequence[str] = ()  # columns of free text
    test: Table | None = None
    validation: Table | None = None
    start: Model | None = None  # whose networks are trained further


@dataclass(frozen=True)
class LabelledRows:
    """Rows of a table that have targets."""

    frame: pl.DataFrame  # as read
    y: np.ndarray  # targets as `SupervisedTask.y`
    numbers: np.ndarray  # (n,) row numbers in the table, from 1
    weight: np.ndarray | None = None  # (n,) sample weights

    def select(self, rows: np.ndarray) -> Self:
        """The rows of a mask (n,), or with these indices."""
        frame = self.frame.filter(rows) if rows.dtype == bool else self.frame[rows]
        weight = None if self.weight is None else self.weight[rows]
        return type(self)(frame, self.y[rows], self.numbers[rows], weight)


@dataclass(frozen=True)
class LearningProblem:
    """Training, validation and test rows of a task."""

    spec: Spec
    schema: Schema
    supervised_task: SupervisedTask
    target: Target  # fitted on the training rows
    data: Dataset  # training rows
    validation: Dataset | None
    frame: pl.DataFrame  # labelled rows of the table, as read
    test: pl.DataFrame  # test rows, as read
    test_typed: pl.DataFrame
    y_test: np.ndarray  # as `SupervisedTask.y`
    windows: WindowTransform | None = None  # of a forecast
    test_row_numbers: np.ndarray | None = None  # (n,) as `Evaluation.row_numbers`
    test_weight: np.ndarray | None = None  # (n,) sample weights of the test rows
    weight_column: Column | None = None  # how sample weights are read, if the rows have some
    start: TrainedTrial | None = None  # whose networks are trained further, with its encoder

    def hash_training_rows(self) -> RowHashes:
        """Hash the rows that training uses, to fit networks or to choose among them."""
        parts = [self.data, *([self.validation] if self.validation else [])]
        frames = [cast("pl.DataFrame", part.frame) for part in parts]
        image_hash = choose_image_hash(frames[0])
        return RowHashes.concatenate(
            [
                RowHashes.from_rows(frame, part.y, self.target, image_hash)
                for part, frame in zip(parts, frames, strict=True)
            ]
        )

    @property
    def steps(self) -> int:
        """Predictions of each row: one, or one for each step of a sequence."""
        return self.data.y.shape[1] if self.target.is_per_step else 1


def require_kind(spec: Spec, task: str, *kinds: str) -> Spec:
    """The spec with the first of these kinds of networks if none was chosen. Raises SpecError for another kind."""
    if spec.network.kind == "mlp":
        return spec.replace(kind=kinds[0])
    if spec.network.kind not in kinds:
        raise SpecError(f"{task} needs a network of kind {' or '.join(kinds)}, not {spec.network.kind}.")
    return spec


def format_split(train: int, validation: int, test: int) -> str:
    """The sizes of the three parts of a split."""
    return f"{train:,} for training, {validation:,} for validation, {test:,} for testing"


def labelled_rows(table: Table, target: Target, messages: list[str]) -> LabelledRows:
    """The rows of a test or validation table whose targets are not missing. Raises TableError."""
    if not table.frame.height:
        raise TableError(f"{table.source!r} has no rows. Give a table with rows.")
    try:
        y = read_targets(table.frame, target, messages, table.format)
    except TableError as error:
        raise TableError(f"{table.source!r}: {error}") from error
    if not has_targets(y).any():
        raise TableError(f"{table.source!r} has no values in {format_list(target.names)}.")
    return drop_unlabelled(table.frame, y, target.names, messages)


def drop_unlabelled(frame: pl.DataFrame, y: np.ndarray, names: Sequence[str], messages: list[str]) -> LabelledRows:
    """The rows that do not lack a target."""
    is_labelled = has_targets(y)
    if not is_labelled.all():
        messages.append(f"{format_count(int((~is_labelled).sum()), 'row')} without {format_list(names, 3)} left out")
    return LabelledRows(frame, y, np.arange(1, frame.height + 1)).select(is_labelled)


def readable_image_mask(
    schema: Schema, policy: DamagedPolicy, frame: pl.DataFrame, messages: list[str], **options: Any
) -> np.ndarray:
    """A mask (n,) of the rows whose images can all be read. Options and errors are those of `find_damaged_images`."""
    readable = np.ones(frame.height, bool)
    for column in schema.media_columns:
        if column.kind == "image" and column.name in frame.columns:
            cells = column.read(frame[column.name])[0].struct.field("image").to_list()
            damaged = find_damaged_images(cells, policy, **options)
            readable[damaged] = False
            if damaged:
                names = [cell_name(cells[row]) if isinstance(cells[row], str) else f"row {row + 1}" for row in damaged]
                count = format_count(len(names), "damaged image")
                messages.append(f"{column.name}: {count} left out: {format_list(names, 5)}")
    return readable


def drop_damaged_test_images(problem: LearningProblem, messages: list[str]) -> LearningProblem:
    """Leave out test rows whose images cannot be decoded, if they were not decoded before training."""
    if problem.spec.data.on_damaged_images == "skip" or not holds_samples(problem.test_typed):
        return problem
    readable = readable_image_mask(problem.schema, "skip", problem.test, messages, max_fraction=1)
    if readable.all():
        return problem
    numbers, weight = problem.test_row_numbers, problem.test_weight
    return replace(
        problem,
        test=problem.test.filter(readable),
        test_typed=problem.test_typed.filter(readable),
        y_test=problem.y_test[readable],
        test_row_numbers=None if numbers is None else numbers[readable],
        test_weight=None if weight is None else weight[readable],
    )
