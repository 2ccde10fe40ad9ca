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
    from rosenblatt.model import Model
    from rosenblatt.modelfile import load_model
    from rosenblatt.report import Report
    from rosenblatt.spec import Spec

_HOMES = {
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "Model": "model",
    "Perceptron": "estimators",
    "Report": "report",
    "RosenblattError": "errors",
    "Spec": "spec",
    "evaluate": "experiment",
    "fit": "experiment",
    "load_model": "modelfile",
    "predict": "experiment",
    "read_table": "data.sources",
    "save": "experiment",
}

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "Model",
    "Perceptron",
    "Report",
    "RosenblattError",
    "Spec",
    "evaluate",
    "fit",
    "load_model",
    "predict",
    "read_table",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"rosenblatt has no attribute {name!r}")
    return getattr(import_module(f"rosenblatt.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__name__"]
