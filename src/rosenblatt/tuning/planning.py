"""In: a spec that searches, and its rows. Out: the plan of the search: folds, rungs, memory."""

from __future__ import annotations

import os
from math import ceil
from typing import NamedTuple

import numpy as np

from rosenblatt.data.splits import Fold
from rosenblatt.errors import SpecError
from rosenblatt.models.prepared import Prepared
from rosenblatt.spec.defaults import DEEP
from rosenblatt.spec.network import NetworkSpec
from rosenblatt.spec.search import SearchSpec
from rosenblatt.spec.spec import Spec, idle

FIRST_SHARE = 1 / 20  # of the epochs: the first rung
LAST_SHARE = 0.4  # of the epochs, beyond which a rung is not worth a comparison
ENOUGH_ROWS = 2000  # validation rows on which a first comparison can be trusted
LARGE = 100_000  # rows from which on one part is enough for validation
LARGE_OF_DEEP = 2_000  # the same of convolutional and recurrent networks, which take long
FOLDS = 8
FEW = 500  # rows below which the folds are dealt twice


CHANGE_THE_LOSS = (
    "loss", "focal_gamma", "huber_delta", "quantile", "hinge_margin", "target_transform", "class_weight",
)  # fmt: skip


def check_search(spec: Spec) -> None:
    """Raise SpecError where a search cannot be as it is asked for."""
    nonsense = idle(Spec(search=spec.search, network=NetworkSpec(kind=spec.network.kind)))
    if nonsense:
        raise SpecError(nonsense)
    if spec.training.members != "auto":
        raise SpecError("members means nothing in a search: a trial has a network for each fold. Set folds instead.")
    incomparable = [name for name in spec.space if name in CHANGE_THE_LOSS]
    if incomparable and spec.training.scoring == "loss":
        raise SpecError(
            f"With different {incomparable[0]} trials have different losses, by which they cannot be compared. Choose "
            "a scoring, such as accuracy, roc_auc or r2."
        )


class Rung(NamedTuple):
    """How far a trial goes before it is compared: a share of its epochs, on the first so many folds."""

    share: float
    folds: int

    def epochs(self, chosen: Spec) -> int:
        """Epochs of a trial's members at this rung."""
        return max(1, round(self.share * chosen["epochs"]))


def rungs_of(spec: Spec, folds: list[Fold], epochs: int) -> list[Rung]:
    """Shares of the epochs on the first folds, whose rows are enough to compare on; at last all, on all folds."""
    search, share = spec.search, FIRST_SHARE
    if search.first_rung != "auto":
        share = min(search.first_rung / epochs, 1.0)
    if search.stopping == "pbt":
        return [Rung(min(share * k, 1.0), len(folds)) for k in range(1, ceil(1 / share - 1e-9) + 1)]
    if search.stopping == "none":
        return [Rung(1.0, len(folds))]
    rows = np.cumsum([fold.spared.size for fold in folds])
    enough = min(int(np.searchsorted(rows, ENOUGH_ROWS)) + 1, len(folds))
    rungs = []
    while share <= LAST_SHARE:
        rungs.append(Rung(share, enough))
        share *= search.reduction
    if enough < len(folds):
        rungs.append(Rung(1.0, enough))
    return [*rungs, Rung(1.0, len(folds))]


def folds_of(spec: Spec, prepared: Prepared) -> list[Fold]:
    """Which rows trials learn from and are validated on. Raises SpecError for more folds than rows of a class."""
    if prepared.validation is not None or prepared.splits is not None:
        return prepared.folds(1, 1, spec.training.seed)
    data, asked, how = prepared.data, spec.training.folds, spec.search.validate_on
    n = len(data.y)
    fewest = n
    if prepared.target(spec).labels and data.y.ndim == 1 and data.groups is None and data.order is None:
        fewest = int(np.unique(data.y, return_counts=True)[1].min())
    if asked == "auto":
        most = [np.unique(data.groups).size] if data.groups is not None else []
        most += [np.unique(data.order).size - 1] if data.order is not None else []
        k = max(2, min(FOLDS, fewest, n // 2, *most))
    elif asked < 2:
        raise SpecError("A search compares trials on rows they did not learn from: folds must be 2 or more.")
    elif asked > fewest:
        what = "the rarest class has" if fewest < n else "there are"
        raise SpecError(f"folds is {asked}, but {what} only {fewest} rows. Choose at most {max(fewest, 2)}.")
    else:
        k = asked
    repeats = spec.search.repeats
    folds = prepared.folds(k, (2 if n < FEW else 1) if repeats == "auto" else repeats, spec.training.seed)
    large = LARGE_OF_DEEP if spec.network.kind in DEEP else LARGE
    return folds[:1] if how == "holdout" or (how == "auto" and n >= large) else folds


def refits(spec: Spec, folds: list[Fold], prepared: Prepared) -> bool:
    """Whether the best trials are trained again at the end, on all rows. Raises SpecError where they cannot be."""
    held_out = len(folds) == 1 and prepared.validation is None and prepared.splits is None
    if spec.search.refit == "auto":
        return held_out and spec.network.kind in DEEP
    if spec.search.refit and not held_out:
        raise SpecError(
            "refit trains on the rows that were held out too, but here none are: trials have networks for several "
            "folds, or validation rows of their own. Leave it out, or use validate_on holdout."
        )
    return spec.search.refit


def memory_of(search: SearchSpec) -> int:
    """Bytes that networks and encoded tables may take."""
    if search.memory != "auto":
        return int(search.memory * 2**30)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # not on this operating system
        return 4 * 2**30
