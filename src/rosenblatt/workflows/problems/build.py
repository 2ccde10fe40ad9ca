"""Build a learning problem from a table: training, validation and test rows, and their targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rosenblatt.data.tasks.task import resolve_column_name
from rosenblatt.errors import SpecError, TableError
from rosenblatt.spec.fields import FORECASTING_HYPERPARAMETERS
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.workflows.problems.problem import LearningProblem, ProblemRequest
from rosenblatt.workflows.problems.rows import tabular_problem
from rosenblatt.workflows.problems.series import forecasting_problem
from rosenblatt.workflows.problems.text import language_problem


def build_problem(request: ProblemRequest, messages: list[str]) -> LearningProblem:
    """Build the learning problem of a table, of time series or of a text.

    Args:
        request: the tables and options of a fit.
        messages: receives what was detected, converted and left out, in order.

    Raises:
        TableError: if a table does not hold what the task needs.
        SpecError: if options or hyperparameters do not fit the task.
    """
    spec, column_options = request.spec, {"--keep": request.keep, "--text": request.texts}
    changed = [name for name in sorted(FORECASTING_HYPERPARAMETERS) if spec[name] != HYPERPARAMETERS[name].default]
    splits = {name: spec[name] for name in ("groups", "order", "weight")}
    if request.task == "language":
        options = {"--target": request.targets, "--ignore": request.ignore, **column_options, **splits}
        _check_unused("language modeling", options | dict.fromkeys(changed, True))
        return language_problem(request, messages)
    request = replace(request, targets=_resolve_targets(request), test=request.test and request.test.evaluation_rows)
    if spec.data.time:
        _check_unused("forecasting", {"--task": request.task, **column_options, **splits})
        return forecasting_problem(request, messages)
    if changed:
        raise SpecError(f"{changed[0]} is for forecasts only. Name the time column with --time, or remove it.")
    return tabular_problem(request, messages)


def _resolve_targets(request: ProblemRequest) -> list[str]:
    """The target columns given, or else the one the table names. Raises TableError if there is none."""
    table = request.table
    targets = request.targets or ([table.target] if table.target else [])
    if not targets:
        raise TableError("No target column is given. Name the column to predict with --target.")
    return list(dict.fromkeys(resolve_column_name(table.frame, target) for target in targets))


def _check_unused(task: str, options: Mapping[str, object]) -> None:
    """Raise SpecError for the first option that is set although the task does not use it."""
    for name, value in options.items():
        if value:
            raise SpecError(f"{name} has no effect for {task}. Remove it.")
