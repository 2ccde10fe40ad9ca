"""Callback of XGBoost that logs to a run."""

from __future__ import annotations

import json
from typing import Any

from xgboost.callback import TrainingCallback

from rosenblatt.runs.integrations.tracked_run import TrackedRun


def callback(run: TrackedRun) -> Any:
    """Make the callback."""
    return _RunCallback(run)


class _RunCallback(TrainingCallback):
    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self._run = run

    def before_training(self, model: Any) -> Any:
        """Record the booster and the objective."""
        learner = json.loads(model.save_config())["learner"]
        booster = learner["learner_train_param"]
        settings = {"objective": booster["objective"], "booster": booster["booster"]}
        self._run.set_params({"model": "XGBoost"} | settings)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Log the last value of each metric of each evaluation set."""
        self._run.log({f"{data}_{m}": v[-1] for data, ms in evals_log.items() for m, v in ms.items()}, step=epoch)
        return False
