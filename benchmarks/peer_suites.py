"""Run scikit-learn's own tests of its MLP, perceptron and searches against our classes.

    python benchmarks/peer_suites.py                  all three suites
    python benchmarks/peer_suites.py --suite search   one of them
    python benchmarks/peer_suites.py --json

The tests come from the installed scikit-learn. While a suite is collected, the names in `SUITES` stand for adapters,
which take scikit-learn's parameters, translate those in `PARAMETERS`, and delegate to our estimators. Only tests that
use one of these names are run. Those in `NOT_APPLICABLE` are skipped, with the reason.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from common import make_parser, make_table
from rich.console import Console
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.model_selection import ParameterGrid

import rosenblatt

MAX_REASON = 110  # characters of a reason


def _sizes(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


SOLVERS = {"sgd": "momentum", "adam": "adam", "lbfgs": "adam"}  # there is no L-BFGS

KERNELS = {"rbf": "relu", "poly": "tanh", "linear": "identity"}  # activations that stand for kernels

PARAMETERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "hidden_layer_sizes": ("hidden_sizes", _sizes),
    "activation": ("activation", lambda value: {"logistic": "sigmoid"}.get(value, value)),
    "solver": ("optimizer", SOLVERS.__getitem__),
    "alpha": ("weight_decay", lambda value: min(value / 10, 1.0)),
    "learning_rate_init": ("learning_rate", float),
    "max_iter": ("epochs", int),
    "n_iter_no_change": ("patience", lambda value: int(min(value, 10_000))),
    "beta_1": ("beta1", float),
    "beta_2": ("beta2", float),
    "momentum": ("beta1", float),
    "shuffle": ("batch_order", lambda value: "shuffled" if value else "in_order"),
    "verbose": ("verbose", bool),
    "eta0": ("learning_rate", float),
    "C": ("clip_norm", lambda value: value),
    "gamma": ("max_norm", lambda value: value if isinstance(value, int | float) else 0.0),
    "kernel": ("activation", KERNELS.get),
    "max_depth": ("batch_size", int),
    "degree": ("max_categories", lambda value: 10 * value),
}
"""By scikit-learn's parameter: ours, and the function that converts the value. Names that are the same in both are
passed on; other parameters have no counterpart and are dropped, as are those that have scikit-learn's default."""

SETTINGS: dict[str, dict[str, Any]] = {
    "Perceptron": {"numeric_encoding": "none", "folds": 1},
    "MLPClassifier": {"hidden_sizes": (100,)},
    "MLPRegressor": {"hidden_sizes": (100,)},
}
"""By our class: inputs, folds or sizes of networks as those of scikit-learn, whatever the test sets."""

SEARCHED_SETTINGS = {"epochs": 5, "hidden_sizes": (8,), "numeric_encoding": "standard"}
"""Of the small networks that stand for other estimators in searches."""

OUR_COLUMNS = ("epochs", "state", "_loss")  # ends of names in `cv_results_` that scikit-learn's has not

NOT_PASSED = {"learning_rate", "loss"}  # of scikit-learn, whose meaning is another than ours


class Suite(NamedTuple):
    """A test file of scikit-learn."""

    module: str
    package: str  # that it imports the names from
    names: dict[str, str]  # by scikit-learn's class: ours


SUITES = {
    "mlp": Suite(
        "sklearn.neural_network.tests.test_mlp", "sklearn.neural_network",
        {"MLPClassifier": "MLPClassifier", "MLPRegressor": "MLPRegressor"},
    ),
    "perceptron": Suite(
        "sklearn.linear_model.tests.test_perceptron", "sklearn.linear_model", {"Perceptron": "Perceptron"}
    ),
    "search": Suite(
        "sklearn.model_selection.tests.test_search", "sklearn.model_selection",
        {"RandomizedSearchCV": "PopulationSearchCV", "GridSearchCV": "PopulationSearchCV"},
    ),
}  # fmt: skip

SEARCHED = {
    "sklearn.svm": {"SVC": "MLPClassifier", "LinearSVC": "MLPClassifier"},
    "sklearn.linear_model": {"LogisticRegression": "MLPClassifier", "Ridge": "MLPRegressor"},
    "sklearn.tree": {"DecisionTreeClassifier": "MLPClassifier", "DecisionTreeRegressor": "MLPRegressor"},
    "sklearn.ensemble": {"HistGradientBoostingClassifier": "MLPClassifier"},
}
"""Estimators that the tests of searches search: ours stand for them, as searches of others are out of scope."""

