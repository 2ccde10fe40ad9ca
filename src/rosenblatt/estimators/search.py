"""`PopulationSearchCV`: hyperparameter search with scikit-learn's interface."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.splits import Fold
from rosenblatt.errors import SpecError, TableError, did_you_mean
from rosenblatt.estimators.base import BaseNetworkEstimator
from rosenblatt.estimators.inputs import check_sample_weight, make_dataset, schema_from_frame
from rosenblatt.estimators.parameters import resolve_n_jobs, resolve_random_state
from rosenblatt.models.fit import describe_undefined_scores
from rosenblatt.models.prepared import PreparedData
from rosenblatt.models.scorers import make_epoch_scorer
from rosenblatt.spec.dimensions import SHAPE_DIMENSIONS, choice, integer, log_uniform, parse_dimension, uniform
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.progress import search_progress
from rosenblatt.tuning.selection import select_model
from rosenblatt.tuning.trial import Trial


def _estimator_has(method: str) -> Any:
    def check(search: PopulationSearchCV) -> bool:
        return hasattr(getattr(search, "best_estimator_", search.estimator), method)

    return check


class PopulationSearchCV(MetaEstimatorMixin, BaseEstimator):
    """Hyperparameter search for a Rosenblatt estimator, with many networks at a time and early stopping of bad trials.

    The interface is that of scikit-learn's RandomizedSearchCV. The best trial is not refitted: `best_estimator_`
    averages the networks that were trained on the folds.

    Args:
        estimator: MLPClassifier, MLPRegressor, Perceptron or another Rosenblatt estimator. Parameters that differ from
            their defaults are not searched.
        space: by parameter a dimension (`choice`, `uniform`, `log_uniform`, `integer`), a list of choices, a SciPy
            distribution (uniform, loguniform, randint) or a fixed value; None for the default space. `hidden_layers`
            and `hidden_width` together set `hidden_sizes`.
        trials: number of trials; None for as many as `minutes` allow.
        minutes: time limit of `fit`; None for no limit.
        cv: number of folds, a splitter, or pairs of training and validation indices; None for 8 folds, repeated twice
            below 500 rows.
        scoring: name of a scikit-learn scorer, a scoring function, or "loss"; None for accuracy or R2.
        sampler, stopping, reduction_factor, min_epochs, one_standard_error, memory_gib: see docs/hyperparameters.md.
        ensemble: whether to predict with the ensemble of the best trials instead of the best trial.
        deterministic: whether equal seeds give equal searches on any number of cores; cores are idle at times then.
        random_state: seed.
        n_jobs: number of cores; None for all.
        verbose: whether to show the progress.

    Attributes:
        cv_results_: scores and parameters of all trials; those that finished rank before those that were stopped.
        best_estimator_, best_params_, best_score_, best_index_: of the best trial.
        ensemble_: the ensemble of the best trials, as an estimator.
        n_splits_: number of folds.
        study_: all trials as an Optuna study.
        search_: best trials, importances and cost of the search as JSON.

    Examples:
        >>> from sklearn.datasets import load_iris
        >>> from rosenblatt import MLPClassifier, PopulationSearchCV, log_uniform
        >>> X, y = load_iris(return_X_y=True)
        >>> space = {"hidden_sizes": [(8,), (16, 16)], "learning_rate": log_uniform(1e-3, 1e-1)}
        >>> search = PopulationSearchCV(MLPClassifier(epochs=20), space, trials=4, cv=3).fit(X, y)
        >>> search.best_score_ > 0.8, len(search.cv_results_["params"])
        (True, 4)
    """

    def __init__(
        self,
        estimator: Any,
        space: Mapping[str, Any] | None = None,
        *,
        trials: int | None = 100,
        minutes: float | None = None,
        cv: Any = None,
        scoring: Any = None,
        sampler: str = "tpe",
        stopping: str = "asha",
        reduction_factor: int = 3,
        min_epochs: int | str = "auto",
        one_standard_error: bool = False,
        memory_gib: float | str = "auto",
        ensemble: bool = False,
        deterministic: bool = True,
        random_state: Any = 0,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.space = space
        self.trials = trials
        self.minutes = minutes
        self.cv = cv
        self.scoring = scoring
        self.sampler = sampler
        self.stopping = stopping
        self.reduction_factor = reduction_factor
        self.min_epochs = min_epochs
        self.one_standard_error = one_standard_error
        self.memory_gib = memory_gib
        self.ensemble = ensemble
        self.deterministic = deterministic
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Search the hyperparameters.

        Args:
            X: rows (n, features).
            y: targets (n,) or (n, targets).
            sample_weight: (n,).
            groups: (n,); rows of the same group are in the same fold.

        Raises:
            SpecError, TableError: for an invalid space, folds or data.
            DivergedError: if all trials failed.
            KeyboardInterrupt: after Ctrl-C; the search is then fitted with the best trials so far, if an epoch has
                ended.
        """
        started = time.monotonic()
        estimator = clone(self.estimator)
        scoring = self.scoring
        if scoring is None:
            scoring = "r2" if estimator.__sklearn_tags__().estimator_type == "regressor" else "accuracy"
        schema, data, has_weight = _encode_rows(estimator, X, y, sample_weight, groups)
        spec = self._spec(estimator, scoring)
        splits = None
        if self.cv is not None and not isinstance(self.cv, Integral):
            splits = _make_folds(self.cv, X, y, groups, np.ones(len(y), bool) if has_weight is None else has_weight)
        prepared = PreparedData(data, lambda resolved_spec: estimator._target(data.y, resolved_spec), splits=splits)
        search = SearchCoordinator(spec, prepared, make_epoch_scorer(scoring), resolve_n_jobs(self.n_jobs))
        deadline = None if self.minutes is None else started + 60 * self.minutes
        with search_progress(self.verbose, str(spec.training.scoring)) as callback:
            search.run(deadline, callback)
        result = select_model(search, schema)
        self.search_, self.study_ = result.metadata.to_json(), search.policy.sampler.study
        self.n_splits_ = len(search.plan.folds)
        self.scorer_, self.multimetric_ = scoring, False
        self.cv_results_ = _make_cv_results(search)
        self.best_index_ = result.best.trials[0].number
        self.best_params_ = self.cv_results_["params"][self.best_index_]
        self.best_score_ = float(self.cv_results_["mean_test_score"][self.best_index_])
        self.best_estimator_ = deepcopy(estimator).set_params(**self.best_params_)
        self.ensemble_ = deepcopy(self.best_estimator_)
        for fitted, model in ((self.best_estimator_, result.best), (self.ensemble_, result.model)):
            fitted.model_ = model
            fitted._set_fitted_attributes()
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
        if search.early_end and self.sampler != "grid":
            warnings.warn(f"{search.early_end[0].upper()}{search.early_end[1:]}.", UserWarning, stacklevel=2)
        for description in describe_undefined_scores(result.model):
            warnings.warn(f"{description}.", UserWarning, stacklevel=2)
        if search.interrupted:
            raise KeyboardInterrupt("interrupted; the search is fitted with the best trials so far")
        return self

    def _spec(self, estimator: Any, scoring: Any) -> Spec:
        spec: Spec = estimator.set_params(scoring=scoring)._spec()
        if self.cv is not None and isinstance(self.cv, Integral):
            spec = spec.replace(folds=int(self.cv), repeats=1)
        spec = spec.replace(
            seed=resolve_random_state(self.random_state),
            trials=self.trials,
            minutes=self.minutes,
            **{
                name: getattr(self, name)
                for name in ("sampler", "stopping", "one_standard_error", "memory_gib", "deterministic")
            },
            **({"reduction_factor": self.reduction_factor} if self.stopping in ("asha", "hyperband") else {}),
            **({"refit": False} if spec.network.kind in DEEP_KINDS else {}),
            min_epochs=self.min_epochs,
        )
        searchable = {*estimator.get_params(), *SHAPE_DIMENSIONS} - {"n_jobs", "verbose", "random_state", "scoring"}
        for name in self.space or ():
            if name not in searchable:
                raise SpecError(f"The estimator has no parameter {name!r} to search.{did_you_mean(name, searchable)}")
        if self.trials is None and self.minutes is None:
            raise SpecError("trials and minutes are both None. Set at least one of them.")
        return spec.with_search_space({name: _to_dimension(name, value) for name, value in (self.space or {}).items()})

    @property
    def _predictor(self) -> Any:
        check_is_fitted(self, "best_estimator_")
        return self.ensemble_ if self.ensemble else self.best_estimator_

    def predict(self, X: Any) -> np.ndarray:
        """Predict with the best trial, or with the ensemble if `ensemble` is set."""
        return self._predictor.predict(X)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes or labels."""
        return self._predictor.predict_proba(X)

    @available_if(_estimator_has("predict_log_proba"))
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities of the classes or labels."""
        return self._predictor.predict_log_proba(X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Scores of the classes or labels."""
        return self._predictor.decision_function(X)

    def score(self, X: Any, y: Any) -> float:
        """Score predictions by `scoring`."""
        check_is_fitted(self)
        from sklearn.metrics import get_scorer

        if self.scorer_ == "loss":
            return float(self._predictor.score(X, y))
        return float(get_scorer(self.scorer_)(self._predictor, X, y))

    def save(self, path: Any) -> None:
        """Save the model to a file that `rosenblatt predict` reads. Raises StorageError."""
        self._predictor.save(path)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_estimator_")

    def __sklearn_tags__(self) -> Tags:
        tags, estimator_tags = super().__sklearn_tags__(), self.estimator.__sklearn_tags__()
        for name in ("estimator_type", "input_tags", "target_tags", "classifier_tags", "regressor_tags"):
            setattr(tags, name, getattr(estimator_tags, name))
        return tags


def _encode_rows(
    estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any
) -> tuple[Schema, Dataset, np.ndarray | None]:
    """Schema and dataset of an estimator, and a mask of the rows with nonzero weight, or None without weights."""
    if not isinstance(estimator, BaseNetworkEstimator):
        raise TypeError(
            f"estimator must be a Rosenblatt estimator such as MLPClassifier(), but it is a {type(estimator).__name__}."
        )
    estimator._check_target(y)
    frame = estimator._frame(X, reset=True)
    schema, n = schema_from_frame(frame, X), frame.shape[0]
    y_encoded, weight = estimator._encode_target(y, n), check_sample_weight(sample_weight, n)
    data = make_dataset(frame, schema, y_encoded, weight)
    has_weight = None if weight is None else weight > 0
    if groups is not None:
        check_consistent_length(np.empty(n), groups)
        group_ids = np.unique(np.asarray(groups), return_inverse=True)[1]
        data = replace(data, groups=group_ids if has_weight is None else group_ids[has_weight])
    return schema, data, has_weight


def _make_folds(cv: Any, X: Any, y: Any, groups: Any, has_weight: np.ndarray) -> list[Fold]:
    """The folds of a splitter or of pairs of indices, as indices of the rows with nonzero weight.

    Raises SpecError for anything else, and TableError for folds without rows.
    """
    expected = "cv must be a number of folds, a splitter, or pairs of indices of training and validation rows"
    is_splitter = hasattr(cv, "split") and not isinstance(cv, str | type)
    if not is_splitter and (not isinstance(cv, Iterable) or isinstance(cv, str)):
        raise SpecError(f"{expected}, but it is {cv!r}.")
    new_index = np.where(has_weight, np.cumsum(has_weight) - 1, -1)
    folds = []
    for pair in cv.split(X, y, groups) if is_splitter else cv:
        try:
            parts = [new_index[np.asarray(indices, None if len(indices) else int)] for indices in pair]
        except (TypeError, IndexError) as error:
            raise SpecError(f"{expected} 0 to {len(new_index) - 1}, but it holds {str(pair)[:60]}.") from error
        if len(parts) != 2:
            raise SpecError(f"{expected}, but it holds {str(pair)[:60]}.")
        fold = Fold(*(np.sort(part[part >= 0]) for part in parts))
        if not fold.train.size or not fold.validation.size:
            raise TableError("cv has a split without training or validation rows. Use fewer folds.")
        folds.append(fold)
    if not folds:
        raise SpecError(f"{expected}, but it holds no fold.")
    return folds


def _to_dimension(name: str, value: Any) -> Any:
    """Convert a list of choices or a SciPy distribution to a dimension."""
    if isinstance(value, list) and value:
        return choice(*value)
    if not hasattr(value, "dist"):
        return parse_dimension(name, value) or value
    kind, (low, high) = value.dist.name, value.support()
    if kind in ("loguniform", "reciprocal"):
        return log_uniform(float(low), float(high))
    if kind == "uniform":
        return uniform(float(low), float(high))
    if kind == "randint":
        return integer(int(low), int(high))
    raise SpecError(
        f"{name} is the SciPy distribution {kind}. Use loguniform, uniform, randint or a Rosenblatt dimension."
    )


def _make_cv_results(search: SearchCoordinator) -> dict[str, Any]:
    """Make `cv_results_`; like scikit-learn's, its scores are maximized, so losses are negated."""
    trials = search.history.trials
    params = [_estimator_params(trial) for trial in trials]
    names = sorted({name for trial_params in params for name in trial_params})
    results: dict[str, Any] = {"params": params}
    for name in names:
        column = np.ma.masked_all(len(trials), dtype=object)
        for index, trial_params in enumerate(params):
            if name in trial_params:
                column[index] = trial_params[name]
        results[f"param_{name}"] = column
    direction = search.plan.direction
    scores = np.array([[direction.to_maximize(score) for score in trial.folds.scores] for trial in trials])
    for fold in range(len(search.plan.folds)):
        results[f"split{fold}_test_score"] = scores[:, fold]
    is_finite = np.isfinite(scores)
    counts = np.maximum(is_finite.sum(axis=1), 1)
    mean = np.where(is_finite.any(axis=1), np.where(is_finite, scores, 0).sum(axis=1) / counts, np.nan)
    deviations = np.where(is_finite, scores - mean[:, None], 0)
    results["mean_test_score"] = mean
    results["std_test_score"] = np.sqrt((deviations**2).sum(axis=1) / counts)
    sort_scores = np.nan_to_num(mean, nan=-np.inf)
    order = sorted(range(len(trials)), key=lambda i: (trials[i].state != "finished", -sort_scores[i]))
    rank = np.empty(len(trials), np.int32)
    rank[order] = np.arange(1, len(trials) + 1)
    results["rank_test_score"] = rank
    results["mean_fit_time"] = np.array([trial.statistics.seconds / max(trial.folds.n_trained, 1) for trial in trials])
    results["epochs"] = np.array([trial.statistics.epochs for trial in trials])
    results["state"] = np.array([trial.state for trial in trials])
    return results


def _estimator_params(trial: Trial) -> dict[str, Any]:
    """Hyperparameters of a trial as parameters of the estimator."""
    params = {name: value for name, value in trial.proposal.params.items() if name not in SHAPE_DIMENSIONS}
    if SHAPE_DIMENSIONS.keys() & trial.proposal.params.keys():
        params["hidden_sizes"] = trial.proposal.resolved_spec.network.hidden_sizes
    return params
