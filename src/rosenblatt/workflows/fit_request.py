"""In: all that a user asks of a fit on a table in a file. Out: the fitted model, recorded as a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rosenblatt.data.readers.files import read_text
from rosenblatt.data.table import Table
from rosenblatt.errors import StoppedEarlyError
from rosenblatt.models.evaluation import Fitted
from rosenblatt.training.progress import training_progress
from rosenblatt.tuning.progress import search_progress
from rosenblatt.workflows import fit
from rosenblatt.workflows.recorder import Recorder
from rosenblatt.workflows.search import Searching
from rosenblatt.workflows.tables import columns, read


def fit_asked(
    recorder: Recorder, say: Callable[[str], None], how: Searching | None = None, shown: bool | None = None
) -> Fitted:
    """Read the tables and fit, with a live view on the terminal; the run ends with what came of it.

    Raises what `experiment.fit` raises.
    """
    asked = recorder.asked
    say = recorder.hears(say)

    def table_of(name: str) -> Table:
        return read_text(name) if asked.task == "language" else read(name, asked.header, asked.encoding, say)

    table = table_of(asked.table)
    others = [None if name is None else table_of(name) for name in (asked.test, asked.validation)]
    spec, shown = asked.spec, sys.stderr.isatty() if shown is None else shown
    try:
        with (
            training_progress(shown and not spec.searches) as watch,
            search_progress(shown and spec.searches, spec.training.scoring) as watch_search,
        ):
            fitted = fit.fit(
                table,
                columns(asked.targets, table),
                spec,
                task=asked.task,
                ignore=columns(asked.ignore, table),
                keep=columns(asked.keep, table),
                texts=columns(asked.texts, table),
                test=others[0],
                validation=others[1],
                say=say,
                watch=watch,
                threads=asked.threads,
                searching=replace(how or Searching(time.monotonic()), watch=watch_search),
                recorder=recorder,
            )
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | StoppedEarlyError)
        recorder.finish("stopped" if stopped else "failed", str(error) or type(error).__name__)
        raise
    interrupted = fitted.model.facts.get("interrupted", False)
    recorder.finish("stopped" if interrupted else "finished", "interrupted" if interrupted else None)
    return fitted


def default_experiment(table: str) -> str:
    """The experiment of a fit on a table: the file's name without its endings."""
    return Path(table).name.split(".", 1)[0] or "model"
