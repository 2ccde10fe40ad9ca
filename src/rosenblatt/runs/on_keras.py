"""In: a run. Out: a callback with which Keras, on any backend, reports to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from rosenblatt.runs.tracking import Run


def callback(run: Run) -> Any:
    """The callback."""
    return _Reporter(run)


class _Reporter(keras.callbacks.Callback):
    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def on_train_begin(self, logs: Any = None) -> None:
        """The model, its optimizer and how it is trained."""
        self._run.describe(self.model)
        known = {name: value for name, value in (self.params or {}).items() if name in ("epochs", "steps")}
        self._run.set_params(known)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """All metrics of the epoch, those of validation too, and the learning rate."""
        rate = getattr(getattr(self.model, "optimizer", None), "learning_rate", None)
        more = {} if rate is None else {"learning_rate": float(keras.ops.convert_to_numpy(rate))}
        self._run.log({**(logs or {}), **more}, step=epoch)

    def on_test_end(self, logs: Any = None) -> None:
        """What `model.evaluate` found, where it does not belong to an epoch."""
        if logs and not getattr(self.model, "_is_fitting", False) and self.params and "epochs" not in self.params:
            self._run.log({f"test_{name}": value for name, value in logs.items()})
