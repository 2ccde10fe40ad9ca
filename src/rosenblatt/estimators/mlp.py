"""scikit-learn estimators of multilayer perceptrons."""

from __future__ import annotations

from rosenblatt.estimators.base import ProbabilisticClassifier, Regressor
from rosenblatt.estimators.parameters import add_hyperparameters
from rosenblatt.spec.fields import FORECASTING_HYPERPARAMETERS


@add_hyperparameters("mlp", exclude=FORECASTING_HYPERPARAMETERS | {"target_transform"})
class MLPClassifier(ProbabilisticClassifier):
    """Multilayer perceptrons for classes, or for several labels at once.

    A population of networks, each of which spares another part of the rows to choose its best epoch, and whose
    probabilities are averaged. After `fit`: `model_`, `classes_`, `n_iter_`, `n_features_in_`, `feature_names_in_`.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> MLPClassifier(members=2, epochs=20).fit(X, y).score(X, y) > 0.9
    True
    """


@add_hyperparameters(
    "mlp", exclude=FORECASTING_HYPERPARAMETERS | {"class_weight", "logit_adjustment", "label_smoothing"}
)
class MLPRegressor(Regressor):
    """Multilayer perceptrons for one value or several.

    A population of networks, each of which spares another part of the rows to choose its best epoch, and whose
    predictions are averaged. After `fit`: `model_`, `n_iter_`, `n_features_in_`, `feature_names_in_`.

    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> MLPRegressor(members=2).fit(x, x[:, 0] ** 2).score(x, x[:, 0] ** 2) > 0.9
    True
    """
