"""Keras callback, for any backend, that logs to a run."""

from __future__ import annotations

from typing import Any

import keras

from rosenblatt.runs.integrations.tracked_run import TrackedRun


def callback(run: TrackedRun) -> Any:
    """Make the callback."""
    return _RunCallback(run)


class _RunCallback(keras.callbacks.Callback):
    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self._run, self._is_fitting = run, False

    def on_train_begin(self, logs: Any = None) -> None:
        """Record the model, its optimizer and the number of epochs."""
        self._is_fitting = True
        self._run.describe(self.model)
        fit_params = {name: value for name, value in (self.params or {}).items() if name in ("epochs", "steps")}
        self._run.set_params(fit_params)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log all metrics of the epoch, also validation metrics, and the learning rate."""
        rate = getattr(getattr(self.model, "optimizer", None), "learning_rate", None)
        extra = {} if rate is None else {"learning_rate": float(keras.ops.convert_to_numpy(rate))}
        self._run.log({**_scalars(logs), **extra}, step=epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """Treat later evaluations as tests, which belong to no epoch."""
        self._is_fitting = False

    def on_test_end(self, logs: Any = None) -> None:
        """Log the metrics of `model.evaluate`."""
        if not self._is_fitting:
            self._run.log({f"test_{name}": value for name, value in _scalars(logs).items()}, step=0)


def _scalars(logs: Any) -> dict[str, float]:
    """Convert metrics to numbers; metrics with several values, such as F1 per class, become one metric per value."""
    scalars: dict[str, float] = {}
    for name, value in (logs or {}).items():
        values = keras.ops.convert_to_numpy(value).reshape(-1).tolist()
        scalars |= (
            {name: values[0]} if len(values) == 1 else {f"{name}/{index}": item for index, item in enumerate(values)}
        )
    return scalars
