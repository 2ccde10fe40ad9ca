"""Conventions of scikit-learn that hold for every public estimator, and its own checks."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from rosenblatt.errors import TableError
from rosenblatt.estimators.cnn import CNNClassifier, CNNRegressor
from rosenblatt.estimators.forecaster import RNNForecaster
from rosenblatt.estimators.mlp import MLPClassifier, MLPRegressor
from rosenblatt.estimators.perceptron import Perceptron
from rosenblatt.estimators.rnn import RNNClassifier, RNNRegressor, RNNTagger
from rosenblatt.estimators.search import PopulationSearchCV

ESTIMATORS = [
    MLPClassifier(), MLPRegressor(), Perceptron(), CNNClassifier(), CNNRegressor(), RNNClassifier(), RNNRegressor(),
    RNNTagger(), RNNForecaster(), PopulationSearchCV(MLPClassifier()),
]  # fmt: skip


class _Square:
    """Makes an array (n, F) of the checks square images, filled up with zeros."""

    def _to_media_column(self, X):
        rows = np.asarray(X)
        if rows.ndim == 2 and rows.shape[1]:
            side = int(np.ceil(rows.shape[1] ** 0.5))
            zeros = np.zeros((len(rows), side**2 - rows.shape[1]), rows.dtype)
            rows = np.hstack([rows, zeros]).reshape(len(rows), side, side)
        return super()._to_media_column(rows)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


class SquareCNNClassifier(_Square, CNNClassifier):
    pass


class SquareCNNRegressor(_Square, CNNRegressor):
    pass


SMALL = {"members": 1, "folds": 2, "n_jobs": 1, "batch_size": 16, "patience": 60, "epochs": 60}
IMAGES = SMALL | {
    "channels": (8,), "block_layers": 1, "residual": False, "global_pooling": "flatten", "cutout": 0.0, "crop": 0,
    "flip": False, "learning_rate": 0.02, "epochs": 15,
}  # fmt: skip
SEQUENCES = SMALL | {"recurrent_width": 16, "rnn_cell": "gru", "learning_rate": 0.03}
SPACE = {"learning_rate": [0.01, 0.05]}

CHECKED = [
    MLPClassifier(members=2),
    MLPClassifier(members=2, loss="hinge", hidden_sizes=(64,)),
    MLPRegressor(members=2),
    Perceptron(),
    SquareCNNClassifier(**IMAGES),
    SquareCNNRegressor(**IMAGES),
    RNNClassifier(**SEQUENCES),
    RNNRegressor(**SEQUENCES | {"rnn_cell": "elman", "epochs": 30, "batch_size": 32}),
    RNNTagger(**SMALL | {"epochs": 2}),
    RNNForecaster(members=1, n_jobs=1, epochs=2, recurrent_width=4),
    PopulationSearchCV(MLPClassifier(epochs=20, hidden_sizes=(16,)), SPACE, trials=2, cv=2),
    PopulationSearchCV(MLPRegressor(epochs=20, hidden_sizes=(16,)), SPACE, trials=2, cv=2),
]
REPEATS = (
    "minibatches are sampled in random order, so a row of weight 2 does not exactly equal two rows of weight 1; only "
    "rows of weight 0 exactly equal removed rows"
)


def because(reason, *checks):
    return {f"check_{check}": reason for check in checks}


NOT_COLUMNS = because(
    "the rows of an array are images or sequences, whose size may vary, so it has no number of features",
    "n_features_in", "n_features_in_after_fitting", "estimators_partial_fit_n_features", "classifiers_train",
) | because(
    "the numbers of a frame are columns of their own, not pixels or steps",
    "sample_weights_pandas_series", "classifier_data_not_an_array", "regressor_data_not_an_array",
) | because(
    "images without pixels are refused in other words, and sequences may be empty", "estimators_empty_data_messages"
)  # fmt: skip
OF_SEQUENCES = NOT_COLUMNS | because(
    "PyTorch rounds differently for other numbers of rows", "methods_subset_invariance"
)
OF_TAGS = OF_SEQUENCES | because(
    "each step of a row needs a tag, and the checks give one target per row",
    "fit_score_takes_y", "estimators_overwrite_params", "dont_overwrite_parameters", "estimators_fit_returns_self",
    "readonly_memmap_input", "positive_only_tag_during_fit", "estimators_dtypes", "sample_weights_not_an_array",
    "sample_weights_list", "sample_weights_shape", "sample_weights_not_overwritten", "dtype_object",
    "pipeline_consistency", "estimators_pickle", "f_contiguous_array_estimator", "methods_sample_order_invariance",
    "fit2d_1sample", "dict_unchanged", "fit_idempotent", "fit_check_is_fitted", "fit2d_predict1d",
)  # fmt: skip
OF_SERIES = NOT_COLUMNS | because(
    "X is a series, which is forecast as a whole: its numbers are no rows, and their order counts",
    "methods_sample_order_invariance", "methods_subset_invariance", "dtype_object", "fit1d", "fit2d_predict1d",
) | because(
    "a series must be longer than a window and the horizon", "fit_score_takes_y", "dont_overwrite_parameters",
    "pipeline_consistency", "f_contiguous_array_estimator", "fit2d_1sample", "fit2d_1feature", "dict_unchanged",
) | because(
    "SciPy refuses the one-dimensional sparse array that the check makes", "estimator_sparse_array"
)  # fmt: skip
EXCEPTIONS = {
    SquareCNNClassifier: NOT_COLUMNS,
    SquareCNNRegressor: NOT_COLUMNS,
    RNNClassifier: OF_SEQUENCES,
    RNNRegressor: OF_SEQUENCES,
    RNNTagger: OF_TAGS,
    RNNForecaster: OF_SERIES,
}
OF_SEARCHED_REGRESSORS = because("a search of one row is refused in other words", "fit2d_1sample")

# Checks that need good predictions, or that PyTorch's rounding may fail for a network that has learned little; for the
# others, and for those that are expected to fail, two epochs of training do
CHECKS_OF_TRAINED_NETWORKS = {
    "check_classifiers_train", "check_regressors_train", "check_class_weight_classifiers",
    "check_methods_subset_invariance",
}  # fmt: skip


def expected_failures(estimator):
    repeats = because(REPEATS, "sample_weight_equivalence_on_dense_data", "sample_weight_equivalence_on_sparse_data")
    if isinstance(getattr(estimator, "estimator", None), MLPRegressor):
        return repeats | OF_SEARCHED_REGRESSORS
    return repeats | EXCEPTIONS.get(type(estimator), {})


@pytest.mark.slow
@pytest.mark.torch
@parametrize_with_checks(CHECKED, expected_failed_checks=expected_failures)
def test_scikit_learn_checks_pass(estimator, check):
    name = check.func.__name__
    needs_training = name in CHECKS_OF_TRAINED_NETWORKS and name not in expected_failures(estimator)
    if not needs_training:
        names = {"epochs", "estimator__epochs"} & estimator.get_params().keys()
        estimator = clone(estimator).set_params(**dict.fromkeys(names, 2))
    check(estimator)


def test_every_public_estimator_is_checked_by_scikit_learn():
    checked = {base for estimator in CHECKED for base in type(estimator).__mro__}
    assert {type(estimator) for estimator in ESTIMATORS} <= checked


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_tags_say_what_the_input_may_be(estimator):
    tags, name = get_tags(estimator).input_tags, type(estimator).__name__
    assert tags.two_d_array == (not name.startswith("CNN"))
    assert tags.three_d_array == name.startswith(("CNN", "RNNC", "RNNR", "RNNT"))
    assert tags.sparse == name.startswith(("MLP", "Perceptron", "PopulationSearchCV"))
    assert tags.allow_nan == (not name.startswith("CNN"))


@pytest.mark.torch
@pytest.mark.parametrize("estimator", [CNNClassifier(), RNNClassifier(), RNNTagger(), RNNForecaster()], ids=str)
def test_sparse_and_complex_input_of_media_is_refused_in_one_sentence(estimator):
    y = None if isinstance(estimator, RNNForecaster) else [0, 1] * 2
    for X, message in (
        (csr_array(np.eye(4)), "sparse input is not supported"),
        (np.full((4, 4), 1j), "complex numbers"),
    ):
        with pytest.raises(TableError, match=message):
            estimator.fit(X, y)


@pytest.mark.torch
def test_a_single_sequence_is_refused_with_the_shape_it_should_have():
    with pytest.raises(TableError, match=r"a single sequence. Reshape your data with X.reshape\(1, -1\)"):
        RNNClassifier().fit([1.0, 2.0], [0, 1])


@pytest.mark.torch
@pytest.mark.parametrize("tags", [[[1j], [2j]], [["a"], [None]], [["a"], [1]], [[None], [None]]], ids=str)
def test_tags_that_are_no_classes_are_refused(tags):
    with pytest.raises(TableError, match="The tags in y must be all words, or all numbers"):
        RNNTagger().fit([[1.0], [2.0]], tags)


@pytest.mark.parametrize(("hyperparameters", "is_warned"), [
    ({"epochs": 3}, True), ({}, False), ({"epochs": 3, "folds": 1}, False), ({"epochs": 3, "patience": 3}, False),
    ({"epochs": 3, "folds": 1, "tol": 1e-4}, True), ({"epochs": 3, "folds": 1, "tol": None}, False),
    ({"epochs": 9, "folds": 1, "tol": 9, "patience": 8}, False),
], ids=str)  # fmt: skip
def test_a_convergence_warning_says_that_epochs_are_too_few(hyperparameters, is_warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MLPClassifier(members=2, learning_rate=0.001, **hyperparameters).fit(*load_iris(return_X_y=True))
    messages = [str(warning.message) for warning in caught if warning.category is ConvergenceWarning]
    assert bool(messages) == is_warned
    assert all("maximum of 3 epochs" in message for message in messages)


@pytest.mark.torch
def test_features_are_counted_only_where_rows_have_columns(tmp_path):
    images, y = np.random.default_rng(0).integers(0, 256, (8, 4, 4)).astype(np.uint8), [0, 1] * 4
    model = CNNClassifier(channels=(2,), block_layers=1, epochs=1, members=1, folds=1).fit(images, y)
    model.save(tmp_path / "m")
    for fitted in (model, CNNClassifier.load(tmp_path / "m")):
        assert not hasattr(fitted, "n_features_in_")
        assert not hasattr(fitted, "feature_names_in_")


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function", "score", "save", "coef_"]
)
def test_what_needs_a_fit_says_so(estimator, method, tmp_path):
    if not hasattr(type(estimator), method):
        return
    arguments = {"score": (np.zeros((2, 4, 4)), [0, 1]), "save": (tmp_path / "m",)}
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(estimator, method)(*arguments.get(method, (np.zeros((2, 4, 4)),)))
