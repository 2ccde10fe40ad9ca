"""Plan of a search: its folds, its rungs, and its memory limit."""

from __future__ import annotations

import os
from math import ceil
from typing import NamedTuple

import numpy as np

from rosenblatt.data.splits import Fold
from rosenblatt.errors import SpecError
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.spec.network import NetworkSpec
from rosenblatt.spec.search import SearchSpec
from rosenblatt.spec.spec import Spec, unused_hyperparameter_error

FIRST_RUNG_FRACTION = 1 / 20  # of the epochs: the first rung
LAST_RUNG_FRACTION = 0.4  # of the epochs, beyond which a rung is not worth a comparison
MIN_COMPARISON_ROWS = 2000  # validation rows on which a first comparison can be trusted
HOLDOUT_MIN_ROWS = 100_000  # rows from which on one part is enough for validation
DEEP_HOLDOUT_MIN_ROWS = 2_000  # the same of convolutional and recurrent networks, which take long
DEFAULT_FOLDS = 8
REPEAT_MAX_ROWS = 500  # rows below which the folds are dealt twice


CHANGES_LOSS_SCALE = (
    "loss", "focal_gamma", "huber_delta", "quantile", "hinge_margin", "target_transform", "class_weight",
)  # fmt: skip


def check_search(spec: Spec) -> None:
    """Raise SpecError where a search cannot be as it is asked for."""
    message = unused_hyperparameter_error(Spec(search=spec.search, network=NetworkSpec(kind=spec.network.kind)))
    if message:
        raise SpecError(message)
    if spec.training.members != "auto":
        raise SpecError("members means nothing in a search: a trial has a network for each fold. Set folds instead.")
    incomparable = [name for name in spec.space if name in CHANGES_LOSS_SCALE]
    if incomparable and spec.training.scoring == "loss":
        raise SpecError(
            f"With different {incomparable[0]} trials have different losses, by which they cannot be compared. Choose "
            "a scoring, such as accuracy, roc_auc or r2."
        )


class Rung(NamedTuple):
    """How far a trial goes before it is compared: a share of its epochs, on the first so many folds."""

    fraction: float
    folds: int

    def epochs(self, resolved_spec: Spec) -> int:
        """Epochs of a trial's members at this rung."""
        return max(1, round(self.fraction * resolved_spec["epochs"]))


def make_rungs(spec: Spec, folds: list[Fold], epochs: int) -> list[Rung]:
    """Shares of the epochs on the first folds, whose rows are enough to compare on; at last all, on all folds."""
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
    """Which rows trials learn from and are validated on. Raises SpecError for more folds than rows of a class."""
    if prepared.validation is not None or prepared.splits is not None:
        return prepared.folds(1, 1, spec.training.seed)
    data, n_folds, validate_on = prepared.data, spec.training.folds, spec.search.validate_on
    n = len(data.y)
    max_folds = n
    if prepared.target(spec).labels and data.y.ndim == 1 and data.groups is None and data.order is None:
        max_folds = int(np.unique(data.y, return_counts=True)[1].min())
    if n_folds == "auto":
        limits = [np.unique(data.groups).size] if data.groups is not None else []
        limits += [np.unique(data.order).size - 1] if data.order is not None else []
        k = max(2, min(DEFAULT_FOLDS, max_folds, n // 2, *limits))
    elif n_folds < 2:
        raise SpecError("A search compares trials on rows they did not learn from: folds must be 2 or more.")
    elif n_folds > max_folds:
        subject = "the rarest class has" if max_folds < n else "there are"
        raise SpecError(f"folds is {n_folds}, but {subject} only {max_folds} rows. Choose at most {max(max_folds, 2)}.")
    else:
        k = n_folds
    repeats = spec.search.repeats
    folds = prepared.folds(k, (2 if n < REPEAT_MAX_ROWS else 1) if repeats == "auto" else repeats, spec.training.seed)
    holdout_min_rows = DEEP_HOLDOUT_MIN_ROWS if spec.network.kind in DEEP_KINDS else HOLDOUT_MIN_ROWS
    return folds[:1] if validate_on == "holdout" or (validate_on == "auto" and n >= holdout_min_rows) else folds


def should_refit(spec: Spec, folds: list[Fold], prepared: PreparedData) -> bool:
    """Whether the best trials are trained again at the end, on all rows. Raises SpecError where they cannot be."""
    is_holdout = len(folds) == 1 and prepared.validation is None and prepared.splits is None
    if spec.search.refit == "auto":
        return is_holdout and spec.network.kind in DEEP_KINDS
    if spec.search.refit and not is_holdout:
        raise SpecError(
            "refit trains on the rows that were held out too, but here none are: trials have networks for several "
            "folds, or validation rows of their own. Leave it out, or use validate_on holdout."
        )
    return spec.search.refit


def memory_limit(search: SearchSpec) -> int:
    """Bytes that networks and encoded tables may take."""
    if search.memory_gib != "auto":
        return int(search.memory_gib * 2**30)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # not on this operating system
        return 4 * 2**30
