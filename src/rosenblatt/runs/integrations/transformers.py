"""Callback of Hugging Face's `Trainer` that logs to a run."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from rosenblatt.runs.integrations.tracked_run import TrackedRun


def callback(run: TrackedRun) -> Any:
    """Make the callback."""
    return _RunCallback(run)


class _RunCallback(TrainerCallback):
    def __init__(self, run: TrackedRun) -> None:
        self._run = run

    def on_train_begin(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Record the model and the training arguments that are numbers, words or flags."""
        if state.is_world_process_zero:
            if objects.get("model") is not None:
                self._run.describe(objects["model"])
            settings = {
                k: v for k, v in args.to_dict().items() if isinstance(v, str | int | float) and "token" not in k
            }
            self._run.set_params(settings)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **objects: Any) -> None:
        """Log the numbers that the trainer reports, of training and evaluation."""
        if state.is_world_process_zero:
            metrics = {name: value for name, value in (logs or {}).items() if isinstance(value, int | float)}
            self._run.log(metrics, step=state.global_step)