_INTERNALS = "reads or sets private attributes of scikit-learn's implementation"
_LBFGS = "is about L-BFGS, which we do not have"
_CALLBACKS = "is about scikit-learn's callbacks"
_ROUTING = "is about metadata routing"
_OTHER = "searches an estimator that is not a neural network"
NOT_APPLICABLE = {
    "test_fit": _INTERNALS,
    "test_gradient": _INTERNALS,
    "test_learning_rate_warmstart": _INTERNALS,
    "test_n_iter_no_change": _INTERNALS,
    "test_n_iter_no_change_inf": _INTERNALS,
    "test_adaptive_learning_rate": _INTERNALS,
    "test_early_stopping": "reads the attributes of a fit of one network; ours has a population",
    "test_mlp_param_dtypes": "reads coefs_ and intercepts_ of one network; ours has a population",
    "test_alpha": "reads coefs_ of one network; ours has a population",
    "test_shuffle": "reads coefs_ of one network; ours has a population",
    "test_lbfgs_classification_maxfun": _LBFGS,
    "test_lbfgs_regression_maxfun": _LBFGS,
    "test_mlp_partial_fit_after_fit": "is about early_stopping, which ours always does in fit and never in partial_fit",
    "test_mlp_warm_start_with_early_stopping": "reads validation_scores_, one per epoch of one network",
    "test_early_stopping_stratified": "is about early_stopping, which ours does without, if a class has too few rows",
    "test_minimum_input_sample_size": "is about early_stopping, which ours does without, if there are too few rows",
    "test_mlp_vs_poisson_glm_equivalent": _LBFGS,
    "test_perceptron_l1_ratio": "is about penalties, which our perceptron does not have",
    "test_validate_parameter_input": "is about ParameterGrid",
    "test_grid_search_bad_param_grid": "is about ParameterGrid; our spaces may hold single values, which are fixed",
    "test_grid_search_precomputed_kernel": "is about precomputed kernels",
    "test_grid_search_precomputed_kernel_error_nonsquare": "is about precomputed kernels",
    "test_search_cv_pairwise_property_delegated_to_base_estimator": "is about precomputed kernels",
    "test_search_cv__pairwise_property_delegated_to_base_estimator": "is about precomputed kernels",
    "test_search_cv_pairwise_property_equivalence_of_precomputed": "is about precomputed kernels",
    "test_multi_metric_search_forwards_metadata": _ROUTING,
    "test_score_rejects_params_with_no_routing_enabled": _ROUTING,
    "test_array_api_search_cv_classifier": "is about array namespaces other than NumPy",
    "test_search_html_repr": _OTHER,
    "test_search_cv_score_samples_error": _OTHER,
    "test_search_cv_score_samples_method": _OTHER,
    "test_search_cv_sample_weight_equivalence": _OTHER,
    "test_gridsearch_no_predict": _OTHER,
    "test_SearchCV_with_fit_params": "passes parameters of fit that our estimators do not have",
    "test_scalar_fit_param": "passes parameters of fit that our estimators do not have",
    "test_scalar_fit_param_compat": "passes parameters of fit that our estimators do not have",
    "test_predict_proba_disabled": "is about SVC, which has no probabilities by default; ours always has",
    "test_grid_search_with_multioutput_data": "fits a tree to each fold again, to compare the scores",
    "test_grid_search_correct_score_results": "fits an SVC to each fold again, to compare the scores",
    "test_search_cv_timing": "expects that C = 0 fails, which is a value of the parameter that stands for it",
    "test_search_cv_results_none_param": "searches random_state, which PopulationSearchCV sets itself",
    "test_custom_run_search": "subclasses a private base class",
    "test_search_cv_verbose_3": "is about what is printed; ours shows a progress bar",
    "test_search_callbacks_no_propagation": _CALLBACKS,
    "test_search_callbacks_propagation": _CALLBACKS,
    "test_search_callbacks_receive_sample_weight": _CALLBACKS,
    "test_search_callbacks_with_partial_fit_failures": _CALLBACKS,
    "test_stochastic_gradient_loss_param": _OTHER,
}
"""By test: why it cannot apply."""

