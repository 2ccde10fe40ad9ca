"""Callback of Keras, on any backend, that logs to a run."""

from __future__ import annotations

from typing import Any

import keras

from rosenblatt.runs.integrations.tracked_run import TrackedRun


def callback(run: TrackedRun) -> Any:
    """The callback."""
    return _RunCallback(run)


class _RunCallback(keras.callbacks.Callback):
    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self._run, self._is_fitting = run, False

    def on_train_begin(self, logs: Any = None) -> None:
        """The model, its optimizer and how it is trained."""
        self._is_fitting = True
        self._run.describe(self.model)
        fit_params = {name: value for name, value in (self.params or {}).items() if name in ("epochs", "steps")}
        self._run.set_params(fit_params)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """All metrics of the epoch, those of validation too, and the learning rate."""
        rate = getattr(getattr(self.model, "optimizer", None), "learning_rate", None)
        extra = {} if rate is None else {"learning_rate": float(keras.ops.convert_to_numpy(rate))}
        self._run.log({**_scalars(logs), **extra}, step=epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """What is evaluated from now on belongs to no epoch."""
        self._is_fitting = False

    def on_test_end(self, logs: Any = None) -> None:
        """What `model.evaluate` found."""
        if not self._is_fitting:
            self._run.log({f"test_{name}": value for name, value in _scalars(logs).items()}, step=0)


def _scalars(logs: Any) -> dict[str, float]:
    """Metrics as numbers; those that are several, such as F1 of each class, one by one."""
    scalars: dict[str, float] = {}
    for name, value in (logs or {}).items():
        values = keras.ops.convert_to_numpy(value).reshape(-1).tolist()
        scalars |= (
            {name: values[0]} if len(values) == 1 else {f"{name}/{index}": item for index, item in enumerate(values)}
        )
    return scalars
