"""Methods of a run that make callbacks and loggers for training loops of other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rosenblatt.runs.integrations.tracked_run import TrackedRun


class FrameworkMethods:
    """A run to which other libraries report their training; each method raises ModuleNotFoundError without its one."""

    def keras_callback(self: TrackedRun) -> Any:
        """Make a callback for Keras' `model.fit`, on any backend: logs all metrics of each epoch, and the model."""
        from rosenblatt.runs.integrations.keras import callback

        return callback(self)

    def lightning_logger(self: TrackedRun) -> Any:
        """Make a logger for Lightning's `Trainer`."""
        from rosenblatt.runs.integrations.lightning import logger

        return logger(self)

    def transformers_callback(self: TrackedRun) -> Any:
        """Make a callback for Hugging Face's `Trainer`: logs what it reports, its arguments, and the model."""
        from rosenblatt.runs.integrations.transformers import callback

        return callback(self)

    def skorch_callback(self: TrackedRun) -> Any:
        """Make a callback for nets of skorch: logs all numbers of each epoch, and the module."""
        from rosenblatt.runs.integrations.skorch import callback

        return callback(self)

    def xgboost_callback(self: TrackedRun) -> Any:
        """Make a callback for XGBoost: logs the metrics of each evaluation set after each iteration."""
        from rosenblatt.runs.integrations.xgboost import callback

        return callback(self)

    def lightgbm_callback(self: TrackedRun) -> Any:
        """Make a callback for LightGBM: logs the metrics of each validation set after each iteration."""
        from rosenblatt.runs.integrations.lightgbm import callback

        return callback(self)
