"""Run a recorded fit request: read its tables, fit, and record the result as a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rosenblatt.data.readers.files import read_text
from rosenblatt.data.table import Table
from rosenblatt.errors import Notify, TrainingInterruptedError
from rosenblatt.models.evaluation import Evaluation
from rosenblatt.models.model_file_checker import ModelFileChecker
from rosenblatt.training.progress import training_progress
from rosenblatt.tuning.progress import search_progress
from rosenblatt.workflows import fit
from rosenblatt.workflows.recorder import Recorder
from rosenblatt.workflows.search import SearchOptions
from rosenblatt.workflows.tables import check_group_columns, read_and_report, split_column_names


def run_fit_request(
    recorder: Recorder,
    notify: Notify,
    options: SearchOptions | None = None,
    show_progress: bool | None = None,
    group_columns: Sequence[str] = (),
) -> Evaluation:
    """Read the tables and fit, with a live view on the terminal; the run ends with what came of it.

    `group_columns` are to group errors by in a report: they must be in the tables. Raises what `fit.fit` raises.
    """
    request = recorder.request
    notify = recorder.capture_messages(notify)

    def read(name: str) -> Table:
        return (
            read_text(name)
            if request.task == "language"
            else read_and_report(name, request.header, request.encoding, notify)
        )

    table = read(request.table)
    held_out = [None if name is None else read(name) for name in (request.test, request.validation)]
    series = request.spec.data.series if request.spec.data.time else None
    check_group_columns(group_columns, [table, held_out[0]], series)
    spec, show_progress = request.spec, sys.stderr.isatty() if show_progress is None else show_progress
    try:
        with (
            training_progress(show_progress and not spec.has_search) as watch,
            search_progress(show_progress and spec.has_search, spec.training.scoring) as watch_search,
        ):
            result = fit.fit(
                table,
                split_column_names(request.targets, table),
                spec,
                task=request.task,
                ignore=split_column_names(request.ignore, table),
                keep=split_column_names(request.keep, table),
                texts=split_column_names(request.texts, table),
                test=held_out[0],
                validation=held_out[1],
                notify=notify,
                make_epoch_callback=watch,
                threads=request.threads,
                search_options=replace(options or SearchOptions(time.monotonic()), on_progress=watch_search),
                recorder=recorder,
            )
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | TrainingInterruptedError)
        recorder.finish("stopped" if stopped else "failed", str(error) or type(error).__name__)
        raise
    interrupted = result.model.metadata.interrupted
    recorder.finish("stopped" if interrupted else "finished", "interrupted" if interrupted else None)
    return result


def fit_and_save(
    recorder: Recorder,
    path: Path,
    notify: Notify,
    options: SearchOptions | None = None,
    group_columns: Sequence[str] = (),
) -> Evaluation:
    """Fit as requested and write the model to `path`; `group_columns` as in `run_fit_request`.

    The process that checks the written file starts at once and imports what it needs while the model is trained; after
    a search, which may take hours, only then.

    Raises what `workflows.fit.fit` and `save` raise.
    """
    checker = None if recorder.request.spec.has_search else ModelFileChecker()
    try:
        result = run_fit_request(recorder, notify, options, group_columns=group_columns)
        fit.save(result, path, checker)
    finally:
        if checker:
            checker.close()
    return result


def default_experiment(table: str) -> str:
    """The experiment of a fit on a table: the file's name without its endings."""
    return Path(table).name.split(".", 1)[0] or "model"
