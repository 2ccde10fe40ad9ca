"""scikit-learn estimator of the perceptron and its learning rules."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from rosenblatt.estimators.base import _Classifier
from rosenblatt.estimators.parameters import add_hyperparameters
from rosenblatt.spec.fields import FORECASTING_HYPERPARAMETERS


@add_hyperparameters("perceptron", exclude=FORECASTING_HYPERPARAMETERS | {"target_transform"})
class Perceptron(_Classifier):
    """Rosenblatt's perceptron: inputs times weights, plus a bias, through a step function, learning from its mistakes.

    One unit decides between two classes; of more, each has a unit and the largest sum wins (Rosenblatt 1958, 1962).
    Sparse matrices are learnt from as they are. After `fit`: `model_`, `classes_`, `n_iter_`, and for perceptrons of
    one layer `coef_`, `intercept_` (of the scaled inputs).

    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1]
    >>> Perceptron(numeric_encoding="none").fit(X, y).predict([[1, 1], [0, 1]])
    array([1, 0])
    """

    _kind = "perceptron"

    def decision_function(self, X: Any) -> np.ndarray:
        """The weighted sums: (n,) for two classes, the second wins above 0, else (n, classes or labels)."""
        sums = self._predict_raw(X)
        return sums[:, 1] if self.model_.target.task == "binary" else sums

    @property
    def coef_(self) -> np.ndarray:
        """The weights of the scaled inputs, (units, inputs). AttributeError where there are several layers."""
        return np.mean([weights.T for weights, _ in self._layers()], axis=0)

    @property
    def intercept_(self) -> np.ndarray:
        """The biases (units,). AttributeError as `coef_`."""
        return np.mean([biases for _, biases in self._layers()], axis=0)

    def _layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        check_is_fitted(self)
        networks = self.model_.networks
        if any(len(network.architecture.sizes) > 2 for network in networks):
            raise AttributeError(f"A perceptron of the rule {self.perceptron_rule} is more than one layer of weights.")
        return [network.dense.layers(network.theta)[0] for network in networks]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
