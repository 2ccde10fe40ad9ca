"""Run a fit request: read its tables, fit, and record the result as a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rosenblatt.data.readers.files import read_text
from rosenblatt.data.readers.sources import STANDARD_INPUT
from rosenblatt.data.table import Table
from rosenblatt.data.volumes.locations import is_volume
from rosenblatt.errors import Notify, StorageError, TrainingInterruptedError
from rosenblatt.models.evaluation import Evaluation
from rosenblatt.models.model_file import load_model
from rosenblatt.models.model_file_checker import ModelFileChecker
from rosenblatt.training.progress import training_progress
from rosenblatt.tuning.progress import search_progress
from rosenblatt.workflows import fit
from rosenblatt.workflows.problems.problem import ProblemRequest
from rosenblatt.workflows.problems.start import start_spec
from rosenblatt.workflows.recorded_results import MODEL_FILE
from rosenblatt.workflows.recorder import Recorder
from rosenblatt.workflows.request import FitRequest
from rosenblatt.workflows.search import SearchOptions
from rosenblatt.workflows.tables import check_can_group, check_group_columns, read_and_report, split_column_names


def run_fit_request(
    recorder: Recorder,
    notify: Notify,
    options: SearchOptions | None = None,
    group_columns: Sequence[str] = (),
    save: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Read the tables of the recorder's request, fit, and end the run.

    Args:
        recorder: holds the request and records the run.
        notify: called with each message for the user, which is also recorded.
        options: start time, checkpoint and callbacks of a search.
        group_columns: columns that a report groups errors by, which must be in the tables.
        save: writes the model; the run has finished only after it.

    Raises:
        Error: as `workflows.fit.fit` does; the run is recorded as failed or stopped.
    """
    notify = recorder.capture_messages(notify)
    problem = _read_tables(recorder.request, notify)
    spec, has_test_table = problem.spec, bool(problem.test or problem.table.test)
    check_can_group(
        group_columns,
        is_per_step=problem.task in ("tagging", "language"),
        has_test=has_test_table or spec.data.test_fraction > 0,
    )
    check_group_columns(group_columns, [problem.table, problem.test], spec.data.series if spec.data.time else None)
    is_shown = sys.stderr.isatty()  # whether to show live progress
    try:
        with (
            training_progress(is_shown and not spec.has_search) as on_epoch,
            search_progress(is_shown and spec.has_search, spec.training.scoring) as on_progress,
        ):
            search = replace(options or SearchOptions(), on_progress=on_progress)
            result = fit.run_fit(problem, fit.FitOptions(notify, on_epoch, recorder.request.threads, search, recorder))
        if save:
            save(result)
    except BaseException as error:
        is_stopped = isinstance(error, KeyboardInterrupt | TrainingInterruptedError)
        recorder.finish("stopped" if is_stopped else "failed", str(error) or type(error).__name__)
        raise
    is_interrupted = result.model.metadata.interrupted
    recorder.finish("stopped" if is_interrupted else "finished", "interrupted" if is_interrupted else None)
    return result


def _read_tables(request: FitRequest, notify: Notify) -> ProblemRequest:
    """Read the tables of a request and find the columns that it names."""

    def read(path: str, query: str = "") -> Table:
        if request.task == "language" and not query:
            return read_text(path)
        return read_and_report(path, request.format, notify, query=query)

    start = load_model(request.start) if request.start else None
    spec = start_spec(request.spec, start) if start else request.spec
    table = read(request.table, request.query)
    return ProblemRequest(
        table,
        spec,
        split_column_names(request.targets, table),
        request.task,
        split_column_names(request.ignore, table),
        split_column_names(request.keep, table),
        split_column_names(request.texts, table),
        read(request.test) if request.test else None,
        read(request.validation) if request.validation else None,
        start,
    )


def fit_and_save(
    recorder: Recorder, path: Path, notify: Notify, options: SearchOptions, group_columns: Sequence[str]
) -> Evaluation:
    """Run the recorder's fit request (see `run_fit_request`) and write the model to `path`.

    The process that checks the written file is started at once, so that its imports run while the model trains; after
    a search, which may take hours, it is started only then. Raises the errors of `workflows.fit.fit` and `save`.
    """
    checker = None if recorder.request.spec.has_search else ModelFileChecker()
    recorder.output = str(path.absolute())

    def save(result: Evaluation) -> None:
        try:
            fit.save(result, path, checker)
        except StorageError as error:
            if recorder.run and recorder.has_begun:
                command = f"rosenblatt runs show {recorder.run.id} --artifact {MODEL_FILE}"
                raise StorageError(f"{error} The model is in the store: `{command}` writes it.") from error
            raise

    try:
        return run_fit_request(recorder, notify, options, group_columns, save)
    finally:
        if checker:
            checker.close()


def default_experiment(table: str) -> str:
    """Return the default experiment of a fit: the name of its table without extensions."""
    name = "" if table == STANDARD_INPUT else Path(table).name.split(".", 1)[0]
    name = name.split("@")[0] if is_volume(table) else name
    return name or "model"
