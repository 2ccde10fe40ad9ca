"""Losses, selection bias and ensemble weights of trials, from their out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rosenblatt.data.tasks.target import Target

ROUNDS = 40  # picks of the greedy selection, which may pick a trial several times
RESAMPLES = 200  # bootstrap samples
EPSILON = 1e-7  # smallest probability and smallest mean whose logarithm is taken


def row_losses(target: Target, y: np.ndarray, raw_predictions: np.ndarray, quantile: float = 0.5) -> np.ndarray:
    """Loss of each row, (n,), of predictions (n, K) as `Model.predict_raw`.

    For classes the log loss, or the error (0 or 1) of networks without probabilities. For numbers the training loss:
    the squared, absolute or quantile loss of the standardized error, or the Poisson loss.
    """
    if target.task == "regression":
        return np.asarray(_regression_costs(target, y.reshape(len(y), -1), raw_predictions, quantile).mean(axis=1))
    if target.output_type == "sums":
        predictions = target.to_predictions(raw_predictions).reshape(len(y), -1)
        return np.asarray((predictions != y.reshape(len(y), -1)).mean(axis=1))
    if target.task == "multilabel":
        true_probability = np.where(y > 0, raw_predictions, 1 - raw_predictions)
        return np.asarray(-np.log(np.maximum(true_probability, EPSILON)).mean(axis=1))
    if target.is_per_step:
        steps = y[:, : raw_predictions.shape[1]]
        true_probability = np.take_along_axis(raw_predictions, steps.clip(min=0).astype(int)[..., None], axis=-1)[
            ..., 0
        ]
        costs = np.where(steps >= 0, -np.log(np.maximum(true_probability, EPSILON)), 0)
        return np.asarray(costs.sum(axis=1) / np.maximum((steps >= 0).sum(axis=1), 1))
    true_probability = raw_predictions[np.arange(len(y)), y.astype(int)]
    return np.asarray(-np.log(np.maximum(true_probability, EPSILON)))


def _regression_costs(target: Target, y: np.ndarray, predictions: np.ndarray, quantile: float) -> np.ndarray:
    error = (y - predictions) / np.asarray(target.scale)
    if target.loss in ("absolute", "quantile"):
        quantile = 0.5 if target.loss == "absolute" else quantile
        return np.where(error > 0, quantile * error, (quantile - 1) * error)
    if target.loss == "poisson":
        mean = np.maximum(predictions, EPSILON)
        return mean - y * np.log(mean)
    return error**2


def greedy_weights(cost: Callable[[np.ndarray], float], predictions: Sequence[np.ndarray]) -> np.ndarray:
    """Weights of an ensemble whose loss is at most that of the best single trial, (trials,); they add up to 1.

    Greedy selection with replacement: each round adds the trial that most improves the mean (Caruana et al. 2004).
    `cost` is the mean loss of predictions (n, K); `predictions` are those of each trial for the same rows.
    """
    counts = np.zeros(len(predictions), int)
    total = np.zeros_like(predictions[0])
    best, best_counts = np.inf, counts.copy()
    for n_picks in range(1, ROUNDS + 1):
        costs = [cost((total + prediction) / n_picks) for prediction in predictions]
        best_trial = int(np.argmin(costs))
        counts[best_trial] += 1
        total = total + predictions[best_trial]
        if costs[best_trial] < best - 1e-9:
            best, best_counts = costs[best_trial], counts.copy()
    return np.asarray(best_counts / best_counts.sum())


def shrink_weights(weights: np.ndarray, trial: int, gains: np.ndarray) -> np.ndarray:
    """Weights of an ensemble (trials,), moved towards one trial unless the ensemble is clearly better.

    `gains` (n,) is by how much the loss of the ensemble is lower than that of the trial, for each row. With their mean
    g and twice its standard error e, the trial gets e^2 / (e^2 + g^2) of the weight, and all of it if g <= 0. The share
    is rounded to the weight of a pick of `greedy_weights`: less weight would only make the model larger.
    """
    gain, error = gains.mean(), 2 * gains.std() / np.sqrt(len(gains))
    share = round(ROUNDS * error**2 / (error**2 + gain**2)) / ROUNDS if gain > 0 else 1.0
    return np.asarray((1 - share) * weights + share * (np.arange(len(weights)) == trial))


def optimism(losses: np.ndarray, rng: np.random.Generator) -> float:
    """Estimate the selection bias: how much the loss of the best of N trials underestimates its loss on new rows.

    Bootstrap over the columns of `losses` (trials, rows): the trial with the lowest loss on a resample is compared with
    its loss on all rows, averaged over `RESAMPLES` resamples (Efron & Tibshirani 1993, 17.6).
    """
    trials, n = losses.shape
    if trials < 2 or n < 2:
        return 0.0
    means, total_gap = losses.mean(axis=1), 0.0
    for _ in range(RESAMPLES):
        resampled_means = losses @ (np.bincount(rng.integers(n, size=n), minlength=n) / n)
        best = int(resampled_means.argmin())
        total_gap += means[best] - resampled_means[best]
    return max(total_gap / RESAMPLES, 0.0)


def one_standard_error_rule(losses: np.ndarray, sizes: Sequence[int]) -> int:
    """The trial with the fewest parameters (`sizes`) among those within one standard error of the best.

    The standard error is that of the mean difference to the best trial over rows; `losses` is (trials, rows).
    """
    best = int(losses.mean(axis=1).argmin())
    difference = losses - losses[best]
    error = difference.std(axis=1) / np.sqrt(losses.shape[1])
    candidates = np.flatnonzero(difference.mean(axis=1) <= error)
    return int(min([best, *candidates.tolist()], key=lambda trial: (sizes[trial], losses[trial].mean())))
