"""scikit-learn estimators of multilayer perceptrons."""

from __future__ import annotations

from rosenblatt.estimators.base import ProbabilisticClassifier, Regressor
from rosenblatt.estimators.parameters import NOT_FOR_CLASSIFIERS, NOT_FOR_REGRESSORS, add_hyperparameters


@add_hyperparameters("mlp", exclude=NOT_FOR_CLASSIFIERS)
class MLPClassifier(ProbabilisticClassifier):
    """Population of multilayer perceptrons for classification.

    Each network holds out a different part of the training rows to choose its best epoch. The predicted probabilities
    are the mean over the networks. Several labels are predicted at once if y is (n, labels).

    Attributes:
        model_: the fitted `Model`.
        classes_: (classes,) the classes, sorted.
        n_iter_: number of epochs of the network that was trained longest.
        n_features_in_: number of columns of X.
        feature_names_in_: names of the columns, if X was a frame.

    Examples:
        >>> from sklearn.datasets import load_iris
        >>> from rosenblatt import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = MLPClassifier(members=2, epochs=20).fit(X, y)
        >>> classifier.predict(X[:3])
        array([0, 0, 0])
        >>> classifier.score(X, y) > 0.9
        True
    """


@add_hyperparameters("mlp", exclude=NOT_FOR_REGRESSORS)
class MLPRegressor(Regressor):
    """Population of multilayer perceptrons for regression.

    Each network holds out a different part of the training rows to choose its best epoch. The predictions are the mean
    over the networks. Several targets are predicted at once if y is (n, targets).

    Attributes:
        model_: the fitted `Model`.
        n_iter_: number of epochs of the network that was trained longest.
        n_features_in_: number of columns of X.
        feature_names_in_: names of the columns, if X was a frame.

    Examples:
        >>> import numpy as np
        >>> from rosenblatt import MLPRegressor
        >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
        >>> y = X[:, 0] ** 2
        >>> MLPRegressor(members=2).fit(X, y).score(X, y) > 0.9
        True
    """
