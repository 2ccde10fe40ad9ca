"""Rosenblatt: populations of neural networks, trained together.

    from rosenblatt import MLPClassifier

    classifier = MLPClassifier().fit(X_train, y_train)

The public names are loaded when first used, so that `import rosenblatt` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rosenblatt.data.readers.read import read_table
    from rosenblatt.data.volumes.volume import volume
    from rosenblatt.estimators.cnn import CNNClassifier, CNNRegressor
    from rosenblatt.estimators.forecaster import RNNForecaster
    from rosenblatt.estimators.mlp import MLPClassifier, MLPRegressor
    from rosenblatt.estimators.perceptron import Perceptron
    from rosenblatt.estimators.rnn import RNNClassifier, RNNRegressor, RNNTagger
    from rosenblatt.estimators.search import PopulationSearchCV
    from rosenblatt.inspection.report import Report
    from rosenblatt.models.model_file import load_model
    from rosenblatt.runs.tracking.run import Run, track
    from rosenblatt.spec.dimensions import choice, integer, log_uniform, uniform
    from rosenblatt.spec.spec import Spec
    from rosenblatt.workflows.fit import fit, save
    from rosenblatt.workflows.predict import evaluate, predict
    from rosenblatt.workflows.tune import tune

_HOMES = {
    "CNNClassifier": "estimators.cnn",
    "CNNRegressor": "estimators.cnn",
    "MLPClassifier": "estimators.mlp",
    "MLPRegressor": "estimators.mlp",
    "Perceptron": "estimators.perceptron",
    "PopulationSearchCV": "estimators.search",
    "RNNClassifier": "estimators.rnn",
    "RNNForecaster": "estimators.forecaster",
    "RNNRegressor": "estimators.rnn",
    "RNNTagger": "estimators.rnn",
    "Report": "inspection.report",
    "Run": "runs.tracking.run",
    "Spec": "spec.spec",
    "choice": "spec.dimensions",
    "evaluate": "workflows.predict",
    "fit": "workflows.fit",
    "integer": "spec.dimensions",
    "load_model": "models.model_file",
    "log_uniform": "spec.dimensions",
    "predict": "workflows.predict",
    "read_table": "data.readers.read",
    "save": "workflows.fit",
    "track": "runs.tracking.run",
    "tune": "workflows.tune",
    "uniform": "spec.dimensions",
    "volume": "data.volumes.volume",
}

__all__ = [
    "CNNClassifier",
    "CNNRegressor",
    "MLPClassifier",
    "MLPRegressor",
    "Perceptron",
    "PopulationSearchCV",
    "RNNClassifier",
    "RNNForecaster",
    "RNNRegressor",
    "RNNTagger",
    "Report",
    "Run",
    "Spec",
    "choice",
    "evaluate",
    "fit",
    "integer",
    "load_model",
    "log_uniform",
    "predict",
    "read_table",
    "save",
    "track",
    "tune",
    "uniform",
    "volume",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"rosenblatt has no attribute {name!r}")
    return getattr(import_module(f"rosenblatt.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__name__"]
