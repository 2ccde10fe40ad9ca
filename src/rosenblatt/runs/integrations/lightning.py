"""Lightning logger that logs to a run."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from rosenblatt.runs.integrations.tracked_run import TrackedRun


def logger(run: TrackedRun) -> Any:
    """Make the logger."""
    return _RunLogger(run)


class _RunLogger(Logger):
    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self._run = run

    @property
    def name(self) -> str:
        """The experiment."""
        return self._run.experiment

    @property
    def version(self) -> str:
        """The run."""
        return self._run.id

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_args: Any, **_kwargs: Any) -> None:
        """Record the hyperparameters of the module and the data module."""
        self._run.set_params(vars(params) if isinstance(params, Namespace) else dict(params))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log metrics; Lightning adds the epoch as one of them."""
        self._run.log(metrics, step)

    @rank_zero_only
    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Record the architecture."""
        self._run.describe(model)

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Remember the checkpoint callback, for `finalize`."""
        self._checkpoint = checkpoint_callback

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Store the best checkpoint."""
        best = getattr(getattr(self, "_checkpoint", None), "best_model_path", "")
        if best:
            self._run.log_artifact(best, "best.ckpt", "model")
        self._run.flush()
