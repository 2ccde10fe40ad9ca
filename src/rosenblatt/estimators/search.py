"""`PopulationSearchCV`: hyperparameter search with scikit-learn's interface."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import islice
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_consistent_length, check_is_fitted

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, TableError, did_you_mean, format_count
from rosenblatt.estimators.base import BaseNetworkEstimator
from rosenblatt.estimators.inputs import check_sample_weight, make_dataset, schema_from_frame
from rosenblatt.estimators.parameters import resolve_n_jobs, resolve_random_state
from rosenblatt.estimators.search_metrics import FoldScorer, Metrics
from rosenblatt.estimators.search_pipeline import SearchedPipeline, Subspace
from rosenblatt.estimators.search_results import SpaceSearch, make_cv_results
from rosenblatt.estimators.search_selection import best_model, select_results, select_trial
from rosenblatt.models.fit import describe_undefined_scores
from rosenblatt.models.model import Model
from rosenblatt.models.prepared import PreparedData
from rosenblatt.models.scorers import make_epoch_scorer
from rosenblatt.spec.dimensions import SHAPE_DIMENSIONS, choice, integer, log_uniform, parse_dimension, uniform
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.combinations import combinations
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.plan import CHANGES_LOSS_SCALE, make_folds
from rosenblatt.tuning.progress import search_progress
from rosenblatt.tuning.space import Space

N_QUANTILES = 100  # values that stand for a distribution of which a sampler knows no ranges


def _estimator_has(method: str) -> Any:
    def check(search: PopulationSearchCV) -> bool:
        if search.refit is False:
            raise AttributeError(
                f"{method} needs the best trial, but refit is False. Set refit to True, or fit an estimator with "
                "best_params_."
            )
        return hasattr(getattr(search, "best_estimator_", search.estimator), method)

    return check


class PopulationSearchCV(MetaEstimatorMixin, BaseEstimator):
    """Hyperparameter search for a Rosenblatt estimator, with many networks at a time and early stopping of bad trials.

    The interface is that of scikit-learn's RandomizedSearchCV. The best trial is not refitted: `best_estimator_`
    averages the networks that were trained on the folds.

    Args:
        estimator: MLPClassifier, MLPRegressor, Perceptron or another Rosenblatt estimator. Parameters that differ from
            their defaults are not searched. Or a Pipeline that ends with one for tables: its other steps are fitted on
            the training rows of each fold, and the best pipeline is fitted on all rows at the end.
        space: by parameter a dimension (`choice`, `uniform`, `log_uniform`, `integer`), a list or array of choices, a
            SciPy distribution or a fixed value; None for the default space. Distributions other than uniform,
            loguniform and randint are searched by 100 equally probable values.
            `hidden_layers` and `hidden_width` together set `hidden_sizes`. A list of spaces is searched one after the
            other, with equal shares of the time and of the trials, as far as they have so many combinations. Parameters
            of a Pipeline have the name of their step, such as `mlpclassifier__dropout`; those of other steps than the
            network must be lists of choices, each combination of which is a space of its own.
        trials: number of trials; None for as many as `minutes` allow.
        minutes: time limit of `fit`, without the last fit of a Pipeline; None for no limit.
        cv: number of folds, a splitter, or pairs of training and validation indices; None for 8 folds, repeated twice
            below 500 rows.
        scoring: name of a scikit-learn scorer, a scoring function, or "loss". For several metrics a list of names, a
            dict by name, or a function that returns a dict. None for accuracy, R2, or the loss of taggers; classifiers
            that predict probabilities then compare and rank their trials by the loss, which is less noisy
            ("mean_test_loss" in `cv_results_`), unless the space makes losses incomparable. "accuracy" compares them
            by accuracy.
        refit: True for the trial with the best score; with several metrics the name of the one that the search
            optimizes. A function gets `cv_results_` and returns the index of a trial, which is trained again if its
            networks were not kept. False for `cv_results_` only. Unless refit names a metric, the first one decides
            which trials are stopped and proposed.
        return_train_score: whether `cv_results_` holds scores of the training rows of each fold.
        error_score: score of trials that fail; "raise" to end with an error.
        sampler, stopping, reduction_factor, min_epochs, one_standard_error, memory_gib: see docs/hyperparameters.md.
        ensemble: whether to predict with the ensemble of the best trials instead of the best trial; not for a Pipeline.
        deterministic: whether equal seeds give equal searches on any number of cores; cores are idle at times then.
        random_state: seed.
        n_jobs: number of cores; None for all.
        verbose: whether to show the progress.

    Attributes:
        cv_results_: scores, times and parameters of all trials; those that finished rank before those that were
            stopped, and ties share a rank. Scores of a stopped trial are those of the folds that it was trained on.
        best_estimator_, best_params_, best_score_, best_index_: of the best trial.
        ensemble_: the ensemble of the best trials, as an estimator; not for a Pipeline.
        n_splits_: number of folds.
        scorer_: the scorer, or a dict of them by name; multimetric_: whether there are several.
        refit_time_: seconds to select or train the best trial.
        study_: all trials as an Optuna study; of a list of spaces, those of the best trial's space.
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
        space: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        trials: int | None = 100,
        minutes: float | None = None,
        cv: Any = None,
        scoring: Any = None,
        refit: Any = True,
        return_train_score: bool = False,
        error_score: Any = np.nan,
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
        self.refit = refit
        self.return_train_score = return_train_score
        self.error_score = error_score
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

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None) -> Self:
        """Search the hyperparameters.

        Args:
            X: rows (n, features).
            y: targets (n,) or (n, targets).
            sample_weight: (n,).
            groups: (n,); rows of the same group are in the same fold.

        Raises:
            SpecError, TableError: for an invalid space, folds or data.
            DivergedError: if all trials failed, or one did and `error_score` is "raise".
            KeyboardInterrupt: after Ctrl-C; the search is then fitted with the best trials so far, if an epoch has
                ended.
        """
        started = time.monotonic()
        self._check_settings()
        estimator = clone(self.estimator)
        pipeline = SearchedPipeline(estimator) if isinstance(estimator, Pipeline) else None
        network = estimator if pipeline is None else pipeline.network
        table = X if pipeline is None else np.zeros((_num_samples(X), 1))  # that of a pipeline depends on the fold
        schema, data, has_weight = _encode_rows(network, table, y, sample_weight, groups)
        splits = None
        if self.cv is not None and not isinstance(self.cv, Integral):
            splits = _make_folds(self.cv, X, y, groups, np.ones(len(y), bool) if has_weight is None else has_weight)
        prepared = PreparedData(data, lambda resolved_spec: network._target(data.y, resolved_spec), splits=splits)
        subspaces = self._subspaces(pipeline)
        spaces = [subspace.space for subspace in subspaces]
        metrics = Metrics.from_scoring(
            self.scoring, self.refit, *_default_scorings(prepared.target(network._spec()), spaces)
        )
        specs = [network._adapt_spec(spec, data, None) for spec in self._specs(network, metrics, spaces)]
        metrics = metrics.expand(specs[0], prepared)
        searches = []
        for number, (spec, subspace) in enumerate(zip(specs, subspaces, strict=True), start=1):
            deadline = None if self.minutes is None else started + 60 * self.minutes * number / len(specs)
            folds = make_folds(spec, prepared) if pipeline else []
            rows = pipeline.prepare(subspace.step_params, X, y, prepared, has_weight, folds) if pipeline else prepared
            search = self._search_space(spec, rows, metrics, deadline)
            prefix = pipeline.prefix if pipeline else ""
            searches.append(replace(search, prefix=prefix, step_params=subspace.step_params))
            if search.coordinator.interrupted:
                break
        fit_pipeline = None
        if pipeline:
            fit_pipeline = partial(pipeline.refit, metrics.compared_scoring, X, y, sample_weight)
        self._set_results(network, schema, searches, metrics, fit_pipeline)
        if searches[-1].coordinator.interrupted:
            raise KeyboardInterrupt("interrupted; the search is fitted with the best trials so far")
        return self

    def _check_settings(self) -> None:
        is_number = isinstance(self.error_score, Real) and not isinstance(self.error_score, bool)
        if self.error_score != "raise" and not is_number:
            raise SpecError(f'error_score must be a number or "raise", but it is {self.error_score!r}.')
        if not isinstance(self.refit, bool | str) and not callable(self.refit):
            raise SpecError(f"refit must be True, False, a metric or a function, but it is {self.refit!r}.")
        if self.ensemble and isinstance(self.estimator, Pipeline):
            raise SpecError(
                "ensemble averages the networks of the folds, but in a Pipeline each has other steps before it, so "
                "that the best pipeline is fitted to all rows instead. Set ensemble to False."
            )
        if self.trials is None and self.minutes is None:
            raise SpecError("trials and minutes are both None. Set at least one of them.")

    def _search_space(
        self, spec: Spec, prepared: PreparedData, metrics: Metrics, deadline: float | None
    ) -> SpaceSearch:
        """Search one space, until the deadline, a `time.monotonic`."""
        fold_scorer = FoldScorer(metrics, prepared, self.return_train_score)
        coordinator = SearchCoordinator(
            spec, prepared, make_epoch_scorer(metrics.compared_scoring), resolve_n_jobs(self.n_jobs), fold_scorer
        )
        with search_progress(self.verbose, str(spec.training.scoring)) as callback:
            coordinator.run(deadline, callback)
        if coordinator.early_end and self.sampler != "grid":
            early_end = coordinator.early_end
            warnings.warn(f"{early_end[0].upper()}{early_end[1:]}.", UserWarning, stacklevel=3)
        return SpaceSearch(coordinator, fold_scorer)

    def _set_results(
        self,
        estimator: Any,
        schema: Schema,
        searches: list[SpaceSearch],
        metrics: Metrics,
        fit_pipeline: Callable[[dict[str, Any]], Pipeline] | None,
    ) -> None:
        """Set the fitted attributes; `fit_pipeline` fits the best one. Raises DivergedError if all trials failed."""
        started = time.perf_counter()
        results = select_results(searches, schema)
        self.n_splits_ = len(searches[0].coordinator.plan.folds)
        self.scorer_, self.multimetric_ = metrics.scorers(), metrics.is_multimetric
        self.cv_results_ = make_cv_results(
            searches, metrics, self.error_score, return_train_score=self.return_train_score
        )
        selection = select_trial(searches, results, metrics, self.cv_results_)
        self.study_ = selection.coordinator.policy.sampler.study
        self.search_ = selection.result.metadata.to_json()
        if self.refit is not False or not self.multimetric_:
            self.best_index_, self.best_params_ = selection.index, self.cv_results_["params"][selection.index]
            if not callable(self.refit):
                self.best_score_ = float(self.cv_results_[f"mean_test_{metrics.primary}"][selection.index])
        if self.refit is not False:
            if fit_pipeline is not None:
                self.best_estimator_ = fit_pipeline(self.best_params_)
            else:
                best = best_model(selection, metrics, schema)
                self._set_models(estimator, selection.result.model, best, metrics.primary)
            self.refit_time_ = time.perf_counter() - started
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            if hasattr(getattr(self, "best_estimator_", None), name):
                setattr(self, name, getattr(self.best_estimator_, name))

    def _set_models(self, estimator: Any, ensemble: Model, best: Model, primary: str) -> None:
        self.best_estimator_ = deepcopy(estimator).set_params(**self.best_params_)
        self.ensemble_ = deepcopy(self.best_estimator_)
        for fitted, model in ((self.best_estimator_, best), (self.ensemble_, ensemble)):
            fitted.model_ = model
            fitted._set_fitted_attributes()
        if not np.isfinite(self.cv_results_[f"mean_test_{primary}"]).all():
            return  # which is reported already
        for description in describe_undefined_scores(ensemble):
            warnings.warn(f"{description}.", UserWarning, stacklevel=4)

    def _subspaces(self, pipeline: SearchedPipeline | None) -> list[Subspace]:
        spaces = [self.space or {}] if self.space is None or isinstance(self.space, Mapping) else self.space
        if not isinstance(spaces, list | tuple) or not spaces or not all(isinstance(s, Mapping) for s in spaces):
            raise SpecError(f"space must be a dict of parameters, or a list of them, but it is {self.space!r}.")
        return [Subspace(space, {}) for space in spaces] if pipeline is None else pipeline.split_spaces(spaces)

    def _specs(self, estimator: Any, metrics: Metrics, spaces: Sequence[Mapping[str, Any]]) -> list[Spec]:
        """The spec of each space."""
        spec = self._spec(estimator, metrics.compared_scoring)
        searchable = {*estimator.get_params(), *SHAPE_DIMENSIONS} - {
            "n_jobs",
            "verbose",
            "random_state",
            "scoring",
            "warm_start",
        }
        for name in dict.fromkeys(name for space in spaces for name in space):
            if name not in searchable:
                raise SpecError(f"The estimator has no parameter {name!r} to search.{did_you_mean(name, searchable)}")
        specs = [
            spec.with_search_space({name: _to_dimension(name, value) for name, value in space.items()})
            for space in spaces
        ]
        if self.trials is None:
            return specs
        if self.trials < len(spaces):
            raise SpecError(
                f"trials is {self.trials}, but there are {len(spaces)} spaces to search (of a Pipeline, one for each "
                f"combination of parameters of its other steps). Set trials to at least {len(spaces)}."
            )
        shares = _share_trials(specs, self.trials)
        return [spec.replace(trials=share) for spec, share in zip(specs, shares, strict=True)]

    def _spec(self, estimator: Any, scoring: Any) -> Spec:
        spec: Spec = estimator.set_params(scoring=scoring)._spec()
        if self.cv is not None and isinstance(self.cv, Integral):
            spec = spec.replace(folds=int(self.cv), repeats=1)
        return spec.replace(
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

    @property
    def _predictor(self) -> Any:
        check_is_fitted(self)
        return self.ensemble_ if self.ensemble else self.best_estimator_

    @available_if(_estimator_has("predict"))
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

    @available_if(_estimator_has("score"))
    def score(self, X: Any, y: Any) -> float:
        """Score predictions by `scoring`; with several metrics by the one that `refit` names, or else the first."""
        check_is_fitted(self)
        scorer = self.scorer_
        if self.multimetric_:
            scorer = scorer[self.refit if isinstance(self.refit, str) else next(iter(scorer))]
        return float(self._predictor.score(X, y) if scorer == "loss" else scorer(self._predictor, X, y))

    @available_if(_estimator_has("save"))
    def save(self, path: Any) -> None:
        """Save the model to a file that `rosenblatt predict` reads. Raises StorageError."""
        self._predictor.save(path)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "cv_results_")

    def __sklearn_tags__(self) -> Tags:
        tags, estimator_tags = super().__sklearn_tags__(), self.estimator.__sklearn_tags__()
        for name in ("estimator_type", "input_tags", "target_tags", "classifier_tags", "regressor_tags"):
            setattr(tags, name, getattr(estimator_tags, name))
        return tags


