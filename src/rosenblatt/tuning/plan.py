"""Plan of a search: what is fixed before the first trial, such as its space, folds, rungs and limits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from rosenblatt.data.media.columns import media_kinds
from rosenblatt.data.splits import Fold
from rosenblatt.errors import SpecError, format_count
from rosenblatt.models.folds import check_folds, fold_limit
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.spec.network import NetworkSpec
from rosenblatt.spec.scoring import Direction, scoring_direction
from rosenblatt.spec.search import SearchSpec
from rosenblatt.spec.spec import Spec, unused_hyperparameter_error
from rosenblatt.tuning.default_spaces import default_space
from rosenblatt.tuning.space import Space

DEFAULT_TRIALS = 100  # number of trials if neither trials nor minutes are given
DEFAULT_POPULATION = 16  # number of trials of population-based training, unless given
FIRST_RUNG_FRACTION = 1 / 20  # fraction of the epochs at the first rung
LAST_RUNG_FRACTION = 0.4  # largest fraction of the epochs at which trials are compared before the last rung
MIN_COMPARISON_ROWS = 2000  # validation rows that make a comparison of trials reliable
HOLDOUT_MIN_ROWS = 100_000  # training rows from which on one validation fold is enough
DEEP_HOLDOUT_MIN_ROWS = 2_000  # the same for convolutional and recurrent networks, which train slowly
DEFAULT_FOLDS = 8
REPEAT_MAX_ROWS = 500  # training rows below which the folds are repeated
CHANGES_LOSS_SCALE = (
    "loss", "focal_gamma", "huber_delta", "quantile", "hinge_margin", "target_transform", "class_weight",
)  # fmt: skip
"""Hyperparameters whose values make losses of trials incomparable."""


class Rung(NamedTuple):
    """Point at which trials are compared: a fraction of their epochs, trained on the first folds."""

    fraction: float
    folds: int

    def epochs(self, resolved_spec: Spec) -> int:
        """Epochs that each network of a trial has been trained for at this rung."""
        return max(1, round(self.fraction * resolved_spec["epochs"]))


@dataclass(frozen=True)
class SearchPlan:
    """Everything about a search that does not change while it runs."""

    spec: Spec  # including the search space
    space: Space
    uses_default_space: bool
    resolved_base: Spec  # resolved spec of a fit without search
    folds: list[Fold]
    rungs: list[Rung]
    refits: bool  # whether the best trials are trained on all rows at the end
    max_trials: int | None  # None if only time limits the search
    memory_limit: int  # bytes

    @property
    def last_rung(self) -> int:
        """Index of the last rung."""
        return len(self.rungs) - 1

    @property
    def direction(self) -> Direction:
        """Whether lower or higher scores are better."""
        return scoring_direction(self.spec.training.scoring)

    @property
    def is_population_based(self) -> bool:
        """Whether trials inherit networks from better ones (population-based training)."""
        return self.spec.search.stopping == "pbt"

    @property
    def is_synchronous(self) -> bool:
        """Whether decisions are made in rounds, after all workers have finished."""
        return self.spec.search.deterministic or self.is_population_based

    @property
    def default_params(self) -> dict[str, Any]:
        """The values that a fit without search has in the dimensions of the space."""
        return self.space.params_from_spec(self.resolved_base)

    @property
    def first_params(self) -> dict[str, Any] | None:
        """Hyperparameters of the first trial: the default ones, or None if the user's space excludes them."""
        params = self.default_params
        return params if self.uses_default_space or self.space.contains(params) else None


def make_plan(spec: Spec, prepared: PreparedData) -> SearchPlan:
    """Plan a search of `spec.space`, or of the default space if that is empty.

    Raises:
        SpecError: if the space, the folds or another setting does not fit the data.
    """
    uses_default_space = not spec.space
    if uses_default_space:
        task, media = prepared.target(spec).task, media_kinds(prepared.data.frame)
        is_wide = prepared.resolve(spec.without_search())["numeric_encoding"] == "robust"
        space = default_space(spec, task, len(prepared.data.y), media, is_wide=is_wide)
        spec = spec.model_copy(update={"space": space})
    check_search(spec)
    searched_space, folds = Space.from_spec(spec), make_folds(spec, prepared)
    refits = should_refit(spec, folds, prepared)
    resolved_base = prepared.resolve(searched_space.base)
    return SearchPlan(
        spec=spec,
        space=searched_space,
        uses_default_space=uses_default_space,
        resolved_base=resolved_base,
        folds=folds,
        rungs=make_rungs(spec, folds, resolved_base["epochs"]),
        refits=refits,
        max_trials=max_trials(spec.search),
        memory_limit=memory_limit(spec.search),
    )


