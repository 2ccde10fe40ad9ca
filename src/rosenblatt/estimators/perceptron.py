"""scikit-learn estimator of the perceptron and its learning rules."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from rosenblatt.estimators.base import Classifier
from rosenblatt.estimators.parameters import NOT_FOR_CLASSIFIERS, add_hyperparameters


@add_hyperparameters("perceptron", exclude=NOT_FOR_CLASSIFIERS)
class Perceptron(Classifier):
    """Rosenblatt's perceptron: a weighted sum of the inputs and a step function, trained by correcting mistakes.

    Two classes are separated by one unit. With more classes, each has a unit, and the largest sum wins (Rosenblatt
    1958, 1962). A sparse matrix X is never converted to a dense one, except by the rule kernel.

    Attributes:
        model_: the fitted `Model`.
        classes_: (classes,) the classes, sorted.
        coef_: (units, inputs) weights of the scaled inputs, for rules with one layer.
        intercept_: (units,) biases, for rules with one layer.
        n_iter_: number of epochs.
        n_features_in_: number of columns of X.
        feature_names_in_: names of the columns, if X was a frame.

    Examples:
        >>> from rosenblatt import Perceptron
        >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1]
        >>> perceptron = Perceptron(numeric_encoding="none").fit(X, y)
        >>> perceptron.predict([[1, 1], [0, 1]])
        array([1, 0])
        >>> perceptron.coef_.shape
        (1, 2)
    """

    _kind = "perceptron"

    @property
    def _keeps_sparse(self) -> bool:  # type: ignore[override]
        return bool(self.perceptron_rule != "kernel")

    @property
    def coef_(self) -> np.ndarray:
        """Weights of the scaled inputs, (units, inputs), mean over the members.

        Raises:
            AttributeError: if the rule has several layers (voted, kernel).
        """
        return np.mean([weights.T for weights, _ in self._layers()], axis=0)

    @property
    def intercept_(self) -> np.ndarray:
        """Biases (units,), mean over the members. Raises AttributeError like `coef_`."""
        return np.mean([biases for _, biases in self._layers()], axis=0)

    def _layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        check_is_fitted(self)
        networks = self.model_.networks
        if any(len(network.architecture.sizes) > 2 for network in networks):
            raise AttributeError(f"A perceptron with rule {self.perceptron_rule} has more than one layer of weights.")
        return [network.dense.layers(network.theta)[0] for network in networks]
