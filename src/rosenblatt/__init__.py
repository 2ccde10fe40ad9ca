"""Rosenblatt: perceptron networks, trained many at a time.

The names below are the public ones. They are loaded when first used, so that `import rosenblatt` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rosenblatt.data.sources import read_table
    from rosenblatt.errors import RosenblattError
    from rosenblatt.estimators import MLPClassifier, MLPRegressor, Perceptron
    from rosenblatt.experiment import evaluate, fit, predict, save
    from rosenblatt.function_search import search
    from rosenblatt.model import Model
    from rosenblatt.modelfile import load_model
    from rosenblatt.report import Report
    from rosenblatt.runs.tracking import Run, track
    from rosenblatt.searchcv import PopulationSearchCV
    from rosenblatt.space import choice, integer, log_uniform, uniform
    from rosenblatt.spec import Spec

_HOMES = {
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "Model": "model",
    "Perceptron": "estimators",
    "PopulationSearchCV": "searchcv",
    "Report": "report",
    "RosenblattError": "errors",
    "Run": "runs.tracking",
    "Spec": "spec",
    "choice": "space",
    "evaluate": "experiment",
    "fit": "experiment",
    "integer": "space",
    "load_model": "modelfile",
    "log_uniform": "space",
    "predict": "experiment",
    "read_table": "data.sources",
    "save": "experiment",
    "search": "function_search",
    "track": "runs.tracking",
    "uniform": "space",
}

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "Model",
    "Perceptron",
    "PopulationSearchCV",
    "Report",
    "RosenblattError",
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
