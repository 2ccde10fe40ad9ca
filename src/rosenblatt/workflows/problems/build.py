"""Build a learning problem from a table: training, validation and test rows, and the meaning of their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rosenblatt.data.table import Table
from rosenblatt.data.tasks.task import resolve_column_name
from rosenblatt.errors import SpecError, TableError
from rosenblatt.spec.fields import FORECASTING_HYPERPARAMETERS
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.problem import ColumnOptions, LearningProblem
from rosenblatt.workflows.problems.rows import _tabular_problem
from rosenblatt.workflows.problems.series import _forecasting_problem
from rosenblatt.workflows.problems.text import _language_problem


def build_problem(
    table: Table,
    targets: Sequence[str],
    spec: Spec,
    column_options: ColumnOptions,
    test: Table | None,
    validation: Table | None,
    messages: list[str],
) -> LearningProblem:
    """The problem of a table: of rows, of series over time, or of one text. Raises TableError, SpecError."""
    if column_options.task == "language":
        language_options = {
            "--target": targets,
            "--ignore": column_options.ignore,
            "--keep": column_options.keep,
            "--text": column_options.texts,
        }
        settings = [name for name in sorted(FORECASTING_HYPERPARAMETERS) if spec[name] != HYPERPARAMETERS[name].default]
        _reject_options(
            "A language is learnt from a whole text", spec, language_options, ("groups", "order", *settings)
        )
        return _language_problem(table, spec, test, validation, messages)
    targets = targets or ([table.target] if table.target else [])
    names = list(dict.fromkeys(resolve_column_name(table.frame, target) for target in targets))
    if not names:
        raise TableError("No target was named. Name the column to predict, with --target.")
    forecasting_settings = [
        name for name in sorted(FORECASTING_HYPERPARAMETERS - {"time"}) if spec[name] != HYPERPARAMETERS[name].default
    ]
    if forecasting_settings and not spec.data.time:
        raise SpecError(
            f"{forecasting_settings[0]} is for forecasts. Name the column of times with --time, or leave it out."
        )
    if spec.data.time:
        forecast_options = {
            "--task": column_options.task,
            "--keep": column_options.keep,
            "--text": column_options.texts,
        }
        _reject_options("A forecast is made from numbers over time", spec, forecast_options, ("groups", "order"))
        return _forecasting_problem(table, names, spec, column_options, test, validation, messages)
    return _tabular_problem(
        table, names, spec, column_options, test.evaluation_rows if test else table.test, validation, messages
    )


def _reject_options(subject: str, spec: Spec, options: Mapping[str, object], settings: Sequence[str]) -> None:
    """Raise SpecError for options, or settings of the spec, that mean nothing beside what is asked."""
    unused = [name for name, value in options.items() if value] + [name for name in settings if spec[name]]
    if unused:
        raise SpecError(f"{subject}: {unused[0]} means nothing there. Leave it out.")