def check_search(spec: Spec) -> None:
    """Raise SpecError if the settings of a search contradict each other."""
    message = unused_hyperparameter_error(Spec(search=spec.search, network=NetworkSpec(kind=spec.network.kind)))
    if message:
        raise SpecError(message)
    if spec.training.members != "auto":
        raise SpecError(
            "members has no effect in a search: each trial has one network per fold. Remove it, or set folds instead."
        )
    incomparable = [name for name in spec.space if name in CHANGES_LOSS_SCALE]
    if incomparable and spec.training.scoring == "loss":
        raise SpecError(
            f"Trials with different {incomparable[0]} have different losses, which cannot be compared. Choose a "
            "scoring such as accuracy, roc_auc or r2."
        )


def make_rungs(spec: Spec, folds: list[Fold], epochs: int) -> list[Rung]:
    """Rungs on the first folds, as many as a reliable comparison needs; the last rung is all epochs on all folds."""
    search, fraction = spec.search, FIRST_RUNG_FRACTION
    if search.min_epochs != "auto":
        fraction = min(search.min_epochs / epochs, 1.0)
    if search.stopping == "pbt":
        return [Rung(min(fraction * k, 1.0), len(folds)) for k in range(1, ceil(1 / fraction - 1e-9) + 1)]
    if search.stopping == "none":
        return [Rung(1.0, len(folds))]
    rows = np.cumsum([fold.validation.size for fold in folds])
    n_comparison_folds = min(int(np.searchsorted(rows, MIN_COMPARISON_ROWS)) + 1, len(folds))
    rungs = []
    while fraction <= LAST_RUNG_FRACTION:
        rungs.append(Rung(fraction, n_comparison_folds))
        fraction *= search.reduction_factor
    if n_comparison_folds < len(folds):
        rungs.append(Rung(1.0, n_comparison_folds))
    return [*rungs, Rung(1.0, len(folds))]


def make_folds(spec: Spec, prepared: PreparedData) -> list[Fold]:
    """Training and validation rows of each fold. Raises SpecError if a class has fewer rows than there are folds."""
    if prepared.validation is not None or prepared.splits is not None:
        return prepared.folds(1, 1, spec.training.seed)
    n, repeats, validate_on = len(prepared.data.y), spec.search.repeats, spec.search.validate_on
    if repeats == "auto":
        repeats = 2 if n < REPEAT_MAX_ROWS else 1
    folds = prepared.folds(_n_folds(spec, prepared), repeats, spec.training.seed)
    holdout_min_rows = DEEP_HOLDOUT_MIN_ROWS if spec.network.kind in DEEP_KINDS else HOLDOUT_MIN_ROWS
    return folds[:1] if validate_on == "holdout" or (validate_on == "auto" and n >= holdout_min_rows) else folds


def _n_folds(spec: Spec, prepared: PreparedData) -> int:
    data, n_folds = prepared.data, spec.training.folds
    n = max_folds = len(data.y)
    if prepared.target(spec).labels and data.y.ndim == 1 and data.groups is None and data.order is None:
        max_folds = int(np.unique(data.y, return_counts=True)[1].min())
    limit, reason = fold_limit(data)
    if limit < 2:
        raise SpecError(
            f"A search compares trials on rows they were not trained on, but the training rows have only {reason}. "
            "Give more rows, or a table of validation rows with --validation."
        )
    if n_folds == "auto":
        return max(2, min(DEFAULT_FOLDS, max_folds, n // 2, limit))
    if n_folds < 2:
        raise SpecError(
            f"A search compares trials on rows they were not trained on, so folds must be at least 2, but it is "
            f"{n_folds}."
        )
    check_folds(n_folds, data)
    if n_folds > max(max_folds, 2):
        subject = "the rarest class has" if max_folds < n else "there are"
        rows = format_count(max_folds, "row")
        raise SpecError(f"folds is {n_folds}, but {subject} only {rows}. Set folds to {max(max_folds, 2)} or auto.")
    return n_folds


def should_refit(spec: Spec, folds: list[Fold], prepared: PreparedData) -> bool:
    """Whether the best trials are trained on all rows at the end. Raises SpecError if that is set but impossible."""
    is_holdout = len(folds) == 1 and prepared.validation is None and prepared.splits is None
    if spec.search.refit == "auto":
        return is_holdout and spec.network.kind in DEEP_KINDS
    if spec.search.refit and not is_holdout:
        raise SpecError(
            "refit also trains on the held-out rows, but this search holds out none: its trials have networks for "
            "several folds, or there are separate validation rows. Remove it, or set validate_on to holdout."
        )
    return spec.search.refit


def max_trials(search: SearchSpec) -> int | None:
    """Number of trials after which a search ends, or None if only time limits it."""
    if search.trials is not None:
        return search.trials
    if search.stopping == "pbt":
        return DEFAULT_POPULATION
    return DEFAULT_TRIALS if search.minutes is None else None


def memory_limit(search: SearchSpec) -> int:
    """Limit on the memory of networks and encoded tables, in bytes."""
    if search.memory_gib != "auto":
        return int(search.memory_gib * 2**30)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # the operating system does not report free memory
        return 4 * 2**30
