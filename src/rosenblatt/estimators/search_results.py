"""`cv_results_` of a search in the form of scikit-learn's."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.exceptions import FitFailedWarning

from rosenblatt.errors import DivergedError
from rosenblatt.estimators.search_metrics import FoldScorer, Metrics
from rosenblatt.spec.dimensions import SHAPE_DIMENSIONS
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.trial import Trial


@dataclass(frozen=True)
class SpaceSearch:
    """The search of one space, and the scores of its folds."""

    coordinator: SearchCoordinator
    fold_scorer: FoldScorer
    prefix: str = ""  # of the names of hyperparameters, if the network is a step of a pipeline
    step_params: Mapping[str, Any] = field(default_factory=dict)  # of the other steps

    @property
    def trials(self) -> list[Trial]:
        """All trials of the space."""
        return self.coordinator.history.trials

    def params(self) -> list[dict[str, Any]]:
        """Parameters of the estimator in each trial."""
        return [
            {**{f"{self.prefix}{name}": value for name, value in trial_params(trial).items()}, **self.step_params}
            for trial in self.trials
        ]

    def test_scores(self, metrics: Metrics, name: str) -> np.ndarray:
        """Scores of the validation rows by a metric, (trials, folds), NaN where a fold was not trained."""
        if name != metrics.comparison:
            return self._fold_values(lambda scores: scores.test[name])
        direction = self.coordinator.plan.direction
        scores = [[direction.to_maximize(score) for score in trial.folds.scores] for trial in self.trials]
        return np.array(scores, float).reshape(len(self.trials), -1)

    def train_scores(self, name: str) -> np.ndarray:
        """Scores of the training rows by a metric, (trials, folds)."""
        return self._fold_values(lambda scores: scores.train[name])

    def score_seconds(self) -> np.ndarray:
        """Seconds to predict and score the validation rows, (trials, folds)."""
        return self._fold_values(lambda scores: scores.seconds)

    def fit_seconds(self) -> np.ndarray:
        """Seconds of training, (trials, folds)."""
        folds = range(len(self.coordinator.plan.folds))
        return np.array([[trial.folds.seconds.get(fold, np.nan) for fold in folds] for trial in self.trials], float)

    def _fold_values(self, read: Any) -> np.ndarray:
        values = np.full((len(self.trials), len(self.coordinator.plan.folds)), np.nan)
        for (trial, fold), scores in self.fold_scorer.scores.items():
            values[trial, fold] = read(scores)
        return values


def make_cv_results(
    searches: Sequence[SpaceSearch], metrics: Metrics, error_score: Any, *, return_train_score: bool
) -> dict[str, Any]:
    """Make `cv_results_` of the trials of all spaces, in their order.

    Scores are maximized, so losses are negated. Means are over the folds that were trained. Trials that finished rank
    before those that were stopped, and trials without a score last; ties share the best rank.

    Raises:
        DivergedError: if a trial failed and `error_score` is "raise".
    """
    trials = [trial for search in searches for trial in search.trials]
    has_failed = np.array([trial.state == "failed" for trial in trials])
    _report_failures([trial for trial in trials if trial.state == "failed"], len(trials), error_score)
    failure_score = np.nan if error_score == "raise" else error_score
    params = [params for search in searches for params in search.params()]
    results: dict[str, Any] = _time_columns("fit", np.concatenate([search.fit_seconds() for search in searches]))
    results |= _time_columns("score", np.concatenate([search.score_seconds() for search in searches]))
    names = dict.fromkeys(name for values in params for name in values)
    results |= {f"param_{name}": _param_column(name, params) for name in names} | {"params": params}
    is_unfinished = np.array([trial.state != "finished" for trial in trials])
    for name in metrics.scorings:
        scores = np.concatenate([search.test_scores(metrics, name) for search in searches])
        scores[has_failed] = failure_score
        results |= _score_columns(f"test_{name}", scores)
        if return_train_score:
            train_scores = np.concatenate([search.train_scores(name) for search in searches])
            train_scores[has_failed] = failure_score
            results |= _score_columns(f"train_{name}", train_scores)
    for name in metrics.scorings:
        results[f"rank_test_{name}"] = _rank(results[f"mean_test_{metrics.ranking(name)}"], is_unfinished)
    results["epochs"] = np.array([trial.statistics.epochs for trial in trials])
    results["state"] = np.array([trial.state for trial in trials])
    _report_missing_scores(results, metrics, ~is_unfinished, ["test"] + ["train"] * return_train_score)
    return results


def trial_params(trial: Trial) -> dict[str, Any]:
    """Hyperparameters of a trial as parameters of the estimator."""
    params = {name: value for name, value in trial.proposal.params.items() if name not in SHAPE_DIMENSIONS}
    if SHAPE_DIMENSIONS.keys() & trial.proposal.params.keys():
        params["hidden_sizes"] = trial.proposal.resolved_spec.network.hidden_sizes
    return params


def _param_column(name: str, params: Sequence[dict[str, Any]]) -> np.ma.MaskedArray:
    """Values of a parameter (trials,), masked in trials without it; objects unless they are numbers or booleans."""
    values = [trial_params[name] for trial_params in params if name in trial_params]
    is_plain = all(isinstance(value, bool | int | float) for value in values)
    column = np.ma.masked_all(len(params), dtype=np.array(values).dtype if is_plain else object)
    for index, trial_params in enumerate(params):
        if name in trial_params:
            column[index] = trial_params[name]
    return column


def _score_columns(name: str, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (trials, folds) by fold, with mean and standard deviation over the folds that have a score."""
    folds = {f"split{fold}_{name}": column for fold, column in enumerate(scores.T)}
    mean, std = _mean_and_std(scores)
    return folds | {f"mean_{name}": mean, f"std_{name}": std}


