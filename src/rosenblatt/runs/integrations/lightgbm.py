"""Callback of LightGBM that logs to a run."""

from __future__ import annotations

from typing import Any

from rosenblatt.runs.integrations.tracked_run import TrackedRun


def callback(run: TrackedRun) -> Any:
    """Make the callback, which needs no import of LightGBM."""

    def log_iteration(environment: Any) -> None:
        if environment.iteration == environment.begin_iteration:
            settings = {k: v for k, v in environment.params.items() if isinstance(v, str | int | float)}
            run.set_params({"model": "LightGBM", "iterations": environment.end_iteration} | settings)
        results = environment.evaluation_result_list or ()
        run.log({f"{data}_{metric}": value for data, metric, value, *_ in results}, step=environment.iteration)

    return log_iteration
