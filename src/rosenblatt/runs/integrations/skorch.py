"""Callback of skorch that logs to a run."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import Callback

from rosenblatt.runs.integrations.tracked_run import TrackedRun


def callback(run: TrackedRun) -> Any:
    """Make the callback."""
    return RunCallback(run)


class RunCallback(Callback):
    """Logs each epoch of a net to a run."""

    def __init__(self, run: TrackedRun) -> None:
        self.run = run

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Record the module, its optimizer, and the settings of the net."""
        self.run.describe(net.module_, net.optimizer_)
        self.run.set_params({name: getattr(net, name) for name in ("max_epochs", "batch_size")})

    def on_epoch_end(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Log all numbers of the epoch in the history of the net."""
        epoch = net.history[-1]
        metrics = {k: v for k, v in epoch.items() if isinstance(v, float) and not isinstance(v, bool)}
        self.run.log(metrics, step=epoch["epoch"] - 1)