def _default_scorings(target: Target, spaces: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The scoring of `best_score_` if `scoring` is None, and the one that trials are compared by; empty for the same.

    Accuracy is noise on few rows, so trials are compared by the loss if they predict probabilities and have one loss.
    Scorers of scikit-learn do not take tags.
    """
    if target.task in ("regression", "tagging"):
        return "r2" if target.task == "regression" else "loss", ""
    has_one_loss = not any(name in CHANGES_LOSS_SCALE for space in spaces for name in space)
    return "accuracy", "loss" if has_one_loss and target.output_type == "probabilities" else ""


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
    schema, n = schema_from_frame(frame, X, keeps_sparse=estimator._keeps_sparse), frame.shape[0]
    y_encoded, weight = estimator._encode_target(y, n), check_sample_weight(sample_weight, n)
    data = make_dataset(frame, schema, y_encoded, weight)
    has_weight = None if weight is None else weight > 0
    if groups is not None:
        check_consistent_length(np.empty(n), groups)
        group_ids = np.unique(np.asarray(groups), return_inverse=True)[1]
        data = replace(data, groups=group_ids if has_weight is None else group_ids[has_weight])
    return schema, data, has_weight


def _share_trials(specs: Sequence[Spec], trials: int) -> list[int]:
    """Share trials equally among the spaces of specs, of which small ones get no more than their combinations."""
    sizes = []
    for spec in specs:
        proposals = combinations(Space.from_spec(spec), np.random.default_rng(0), on_grid=spec.search.sampler == "grid")
        sizes.append(sum(1 for _ in islice(proposals, trials)) if spec.space else trials)  # none is the default space
    shares = [0] * len(specs)
    for _ in range(trials):
        not_full = [index for index, size in enumerate(sizes) if shares[index] < size]
        shares[min(not_full or range(len(specs)), key=shares.__getitem__)] += 1
    return shares


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
    """Convert a list or array of choices, or a SciPy distribution, to a dimension."""
    if isinstance(value, list | range | np.ndarray) and len(value):
        distinct = {str(choice(item).values): item for item in value}
        if len(distinct) < len(value):
            n_repeats = format_count(len(value) - len(distinct), "value")
            warnings.warn(
                f"The space lists {n_repeats} of {name} more than once, which are proposed as often as others. Remove "
                "the repetitions.",
                UserWarning,
                stacklevel=5,
            )
        return choice(*distinct.values())
    if not hasattr(value, "dist"):
        return parse_dimension(name, value) or value
    kind, (low, high) = value.dist.name, value.support()
    if kind in ("loguniform", "reciprocal"):
        return log_uniform(float(low), float(high))
    if kind == "uniform":
        return uniform(float(low), float(high))
    if kind == "randint":
        return integer(int(low), int(high))
    quantiles = value.ppf((np.arange(N_QUANTILES) + 0.5) / N_QUANTILES)
    warnings.warn(
        f"{name} is the SciPy distribution {kind}, which is searched by {N_QUANTILES} equally probable values. Use "
        "uniform, loguniform, randint or a Rosenblatt dimension to search all values of a range.",
        UserWarning,
        stacklevel=5,
    )
    is_discrete = hasattr(value.dist, "pmf")
    return choice(*np.unique(quantiles.astype(int) if is_discrete else quantiles))
