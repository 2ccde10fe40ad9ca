"""Number of folds that the training rows allow: the groups, the times or the rarest class may be fewer than folds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, format_count
from rosenblatt.spec.defaults import default_folds
from rosenblatt.spec.spec import Spec

SCORINGS_WITHOUT_CLASSES = ("loss", "accuracy", "neg_log_loss", "neg_brier_score")
"""Validation scores that are defined for rows of a single class."""


class FoldLimit(NamedTuple):
    """The largest number of folds, and what limits it, such as "8 groups"."""

    folds: int
    reason: str


def fold_limit(data: Dataset) -> FoldLimit:
    """The number of folds that rows, groups or times allow; fewer than 2 if there can be no validation rows."""
    if data.order is not None:
        n_times = np.unique(data.order).size
        return FoldLimit(n_times - 1, f"{format_count(n_times, 'different time')}, the first of which is for training")
    if data.groups is not None:
        n_groups = np.unique(data.groups).size
        return FoldLimit(n_groups, format_count(n_groups, "group"))
    return FoldLimit(len(data.y), format_count(len(data.y), "row"))


def _auto_limit(data: Dataset, target: Target, scoring: str) -> FoldLimit:
    """The limit of folds chosen by default, each of which has rows of each class if the validation score needs them."""
    limit = fold_limit(data)
    if target.task in ("binary", "multiclass") and scoring not in SCORINGS_WITHOUT_CLASSES:
        counts = np.bincount(data.y.astype(int), minlength=len(target.labels))
        rarest = int(counts.argmin())
        n_rows = max(int(counts[rarest]), 2)
        if n_rows < limit.folds:
            rows = format_count(int(counts[rarest]), "row")
            return FoldLimit(n_rows, f"{rows} of class {target.labels[rarest]!r}, which {scoring} needs")
    return limit


def limit_folds(spec: Spec, resolved_spec: Spec, data: Dataset, target: Target) -> Spec:
    """The resolved spec with at most as many folds as the training rows allow.

    Raises SpecError if the user set more folds than there are groups or times.
    """
    if spec.training.folds == "auto":
        limit = _auto_limit(data, target, spec.training.scoring).folds
        return resolved_spec.replace(folds=max(min(resolved_spec["folds"], limit), 1))
    check_folds(spec.training.folds, data)
    return resolved_spec


def check_folds(folds: int, data: Dataset) -> None:
    """Raise SpecError if the user set more folds than there are groups or times."""
    limit, reason = fold_limit(data)
    if folds > max(limit, 1) and (data.groups is not None or data.order is not None):
        advice = f"Set folds to {limit} or fewer" if limit > 1 else "Set folds to 1, which trains on all rows"
        raise SpecError(f"folds is {folds}, but the training rows have {reason}. {advice}.")


def describe_folds(spec: Spec, data: Dataset, target: Target) -> list[str]:
    """A line on the number of folds, if it is smaller than usual because of the training rows."""
    usual, limit = default_folds(spec.network.kind, len(data.y)), _auto_limit(data, target, spec.training.scoring)
    if spec.training.folds != "auto" or limit.folds >= usual:
        return []
    if limit.folds < 2:
        return [f"no folds, so that all epochs are used: the training rows have only {limit.reason}"]
    return [f"folds: {limit.folds} instead of {usual}, as the training rows have only {limit.reason}"]
