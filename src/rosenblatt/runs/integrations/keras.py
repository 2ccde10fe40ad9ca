"""In: a run. Out: a callback with which Keras, on any backend, reports to it."""

from __future__ import annotations

from typing import Any

import keras

from rosenblatt.runs.integrations.tracked_run import TrackedRun


def callback(run: TrackedRun) -> Any:
    """The callback."""
    return _Reporter(run)


class _Reporter(keras.callbacks.Callback):
    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self._run, self._fits = run, False

    def on_train_begin(self, logs: Any = None) -> None:
        """The model, its optimizer and how it is trained."""
        self._fits = True
        self._run.describe(self.model)
        known = {name: value for name, value in (self.params or {}).items() if name in ("epochs", "steps")}
        self._run.set_params(known)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """All metrics of the epoch, those of validation too, and the learning rate."""
        rate = getattr(getattr(self.model, "optimizer", None), "learning_rate", None)
        more = {} if rate is None else {"learning_rate": float(keras.ops.convert_to_numpy(rate))}
        self._run.log({**_scalars(logs), **more}, step=epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """What is evaluated from now on belongs to no epoch."""
        self._fits = False

    def on_test_end(self, logs: Any = None) -> None:
        """What `model.evaluate` found."""
        if not self._fits:
            self._run.log({f"test_{name}": value for name, value in _scalars(logs).items()}, step=0)


def _scalars(logs: Any) -> dict[str, float]:
    """Metrics as numbers; those that are several, such as F1 of each class, one by one."""
    found: dict[str, float] = {}
    for name, value in (logs or {}).items():
        values = keras.ops.convert_to_numpy(value).reshape(-1).tolist()
        found |= {name: values[0]} if len(values) == 1 else {f"{name}/{k}": one for k, one in enumerate(values)}
    return found
