"""Metrics of a search by name, and the scores of its networks on the rows of each fold."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import get_scorer

from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, format_list
from rosenblatt.models.prepared import PreparedData
from rosenblatt.models.scorers import make_epoch_scorer
from rosenblatt.spec.scoring import scoring_direction
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import logits
from rosenblatt.training.compiled.losses import apply_output_activation
from rosenblatt.training.population import EpochScorer
from rosenblatt.training.validation import mean_loss
from rosenblatt.tuning.trial import Trial

Scoring = str | Callable[..., Any]
"""Name of a scikit-learn scorer, "loss", or a function `scorer(estimator, X, y)`."""


@dataclass(frozen=True)
class Metrics:
    """The metrics of a search.

    `best_score_` is that of the primary metric. Trials are compared by the same metric, or by another one.
    """

    scorings: dict[str, Scoring]  # by the names in `cv_results_`
    primary: str
    refit: Any
    comparison: str  # the metric that trials are stopped, proposed and ranked by
    is_multimetric: bool = False  # whether the metrics have names of their own

    @classmethod
    def from_scoring(cls, scoring: Any, refit: Any, default: str, comparison: str = "") -> Metrics:
        """Read `scoring` and `refit` as scikit-learn's searches do.

        Args:
            scoring, refit: of the search.
            default: the metric if `scoring` is None.
            comparison: the metric to compare trials by if `scoring` is None; empty for the default.

        A name in `refit` that is not that of the only metric is reported.

        Raises:
            SpecError: if `scoring` holds no metric or one twice, or `refit` names none of several metrics.
        """
        if scoring is None or isinstance(scoring, str) or callable(scoring):
            metrics = cls({"score": default if scoring is None else scoring}, "score", refit, "score")
            if scoring is None and comparison:
                metrics = cls({**metrics.scorings, comparison: comparison}, "score", refit, comparison)
            if isinstance(refit, str) and not callable(scoring) and refit not in ("score", scoring):
                warnings.warn(
                    f"refit is {refit!r}, but the best trial is chosen by the only metric, {scoring or default}. Set "
                    "refit to True.",
                    UserWarning,
                    stacklevel=3,
                )
            return metrics
        expected = "scoring must be the name of a scorer, a function, or a list or dict of these"
        if isinstance(scoring, Mapping):
            scorings = dict(scoring)
        elif isinstance(scoring, list | tuple | set) and all(isinstance(name, str) for name in scoring):
            if len(set(scoring)) < len(scoring):
                raise SpecError(f"scoring holds a metric twice: {format_list(scoring)}. Remove one of them.")
            scorings = {name: name for name in scoring}
        else:
            raise SpecError(f"{expected} by name, but it is {scoring!r}.")
        if not scorings or not all(isinstance(value, str) or callable(value) for value in scorings.values()):
            raise SpecError(f"{expected}, but it is {scoring!r}.")
        return cls._of_several(scorings, refit)

    @classmethod
    def _of_several(cls, scorings: dict[str, Scoring], refit: Any) -> Metrics:
        if refit is not False and not callable(refit) and not (isinstance(refit, str) and refit in scorings):
            raise SpecError(
                f"With several metrics, refit must be the one to choose the best trial by ({format_list(scorings)}), a "
                f"function, or False, but it is {refit!r}."
            )
        primary = refit if isinstance(refit, str) else next(iter(scorings))
        return cls(scorings, primary, refit, primary, is_multimetric=True)

    @property
    def compared_scoring(self) -> Scoring:
        """The scoring that trials are compared by."""
        return self.scorings[self.comparison]

    def ranking(self, name: str) -> str:
        """The metric whose means rank the trials in the column of a metric."""
        return self.comparison if name == self.primary else name

    def expand(self, spec: Spec, prepared: PreparedData) -> Metrics:
        """Replace a function that returns a dict by one metric per entry; raises SpecError as `from_scoring` does."""
        function = self.scorings.get("score")
        if not callable(function) or self.is_multimetric:
            return self
        names = _score_names(function, prepared.target(spec), prepared)
        return self if names is None else self._of_several({name: _entry(function, name) for name in names}, self.refit)

    def scorers(self) -> Any:
        """The attribute `scorer_`: a scorer, or a dict of them; "loss" has none and stays a word."""
        scorers = {
            name: scoring if scoring == "loss" else get_scorer(scoring) for name, scoring in self.scorings.items()
        }
        return scorers if self.is_multimetric else scorers["score"]


def _score_names(function: Callable[..., Any], target: Target, prepared: PreparedData) -> list[str] | None:
    """The keys of the dict that a scoring function returns, or None if it returns a number."""
    values: list[Any] = []

    @wraps(function)
    def probe(*arguments: Any, **options: Any) -> float:
        values.append(function(*arguments, **options))
        return 0.0

    factory = make_epoch_scorer(probe)
    if factory is not None:
        factory(target, prepared.y, None)  # calls the function with a guess
    return list(values[0]) if values and isinstance(values[0], Mapping) else None


def _entry(function: Callable[..., Any], name: str) -> Callable[..., float]:
    """A scoring function that returns one entry of the dict of another."""

    @wraps(function)
    def scorer(*arguments: Any, **options: Any) -> float:
        return function(*arguments, **options)[name]

    return scorer


class FoldScores(NamedTuple):
    """Scores of the best network of a fold by metric, higher for better networks, and the time they took."""

    test: dict[str, float]
    train: dict[str, float]  # empty unless asked for
    seconds: float  # to predict and score the validation rows


class FoldScorer:
    """Scores the folds of all trials by all metrics; a `FoldEvaluator`.

    Args:
        metrics: the metrics.
        prepared: the rows.
        with_train: whether to score the training rows of each fold too.
    """

    def __init__(self, metrics: Metrics, prepared: PreparedData, with_train: bool) -> None:
        self._prepared, self._with_train, self._lock = prepared, with_train, Lock()
        self._scorings = metrics.scorings
        self._scorers: dict[tuple[str, str], EpochScorer | None] = {}  # by metric and target
        self.scores: dict[tuple[int, int], FoldScores] = {}  # by trial and fold, at the last rung they reached

    def __call__(self, trial: Trial, index: int, fold: Fold) -> None:
        """Score the network of a fold."""
        member = trial.folds.members[index]
        if member is not None and member.is_trained:
            started = time.perf_counter()
            test = self._score(trial, index, fold.validation)
            seconds = time.perf_counter() - started
            train = self._score(trial, index, fold.train) if self._with_train else {}
            self.scores[trial.number, index] = FoldScores(test, train, seconds)

    def _score(self, trial: Trial, index: int, part: np.ndarray) -> dict[str, float]:
        """Scores on some rows, as numbers to maximize."""
        member, rows, target = trial.folds.members[index], trial.encoded_rows, trial.proposal.target
        assert member is not None  # noqa: S101 - checked by the caller
        outputs = logits(*member.best_network(), rows, part)
        loss = mean_loss(member, outputs, rows.t[part], rows.weight[part])
        apply_output_activation(target.loss, outputs)
        scores = {}
        for name, scoring in self._scorings.items():
            scorer = self._scorer(name, target)
            value = loss if scorer is None else scorer(outputs, part)
            scores[name] = scoring_direction(str(scoring)).to_maximize(value)
        return scores

    def _scorer(self, name: str, target: Target) -> EpochScorer | None:
        key = name, target.model_dump_json()
        with self._lock:
            if key not in self._scorers:
                factory = make_epoch_scorer(self._scorings[name])
                prepared = self._prepared
                self._scorers[key] = factory and factory(target, prepared.y, prepared.given_weight)
            return self._scorers[key]
