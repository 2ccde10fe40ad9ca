"""The one place where data, networks, training and files meet: fit, predict and evaluate on tables in files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from rosenblatt.data.table import Table
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import Notify, collect_messages
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.evaluation import MAX_CHECK_ROWS, FitResult, compute_scores
from rosenblatt.models.fit import EpochCallback, fit_model
from rosenblatt.models.metadata import TestScore
from rosenblatt.models.metrics import baseline, flatten_steps
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import to_bytes
from rosenblatt.models.model_file_checker import ModelFileChecker
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.dispatch import start_step_compiler
from rosenblatt.training.population import EpochScorer
from rosenblatt.workflows.problems.build import build_problem
from rosenblatt.workflows.problems.problem import ProblemRequest
from rosenblatt.workflows.recorder import Recorder
from rosenblatt.workflows.search import SearchOptions, search


def fit(
    table: Table,
    targets: Sequence[str],
    spec: Spec,
    *,
    task: Task | None = None,
    ignore: Sequence[str] = (),
    keep: Sequence[str] = (),
    texts: Sequence[str] = (),
    test: Table | None = None,
    validation: Table | None = None,
    notify: Notify = print,
    make_epoch_callback: Callable[[Spec, int], EpochCallback] | None = None,
    threads: int | None = None,
    search_options: SearchOptions | None = None,
    recorder: Recorder | None = None,
) -> FitResult:
    """Train on a table and test on rows set aside, or on a table of their own; search first, where the spec does.

    A recorder writes it to a store of runs; where it knows a finished run that is the same, nothing is trained.

    Raises:
        TableError, SpecError: where the table or the hyperparameters do not allow it.
        DivergedError, TrainingInterruptedError: where training left nothing to keep.
    """
    started = time.time()
    if spec.network.kind == "mlp" and spec.training.device == "cpu" and start_step_compiler():
        notify("compiling the training loop for this machine, once after each installation: about 10 seconds")
    with collect_messages(notify) as messages:
        request = ProblemRequest(table, spec, targets, task, ignore, keep, texts, test, validation)
        problem = build_problem(request, messages)
    spec, schema, supervised_task, target = problem.spec, problem.schema, problem.supervised_task, problem.target
    data, validation_data, y_test = problem.data, problem.validation, problem.y_test
    scorer_factory = _epoch_scorer_factory(spec.training.scoring)
    baseline_prediction = baseline(target, data.y)

    def evaluate_test(model: Model) -> tuple[np.ndarray, list[TestScore]]:
        if not len(y_test):
            return np.empty((0, len(baseline_prediction))), []
        predictions = model.predict_typed(problem.test_typed, threads)
        return predictions, compute_scores(
            target, problem.windows, problem.test, y_test, predictions, baseline_prediction
        )

    best_trial_scores: list[TestScore] = []
    reused_model = recorder.begin(schema, data, validation_data, problem.test_typed) if recorder else None
    if reused_model is not None:
        model = reused_model
    elif spec.has_search:
        prepared = PreparedData(data, lambda trial_spec: supervised_task.target(data.y, trial_spec), validation_data)
        options = replace(search_options or SearchOptions(), test_rows=len(y_test), recorder=recorder)
        search_result = search(spec, schema, prepared, scorer_factory, options, notify, threads)
        model = search_result.model.with_metadata(search=search_result.metadata)
        best_trial_scores = evaluate_test(search_result.best)[1] if len(model.trials) > 1 else []
    else:
        model = fit_model(
            spec,
            schema,
            target,
            data,
            validation=validation_data,
            scorer_factory=scorer_factory,
            watch=make_epoch_callback,
            threads=threads,
        )
    predictions, test_scores = evaluate_test(model)
    model = model.with_metadata(
        source=table.source,
        reason=supervised_task.reason,
        baseline=tuple(baseline_prediction),
        test_rows=len(y_test),
        test_source=test.source if test else table.test.source if table.test else "",
        scores=tuple(test_scores),
        seconds=round(time.time() - started, 1),
        created=time.strftime("%Y-%m-%d %H:%M:%S"),
        version=version("rosenblatt"),
    )
    if problem.windows:
        model = model.with_metadata(windows=problem.windows)
        y_test, predictions = (
            problem.windows.inverse_transform(problem.test, array) for array in (y_test, predictions)
        )
    y_test, predictions = flatten_steps(target, y_test, predictions)
    if recorder:
        recorder.write_result(model, test_scores, y_test, predictions)
    check_rows = (problem.test if len(y_test) else problem.frame).head(max(MAX_CHECK_ROWS // problem.steps, 1))
    return FitResult(
        model, test_scores, problem.test, y_test, predictions, check_rows, best_trial_scores, problem.test_row_numbers,
        is_held_out=True,
    )  # fmt: skip


def _epoch_scorer_factory(scoring: str) -> Callable[[Target, np.ndarray], EpochScorer] | None:
    if scoring == "loss":
        return None
    from rosenblatt.models.scorers import make_epoch_scorer  # loads scikit-learn's metrics

    return make_epoch_scorer(scoring)


def save(result: FitResult, path: str | Path, checker: ModelFileChecker | None = None) -> None:
    """Write the model to one file, after a new process has read it and predicted the same to the last bit.

    Args:
        result: what `fit` or `evaluate` returned.
        path: the file to write, replaced if it exists.
        checker: a process that was started before, to save time; one is started here by default.

    Raises:
        StorageError: where it cannot be written.
        ModelFileError: where the check fails.
    """
    checker = checker or ModelFileChecker()
    try:
        write_file(
            path, to_bytes(result.model), lambda written: checker.check(written, result.model, result.check_rows)
        )
    finally:
        checker.close()
