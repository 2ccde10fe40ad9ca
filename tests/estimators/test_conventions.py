"""Conventions of scikit-learn that hold for every public estimator."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

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
