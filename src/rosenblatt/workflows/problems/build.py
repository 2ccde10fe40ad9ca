"""In: a table, and what is asked of it. Out: rows to learn from, to validate on, to test on, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rosenblatt.data.table import Table
from rosenblatt.data.tasks.task import column_name
from rosenblatt.errors import SpecError, TableError
from rosenblatt.spec.fields import OVER_TIME
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.problems.problem import Asked, Problem, Say
from rosenblatt.workflows.problems.rows import _of_rows
from rosenblatt.workflows.problems.series import _of_series
from rosenblatt.workflows.problems.text import _of_text


def pose(
    table: Table,
    targets: Sequence[str],
    spec: Spec,
    asked: Asked,
    test: Table | None,
    validation: Table | None,
    say: Say,
) -> Problem:
    """The problem of a table: of rows, of series over time, or of one text. Raises TableError, SpecError."""
    if asked.task == "language":
        given = {"--target": targets, "--ignore": asked.ignore, "--keep": asked.keep, "--text": asked.texts}
        over = [name for name in sorted(OVER_TIME) if spec[name] != HYPERPARAMETERS[name].default]
        _refuse("A language is learnt from a whole text", spec, given, ("groups", "order", *over))
        return _of_text(table, spec, test, validation, say)
    targets = targets or ([table.target] if table.target else [])
    names = list(dict.fromkeys(column_name(table.frame, target) for target in targets))
    if not names:
        raise TableError("No target was named. Name the column to predict, with --target.")
    over_time = [name for name in sorted(OVER_TIME - {"time"}) if spec[name] != HYPERPARAMETERS[name].default]
    if over_time and not spec.data.time:
        raise SpecError(f"{over_time[0]} is for forecasts. Name the column of times with --time, or leave it out.")
    if spec.data.time:
        others = {"--task": asked.task, "--keep": asked.keep, "--text": asked.texts}
        _refuse("A forecast is made from numbers over time", spec, others, ("groups", "order"))
        return _of_series(table, names, spec, asked, test, validation, say)
    return _of_rows(table, names, spec, asked, test.to_score if test else table.test, validation, say)


def _refuse(what: str, spec: Spec, given: Mapping[str, object], settings: Sequence[str]) -> None:
    """Raise SpecError for options, or settings of the spec, that mean nothing beside what is asked."""
    idle = [name for name, value in given.items() if value] + [name for name in settings if spec[name]]
    if idle:
        raise SpecError(f"{what}: {idle[0]} means nothing there. Leave it out.")
