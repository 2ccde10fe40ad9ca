"""Rosenblatt: perceptron networks, trained many at a time.

The names below are the public ones. They are loaded when first used, so that `import rosenblatt` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rosenblatt.data.readers.files import read_table
    from rosenblatt.estimators.base import MLPClassifier, MLPRegressor, Perceptron
    from rosenblatt.estimators.media import (
        CNNClassifier,
        CNNRegressor,
        RNNClassifier,
        RNNForecaster,
        RNNRegressor,
        RNNTagger,
    )
    from rosenblatt.estimators.search import PopulationSearchCV
    from rosenblatt.inspection.report import Report
    from rosenblatt.models.model_file import load_model
    from rosenblatt.runs.tracking.run import Run, track
    from rosenblatt.spec.dimensions import choice, integer, log_uniform, uniform
    from rosenblatt.spec.spec import Spec
    from rosenblatt.workflows.fit import evaluate, fit, predict, save
    from rosenblatt.workflows.tune import search

_HOMES = {
    "CNNClassifier": "estimators.media",
    "CNNRegressor": "estimators.media",
    "MLPClassifier": "estimators.base",
    "MLPRegressor": "estimators.base",
    "Perceptron": "estimators.base",
    "PopulationSearchCV": "estimators.search",
    "RNNClassifier": "estimators.media",
    "RNNForecaster": "estimators.media",
    "RNNRegressor": "estimators.media",
    "RNNTagger": "estimators.media",
    "Report": "inspection.report",
    "Run": "runs.tracking.run",
    "Spec": "spec.spec",
    "choice": "spec.dimensions",
    "evaluate": "workflows.fit",
    "fit": "workflows.fit",
    "integer": "spec.dimensions",
    "load_model": "models.model_file",
    "log_uniform": "spec.dimensions",
    "predict": "workflows.fit",
    "read_table": "data.readers.files",
    "save": "workflows.fit",
    "search": "workflows.tune",
    "track": "runs.tracking.run",
    "uniform": "spec.dimensions",
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
    "search",
    "track",
    "uniform",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"rosenblatt has no attribute {name!r}")
    return getattr(import_module(f"rosenblatt.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__name__"]