_SCORES = "expects the scores of the other estimator that ours stands for, or the order of its proposals"
_WORDING = "our message has other words"
_ATTRIBUTES = "reads an attribute or parameter of the other estimator"
_PATIENCE = "sets the patience to all epochs, which asks for all of them; ours warns if early stopping could have ended"
_BEST_EPOCHS = "compares fit, which keeps the best epoch on held-out rows, with partial_fit, which holds out none"
EXPLANATIONS = {
    "test_perceptron_correctness": "a unit fires only above 0, so zero weights are right for rows of the first class",
    "test_refit_callable": _SCORES,
    "test_refit_callable_multi_metric": _SCORES,
    "test_search_default_iid": _SCORES,
    "test_search_cv_results_rank_tie_breaking": _SCORES,
    "test_refit_callable_invalid_type": _WORDING,
    "test_refit_callable_out_bound": _WORDING,
    "test_empty_cv_iterator_error": _WORDING,
    "test_callable_multimetric_error_on_invalid_key": _WORDING,
    "test_nonfinite_params": _WORDING,
    "test_grid_search_one_grid_point": _ATTRIBUTES,
    "test_grid_search_no_score": "fits without y",
    "test_grid_search_cv_results_multimetric": "each search keeps the best epochs by its first metric, not by others",
    "test_unsupported_sample_weight_scorer": "passes a metric as a scoring function, which ours refuses",
    "test_grid_search_cv_splits_consistency": "expects a value to be fitted twice that is twice in a list",
    "test_random_search_bad_cv": "has a splitter whose get_n_splits is wrong; ours uses the folds that it yields",
    "test_searchcv_raise_warning_with_non_finite_score": (
        "its scorer fails at each fifth call; ours is called after each epoch, and chooses none without a score"
    ),
    "test_verbose_sgd": "is about what is printed; ours shows a progress bar",
    "test_mlp_early_stopping_string_labels": "reads validation_scores_, one per epoch of one network",
    "test_mlp_diverging_loss": "reads validation_scores_, one per epoch of one network",
    "test_partial_fit_errors": _LBFGS,
    "test_multilabel_classification": "needs L-BFGS: with Adam, scikit-learn's network reaches 0.60",
    "test_lbfgs_regression": "needs L-BFGS, to fit noise: with Adam, scikit-learn's network reaches 0.89",
    "test_partial_fit_classification": _BEST_EPOCHS,
    "test_partial_fit_unseen_classes": "expects a score above 0 after two steps with the default learning rate",
    "test_partial_fit_regression": _BEST_EPOCHS,
    "test_warm_start": "expects an error if y lacks one of the classes of the previous fit, which ours takes",
    "test_mlp_loading_from_joblib_partial_fit": "its only column is constant, so ours learns by the output bias alone",
    "test_preserve_feature_names": "fits a classifier to a single class, which ours refuses",
    "test_mlp_warm_start_no_convergence": _PATIENCE,
}
"""By test that fails: the reason, where the error does not tell it."""

OUT_OF_SCOPE = ("estimator must be a Rosenblatt estimator", "The last step of a Pipeline")  # messages for others


class Adapter(BaseEstimator):
    """One of our estimators behind scikit-learn's parameters."""

    _ours: type
    _settings: Mapping[str, Any]

    def _translate(self, params: Mapping[str, Any]) -> dict[str, Any]:
        names = inspect.signature(self._ours).parameters
        translated = {}
        if params.get("solver") == "lbfgs":  # which has no learning rate
            params = {name: value for name, value in params.items() if name != "learning_rate_init"}
        for name, value in params.items():
            if name in PARAMETERS and PARAMETERS[name][0] in names:
                translated[PARAMETERS[name][0]] = PARAMETERS[name][1](value)
            elif name in names and name not in NOT_PASSED:
                translated[name] = value
        return translated

    def make_ours(self) -> Any:
        """Our estimator, with the parameters that differ from scikit-learn's defaults."""
        defaults = inspect.signature(type(self)).parameters
        changed = {name: value for name, value in self.get_params(deep=False).items()
                   if not _is_default(value, defaults[name].default)}  # fmt: skip
        return self._ours(**{**self._settings, **self._translate(changed)})

    def fit(self, *arguments: Any, **options: Any) -> Any:
        self._inner = self.make_ours()
        self._inner.fit(*arguments, **options)
        return self

    def partial_fit(self, *arguments: Any, **options: Any) -> Any:
        if "_inner" not in vars(self):
            self._inner = self.make_ours()
        self._inner.partial_fit(*arguments, **options)
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_inner":
            raise AttributeError(name)
        inner = vars(self).get("_inner") or (self.make_ours() if not name.endswith("_") else None)
        if inner is None or not hasattr(inner, name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(inner, name)


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and value == default)


