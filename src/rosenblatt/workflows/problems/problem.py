"""A learning problem: rows, targets and splits, ready to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.images import DamagedPolicy, inspect_images_lenient
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.forecasting import WindowTransform
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import SupervisedTask, has_targets, read_targets
from rosenblatt.errors import SpecError, TableError, format_list
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec

VALIDATION_FRACTION = 0.1  # of what is not for the test: the share that comes last, on which epochs are chosen


@dataclass(frozen=True)
class ColumnOptions:
    """What is asked of a table besides its targets."""

    task: Task | None = None
    ignore: Sequence[str] = ()
    keep: Sequence[str] = ()
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class LearningProblem:
    """Rows to learn from and to test on, and what is asked of them."""

    spec: Spec
    schema: Schema
    supervised_task: SupervisedTask
    data: Dataset
    validation: Dataset | None
    frame: pl.DataFrame  # as read, of which all rows come
    test: pl.DataFrame  # the test rows, as read
    test_typed: pl.DataFrame
    y_test: np.ndarray  # of the test rows, as `SupervisedTask.y`
    target: Target  # how it is spread learnt from the training rows
    windows: WindowTransform | None = None  # of a forecast

    @property
    def steps(self) -> int:
        """Answers of a row, where each of its steps has one; else 1."""
        return self.data.y.shape[1] if self.target.is_per_step else 1


def _require_kind(spec: Spec, subject: str, *kinds: str) -> Spec:
    """The spec with one of these kinds of networks, the first where none was asked for. Raises SpecError."""
    if spec.network.kind == "mlp":
        return spec.replace(kind=kinds[0])
    if spec.network.kind not in kinds:
        raise SpecError(f"{subject} is learnt by networks of kind {' or '.join(kinds)}, not {spec.network.kind}.")
    return spec


def _format_counts(train: int, validation: int, test: int) -> str:
    return f"{train:,} to learn from, {validation:,} to choose epochs on, {test:,} for the test"


def labelled_rows(table: Table, target: Target, messages: list[str]) -> tuple[pl.DataFrame, np.ndarray]:
    """The rows of another table that have answers to the model's question, and these. Raises TableError."""
    target_messages: list[str] = []
    try:
        y = read_targets(table.frame, target, target_messages)
    except TableError as error:
        raise TableError(f"{table.source!r}: {error}") from error
    messages += [f"{table.source}: {message}" for message in target_messages]
    if not has_targets(y).any():
        raise TableError(f"{table.source!r} has no values at all in {format_list(target.names)}.")
    return _drop_unlabelled(table.frame, y, target.names, messages)


def _drop_unlabelled(
    frame: pl.DataFrame, y: np.ndarray, names: Sequence[str], messages: list[str]
) -> tuple[pl.DataFrame, np.ndarray]:
    is_labelled = has_targets(y)
    if not is_labelled.all():
        messages.append(f"{int((~is_labelled).sum()):,} rows without {format_list(names, 3)} are left out")
    return frame.filter(is_labelled), y[is_labelled]


def readable_image_mask(schema: Schema, policy: DamagedPolicy, frame: pl.DataFrame, messages: list[str]) -> np.ndarray:
    """Which rows (n,) have images that can be read. Raises TableError where others may not be left out."""
    readable = np.ones(frame.height, bool)
    for column in schema.media_columns:
        if column.kind == "image" and column.name in frame.columns:
            cells = column.read(frame[column.name])[0].struct.field("image").to_list()
            infos = inspect_images_lenient(cells, policy)
            damaged_names = [
                cell if isinstance(cell, str) else f"row {row}"
                for row, (cell, info) in enumerate(zip(cells, infos, strict=True), 1)
                if info is None
            ]
            if damaged_names:
                messages.append(
                    f"{column.name}: {len(damaged_names)} damaged images are left out: {format_list(damaged_names, 5)}"
                )
            readable &= [info is not None for info in infos]
    return readable
