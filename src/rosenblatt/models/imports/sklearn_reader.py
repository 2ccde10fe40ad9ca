"""Read a multilayer perceptron or perceptron of scikit-learn from a file of skops, which holds no code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt.errors import ExportError
from rosenblatt.models.imports.files import open_archive, reports_damage
from rosenblatt.models.imports.layers import Activation, FileContent, Layer, Linear, Scaling

TRUSTED = [  # beside what skops itself trusts: attributes of fitted networks
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
]
ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid", "identity": "identity", "softmax": "softmax"}
ESTIMATORS = ("MLPClassifier", "MLPRegressor", "Perceptron")
SCALERS = ("StandardScaler", "MinMaxScaler", "RobustScaler", "MaxAbsScaler")


def read(path: Path) -> FileContent:
    """Read a file of skops: an estimator, or a Pipeline that scales its inputs first.

    Raises ExportError if the file is damaged, needs code that is not trusted, or holds another estimator.
    """
    import skops.io

    with open_archive(path, "a file of skops"):
        pass  # its size is checked before it is read
    with reports_damage(path, "a file of skops"):
        untrusted = [name for name in skops.io.get_untrusted_types(file=path) if name not in TRUSTED]
        if untrusted:
            raise ExportError(
                f"The file needs {untrusted[0]}, which is code that is not run. Save the fitted estimator alone."
            )
        estimator = skops.io.load(path, trusted=TRUSTED)
    return read_estimator(estimator)


def read_estimator(estimator: Any) -> FileContent:
    """The layers of a fitted estimator. Raises ExportError if it is another one than `ESTIMATORS`."""
    steps = [step for _, step in estimator.steps] if type(estimator).__name__ == "Pipeline" else [estimator]
    network, layers = steps[-1], list[Layer]()
    for step in steps[:-1]:
        if type(step).__name__ not in SCALERS:
            raise _refusal(type(step).__name__, f"expected one of {', '.join(SCALERS)} before the network")
        layers += _read_scaler(step)
    if type(network).__name__ not in ESTIMATORS:
        raise _refusal(type(network).__name__, f"expected one of {', '.join(ESTIMATORS)}")
    is_perceptron = type(network).__name__ == "Perceptron"
    layers += _read_perceptron(network) if is_perceptron else _read_layers(network)
    columns = tuple(map(str, getattr(steps[0], "feature_names_in_", ())))
    classes = tuple(label.item() if hasattr(label, "item") else label for label in getattr(network, "classes_", ()))
    return FileContent(tuple(layers), columns, classes, is_perceptron=is_perceptron)


def _read_layers(network: Any) -> Iterator[Layer]:
    if network.out_activation_ not in ACTIVATIONS:
        raise _refusal(type(network).__name__, f"its outputs have the activation {network.out_activation_}")
    last = len(network.coefs_) - 1
    for k, (weight, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        yield Linear(np.asarray(weight, np.float64), np.asarray(bias, np.float64))
        yield Activation(ACTIVATIONS[network.activation if k < last else network.out_activation_])


def _read_perceptron(network: Any) -> Iterator[Layer]:
    yield Linear(np.asarray(network.coef_, np.float64).T, np.asarray(network.intercept_, np.float64))


def _read_scaler(scaler: Any) -> Iterator[Scaling]:
    if getattr(scaler, "clip", False) or getattr(scaler, "unit_variance", False):
        raise _refusal(type(scaler).__name__, "it clips values, or scales to unit variance")
    n = scaler.n_features_in_
    if type(scaler).__name__ == "MinMaxScaler":
        yield Scaling(np.asarray(scaler.scale_), np.asarray(scaler.min_))
        return
    center, scale = (getattr(scaler, name, None) for name in ("center_", "scale_"))
    center = getattr(scaler, "mean_", None) if center is None else center
    if type(scaler).__name__ == "StandardScaler" and not scaler.with_mean:
        center = None
    factor = np.ones(n) if scale is None else 1 / np.asarray(scale, np.float64)
    yield Scaling(factor, np.zeros(n) if center is None else -np.asarray(center, np.float64) * factor)


def _refusal(name: str, reason: str) -> ExportError:
    return ExportError(f"{name} is no dense network that can be imported: {reason}.")