def make_adapter(peer: type, ours: str, settings: Mapping[str, Any]) -> type:
    """An adapter with the constructor of a class of scikit-learn."""
    mixin = RegressorMixin if issubclass(peer, RegressorMixin) else ClassifierMixin
    signature = inspect.signature(peer)

    def __init__(self: Any, *arguments: Any, **options: Any) -> None:  # noqa: N807 - the constructor of the class
        bound = signature.bind(*arguments, **options)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            setattr(self, name, value)

    own = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *signature.parameters.values()]
    vars(__init__)["__signature__"] = signature.replace(parameters=own)
    body: dict[str, Any] = {
        "__module__": __name__,
        "__init__": __init__,
        "_ours": getattr(rosenblatt, ours),
        "_settings": settings,
        "score": mixin.score,
    }
    adapter = type(peer.__name__, (mixin, Adapter), body)
    globals()[peer.__name__] = adapter  # so that it can be pickled
    return adapter


class SearchAdapter(rosenblatt.PopulationSearchCV):
    """Our search behind the parameters of RandomizedSearchCV or GridSearchCV; results have scikit-learn's names."""

    _sampler = "random"

    def __init__(self, estimator: Any, space: Any, *, n_iter: int = 10, **options: Any) -> None:
        for name in ("pre_dispatch", "random_state"):
            options.pop(name, None)
        self._peer = estimator
        self._spaces = [dict(part) for part in (space if isinstance(space, list | tuple) else [space])]
        is_adapter = isinstance(estimator, Adapter)
        spaces = [self._translate_space(part) if is_adapter else part for part in self._spaces]
        n_trials = len(ParameterGrid(self._spaces)) if self._sampler == "grid" else n_iter
        super().__init__(
            clone(estimator).make_ours() if is_adapter else estimator, spaces if len(spaces) > 1 else spaces[0],
            trials=n_trials, sampler=self._sampler, stopping="none",
            **{"cv": 5} | {k: bool(v) if k == "verbose" else v for k, v in options.items()},
        )  # fmt: skip

    def _translate_space(self, space: Mapping[str, Any]) -> dict[str, Any]:
        translated = {}
        for name, values in space.items():
            is_list = isinstance(values, list | tuple | range | np.ndarray)
            converted = [self._peer._translate({name: value}) for value in (list(values) if is_list else [1])]
            if converted[0]:
                ours = next(iter(converted[0]))
                translated[ours] = [entry[ours] for entry in converted] if is_list else values
        return translated

    def fit(self, *arguments: Any, **options: Any) -> Any:
        super().fit(*arguments, **options)
        names = {ours: name for name, (ours, _) in PARAMETERS.items() if any(name in part for part in self._spaces)}

        def rename(params: Mapping[str, Any]) -> dict[str, Any]:
            return {names.get(name, name): value for name, value in params.items()}

        columns = {key: f"param_{names.get(key[6:], key[6:])}" for key in self.cv_results_ if key.startswith("param_")}
        self.cv_results_ = {
            columns.get(key, key): value for key, value in self.cv_results_.items() if not key.endswith(OUR_COLUMNS)
        }
        self.cv_results_["params"] = [rename(params) for params in self.cv_results_["params"]]
        for kernel, activation in KERNELS.items():
            column = self.cv_results_.get("param_kernel", np.array([], object))
            column[column == activation] = kernel
        if hasattr(self, "best_params_"):
            self.best_params_ = rename(self.best_params_)
        if hasattr(self, "best_estimator_"):
            vars(self.best_estimator_).update(self.best_params_)
        return self

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return sorted(inspect.signature(rosenblatt.PopulationSearchCV).parameters)


class RandomizedSearch(SearchAdapter):
    def __init__(self, estimator: Any, param_distributions: Any, **options: Any) -> None:
        super().__init__(estimator, param_distributions, **options)


class GridSearch(SearchAdapter):
    _sampler = "grid"

    def __init__(self, estimator: Any, param_grid: Any, **options: Any) -> None:
        super().__init__(estimator, param_grid, **options)


SEARCHES = {"RandomizedSearch": RandomizedSearch, "GridSearch": GridSearch}