def _time_columns(name: str, seconds: np.ndarray) -> dict[str, np.ndarray]:
    mean, std = (np.nan_to_num(values) for values in _mean_and_std(seconds))
    return {f"mean_{name}_time": mean, f"std_{name}_time": std}


def _mean_and_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the finite values of each row, NaN if there are none."""
    is_finite = np.isfinite(values)
    counts = np.where(is_finite.any(axis=1), is_finite.sum(axis=1), np.nan)
    mean = np.where(is_finite, values, 0).sum(axis=1) / counts
    deviations = np.where(is_finite, values - mean[:, None], 0)
    return mean, np.sqrt((deviations**2).sum(axis=1) / counts)


def _rank(mean: np.ndarray, is_unfinished: np.ndarray) -> np.ndarray:
    """Ranks from 1 by mean score."""
    keys = np.column_stack([np.isnan(mean), is_unfinished & ~np.isnan(mean), -np.nan_to_num(mean)])
    _, order = np.unique(keys, axis=0, return_inverse=True)
    return rankdata(order.ravel(), method="min").astype(np.int32)


def _report_failures(failed: Sequence[Trial], n_trials: int, error_score: Any) -> None:
    if not failed:
        return
    reasons = Counter(trial.reason for trial in failed)
    most_common = "; ".join(
        f"{reason} ({n} of them)" if n < len(failed) else reason for reason, n in reasons.most_common(3)
    )
    if error_score == "raise":
        raise DivergedError(f"Trial {failed[0].number} failed: {failed[0].reason}.")
    warnings.warn(
        f"{len(failed)} of {n_trials} trials failed, and their scores are set to {error_score}: {most_common}. Set "
        'error_score to "raise" to end with an error instead.',
        FitFailedWarning,
        stacklevel=4,
    )


def _report_missing_scores(
    results: dict[str, Any], metrics: Metrics, is_finished: np.ndarray, parts: Sequence[str]
) -> None:
    for part in parts:
        n_missing = {
            name: int((~np.isfinite(results[f"mean_{part}_{name}"]) & is_finished).sum()) for name in metrics.scorings
        }
        if any(n_missing.values()):
            counts = ", ".join(f"{name} of {n} trials" for name, n in n_missing.items() if n)
            warnings.warn(f"One or more of the {part} scores are non-finite: {counts}.", UserWarning, stacklevel=4)
