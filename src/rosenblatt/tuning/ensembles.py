"""In: what trials say of rows they did not learn from. Out: how good that is, how much of it is luck, who is joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rosenblatt.data.tasks.target import Target

ROUNDS = 40  # picks of the greedy selection
RESAMPLES = 200  # of the bootstrap
EPSILON = 1e-7


def row_losses(target: Target, y: np.ndarray, decoded: np.ndarray, quantile: float = 0.5) -> np.ndarray:
    """What each row's prediction costs, (n,): log loss for probabilities, 0 or 1 for classes by sums; for values what
    was taught: the squared error, in standard deviations, or the absolute, quantile or Poisson loss."""
    if target.task == "regression":
        return np.asarray(_of_values(target, y.reshape(len(y), -1), decoded, quantile).mean(axis=1))
    if target.answers == "sums":
        decided = target.decide(decoded).reshape(len(y), -1)
        return np.asarray((decided != y.reshape(len(y), -1)).mean(axis=1))
    if target.task == "multilabel":
        right = np.where(y > 0, decoded, 1 - decoded)
        return np.asarray(-np.log(np.maximum(right, EPSILON)).mean(axis=1))
    if target.each_step:
        steps = y[:, : decoded.shape[1]]
        right = np.take_along_axis(decoded, steps.clip(min=0).astype(int)[..., None], axis=-1)[..., 0]
        costs = np.where(steps >= 0, -np.log(np.maximum(right, EPSILON)), 0)
        return np.asarray(costs.sum(axis=1) / np.maximum((steps >= 0).sum(axis=1), 1))
    right = decoded[np.arange(len(y)), y.astype(int)]
    return np.asarray(-np.log(np.maximum(right, EPSILON)))


def _of_values(target: Target, y: np.ndarray, said: np.ndarray, quantile: float) -> np.ndarray:
    error = (y - said) / np.asarray(target.scale)
    if target.loss in ("absolute", "quantile"):
        quantile = 0.5 if target.loss == "absolute" else quantile
        return np.where(error > 0, quantile * error, (quantile - 1) * error)
    if target.loss == "poisson":
        mean = np.maximum(said, EPSILON)
        return mean - y * np.log(mean)
    return error**2


def greedy_weights(cost: Callable[[np.ndarray], float], said: Sequence[np.ndarray], rounds: int = ROUNDS) -> np.ndarray:
    """Weights (trials,) of a mean that costs no more than any of the trials alone; they add up to 1.

    `said` holds what each trial says of the same rows, (n, K), as `Model.decoded`; `cost` is the mean loss of such. Of
    all trials the one is added whose addition makes the mean best, over and over, those taken already too (Caruana et
    al. 2004).
    """
    counts = np.zeros(len(said), int)
    total = np.zeros_like(said[0])
    best, best_counts = np.inf, counts.copy()
    for picked in range(1, rounds + 1):
        costs = [cost((total + one) / picked) for one in said]
        which = int(np.argmin(costs))
        counts[which] += 1
        total = total + said[which]
        if costs[which] < best - 1e-9:
            best, best_counts = costs[which], counts.copy()
    return np.asarray(best_counts / best_counts.sum())


def optimism(losses: np.ndarray, rng: np.random.Generator) -> float:
    """By how much the mean loss of the best of N trials is too low because it is the best, from `losses` (N, n).

    Bootstrap over rows: the trial that is best on rows drawn with replacement is compared with what it costs on all
    rows; the mean difference over `RESAMPLES` draws (Efron & Tibshirani 1993, 17.6).
    """
    trials, n = losses.shape
    if trials < 2 or n < 2:
        return 0.0
    means, lost = losses.mean(axis=1), 0.0
    for _ in range(RESAMPLES):
        drawn = losses @ (np.bincount(rng.integers(n, size=n), minlength=n) / n)
        best = int(drawn.argmin())
        lost += means[best] - drawn[best]
    return max(lost / RESAMPLES, 0.0)


def within_one_error(losses: np.ndarray, sizes: Sequence[int]) -> int:
    """The trial with fewest parameters among those within one standard error of the best, from `losses` (N, n).

    The error is that of the mean difference to the best, row by row.
    """
    best = int(losses.mean(axis=1).argmin())
    difference = losses - losses[best]
    error = difference.std(axis=1) / np.sqrt(losses.shape[1])
    near = np.flatnonzero(difference.mean(axis=1) <= error)
    return int(min([best, *near.tolist()], key=lambda trial: (sizes[trial], losses[trial].mean())))