def replacements(suite: Suite) -> dict[tuple[str, str], Any]:
    """Adapters by package and name."""
    adapters: dict[tuple[str, str], Any] = {}
    tables = {suite.package: suite.names}
    if suite.package == "sklearn.model_selection":
        adapters = {(suite.package, f"{name}CV"): cls for name, cls in SEARCHES.items()}
        tables = SEARCHED
    for package, names in tables.items():
        for name, ours in names.items():
            settings = SEARCHED_SETTINGS if tables is SEARCHED else SETTINGS.get(ours, {})
            adapters[package, name] = make_adapter(getattr(importlib.import_module(package), name), ours, settings)
    return adapters


@contextmanager
def patched(adapters: Mapping[tuple[str, str], Any]) -> Iterator[None]:
    """Let the packages of scikit-learn have adapters under the names of its classes."""
    saved = {key: getattr(importlib.import_module(key[0]), key[1]) for key in adapters}
    for (package, name), adapter in adapters.items():
        setattr(importlib.import_module(package), name, adapter)
    try:
        yield
    finally:
        for (package, name), original in saved.items():
            setattr(importlib.import_module(package), name, original)


class Recorder:
    """pytest plugin that selects the tests, limits their time and records the outcomes."""

    def __init__(self, names: set[str], seconds: int) -> None:
        self._names, self._seconds = names, seconds
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}
        self.not_applicable: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if self._is_selected(item)]

    def _is_selected(self, item: Any) -> bool:
        values = getattr(getattr(item, "callspec", None), "params", {}).values()
        text = inspect.getsource(item.function) + " ".join(f"{value!r} {type(value).__name__}" for value in values)
        if not any(name in text for name in self._names):
            return False
        if item.originalname in NOT_APPLICABLE:
            self.not_applicable[item.name] = NOT_APPLICABLE[item.originalname]
            return False
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: Any) -> Any:
        def stop(*_: Any) -> None:
            raise TimeoutError(f"took more than {self._seconds} s")

        signal.signal(signal.SIGALRM, stop)
        signal.alarm(self._seconds)
        try:
            return (yield)
        finally:
            signal.alarm(0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any:
        report = yield
        if call.when == "call" and call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            lines = str(call.excinfo.value).strip().splitlines() or [""]
            error_text = f"{call.excinfo.typename}: {lines[0]}"[:MAX_REASON]
            explanation = EXPLANATIONS.get(item.originalname)
            reason = error_text if explanation is None else f"{explanation} ({error_text})"
            error_chain = [call.excinfo.value]
            while (earlier := error_chain[-1].__context__) is not None:  # such as inside `pytest.warns`
                error_chain.append(earlier)
            is_out_of_scope = any(str(error).startswith(OUT_OF_SCOPE) for error in error_chain)
            target = self.not_applicable if is_out_of_scope else self.failed
            target[item.name] = "searches an estimator that is not ours" if is_out_of_scope else reason
        elif call.when == "call" and call.excinfo is None:
            self.passed.append(item.name)
        return report


def run_suite(suite: Suite, seconds: int, pattern: str) -> dict[str, Any]:
    """Run a suite, at most some seconds per test."""
    recorder = Recorder(set(suite.names), seconds)
    with patched(replacements(suite)), warnings.catch_warnings():
        spec = importlib.util.find_spec(suite.module)
        arguments = [
            str(spec.origin),
            "-p",
            "no:cacheprovider",
            "-p",
            "no:terminal",
            "-p",
            "no:xdist",
            "-c",
            "/dev/null",
        ]
        pytest.main([*arguments, *(["-k", pattern] if pattern else [])], plugins=[recorder])
    return {"passed": recorder.passed, "failed": recorder.failed, "not applicable": recorder.not_applicable}


def main() -> None:
    parser = make_parser(__doc__ or "")
    parser.add_argument("--suite", choices=list(SUITES), help="run this one only")
    parser.add_argument("--seconds", type=int, default=60, help="time limit of a test")
    parser.add_argument("-k", dest="pattern", default="", help="run only tests whose name contains this")
    arguments = parser.parse_args()
    names = [arguments.suite] if arguments.suite else list(SUITES)
    results = {name: run_suite(SUITES[name], arguments.seconds, arguments.pattern) for name in names}
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    console = Console()
    for name, result in results.items():
        counts = ", ".join(f"{len(tests)} {outcome}" for outcome, tests in result.items())
        for outcome in ("failed", "not applicable"):
            table = make_table(f"{name}: {counts}", outcome, "reason")
            for test, reason in result[outcome].items():
                table.add_row(test, reason)
            console.print(table)


if __name__ == "__main__":
    main()
