"""Fit a model on a table, evaluate it on test rows, and save it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from rosenblatt.data.schema.types import CellType
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import Notify, collect_messages
from rosenblatt.inspection.drift import describe_drift
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.evaluation import MAX_CHECK_ROWS, Evaluation, check_overlap, evaluate_model
from rosenblatt.models.fit import EpochCallback, describe_undefined_scores, fit_prepared
from rosenblatt.models.folds import describe_folds
from rosenblatt.models.leakage import have_few_combinations, hint_at_columns, hint_at_copies, hint_at_entities
from rosenblatt.models.metrics import compute_baseline
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import to_bytes
from rosenblatt.models.model_file_checker import ModelFileChecker
from rosenblatt.models.prepared import PreparedData, ScorerFactory
from rosenblatt.models.training_rows import RowHashes, TrainingRows
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.dispatch import start_step_compiler
from rosenblatt.training.population import train
from rosenblatt.tuning.network_training import NetworkTraining
from rosenblatt.workflows.problems.build import build_problem
from rosenblatt.workflows.problems.problem import LearningProblem, ProblemRequest, drop_damaged_test_images
from rosenblatt.workflows.problems.start import start_spec
from rosenblatt.workflows.recorder import Recorder
from rosenblatt.workflows.search import SearchOptions, search


@dataclass(frozen=True)
class FitOptions:
    """How to run a fit: reports to the user, threads, the clock and checkpoint of a search, and the run to record."""

    notify: Notify = print
    make_epoch_callback: Callable[[Spec, int], EpochCallback] | None = None
    threads: int | None = None
    search: SearchOptions = field(default_factory=SearchOptions)
    recorder: Recorder | None = None


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
    start: Model | None = None,
    notify: Notify = print,
    make_epoch_callback: Callable[[Spec, int], EpochCallback] | None = None,
    threads: int | None = None,
    search_options: SearchOptions | None = None,
    recorder: Recorder | None = None,
) -> Evaluation:
    """Train a model on a table and evaluate it on test rows; search for hyperparameters first if the spec says so.

    Args:
        table: the training rows, from which test rows are held out unless `test` is given.
        targets: columns to predict; by default the target that the table itself names.
        spec: hyperparameters.
        task: the task; by default detected from the targets.
        ignore: columns to leave out.
        keep: columns to use although they look like identifiers.
        texts: columns to treat as text.
        test: test rows, if they are in a table of their own.
        validation: rows to choose the best epoch on, instead of folds of the training rows.
        start: a model whose networks are trained further, with its columns, encoder and target.
        notify: called with each message for the user.
        make_epoch_callback: called with the resolved spec and the number of networks; returns what is called with the
            record of each epoch.
        threads: number of threads; by default one per core.
        search_options: start time, checkpoint and callbacks of a search.
        recorder: records the fit as a run; if it finds a finished run with equal inputs, that run's model is returned.

    Raises:
        TableError, SpecError: if the table or the hyperparameters cannot be used.
        DivergedError, TrainingInterruptedError: if no network could be trained.
    """
    spec = start_spec(spec, start) if start else spec
    request = ProblemRequest(table, spec, targets, task, ignore, keep, texts, test, validation, start)
    options = FitOptions(notify, make_epoch_callback, threads, search_options or SearchOptions(), recorder)
    return run_fit(request, options)


def run_fit(request: ProblemRequest, options: FitOptions) -> Evaluation:
    """Build the learning problem, reuse or train a model, evaluate and record it. Raises as `fit` does."""
    started, recorder = time.time(), options.recorder
    training = request.spec.training
    if request.spec.network.kind == "mlp" and training.device == "cpu" and start_step_compiler():
        options.notify("compiling the training loop for this machine, once per installation: about 10 seconds")
    with collect_messages(options.notify) as messages:
        problem = build_problem(request, messages)
        if problem.validation is None and not problem.spec.has_search:
            messages.extend(describe_folds(problem.spec, problem.data, problem.target))
    baseline = compute_baseline(problem.target, problem.data.y, problem.data.weight)

    reused_model = None
    if recorder:
        reused_model = recorder.begin(problem)
    model, best_trial = (reused_model, None) if reused_model else _train(problem, options)
    if not problem.spec.has_search:
        for caution in describe_undefined_scores(model):
            options.notify(f"caution: {caution}")
    hashes = problem.hash_training_rows()
    with collect_messages(options.notify) as messages:
        problem = drop_damaged_test_images(problem, messages)
    evaluation = _evaluate(model, problem, baseline, options.threads)
    evaluation = _check_leakage(evaluation, problem, hashes, request)
    for caution in evaluation.cautions:
        options.notify(f"caution: {caution}")
    best_trial_scores = _evaluate(best_trial, problem, baseline, options.threads).scores if best_trial else []
    model = _with_origin(model, request, problem, evaluation)
    model = model.with_metadata(baseline=baseline, seconds=round(time.time() - started, 1))
    model = replace(model, training_rows=TrainingRows.from_hashes(hashes))
    if recorder:
        recorder.write_result(model, evaluation)
    max_check_rows = max(MAX_CHECK_ROWS // problem.steps, 1)
    check_rows = evaluation.check_rows if len(problem.y_test) else problem.frame.head(max_check_rows)
    return replace(evaluation, model=model, check_rows=check_rows, best_trial_scores=best_trial_scores)


def _with_origin(model: Model, request: ProblemRequest, problem: LearningProblem, evaluation: Evaluation) -> Model:
    """The model with the origin of its rows, and its scores."""
    table, test_table = request.table, request.test or request.table.test
    return model.with_metadata(
        source=table.source,
        reason=problem.supervised_task.reason,
        target_types=_target_types(table, problem.target),
        weight_column=problem.weight_column,
        test_rows=len(problem.y_test),
        test_source=test_table.source if test_table else "",
        scores=evaluation.scores,
        test_rows_in_training=evaluation.overlap.seen if evaluation.overlap else 0,
        cautions=evaluation.cautions,
        created=time.strftime("%Y-%m-%d %H:%M:%S"),
        version=version("rosenblatt"),
    )


def _target_types(table: Table, target: Target) -> dict[str, CellType]:
    """The types of the target columns, if the table has types."""
    names = [name for name in target.names if table.format.is_typed and name in table.frame.columns]
    types = {name: CellType.from_dtype(table.frame.schema[name]) for name in names}
    return {name: cell_type for name, cell_type in types.items() if cell_type}


def _evaluate(model: Model, problem: LearningProblem, baseline: Sequence[float], threads: int | None) -> Evaluation:
    """Score a model on the test rows of a problem."""
    evaluation = evaluate_model(
        model, problem.test, problem.test_typed, problem.y_test, baseline, threads, problem.test_weight
    )
    return replace(evaluation, row_numbers=problem.test_row_numbers, is_held_out=True)


def _check_leakage(
    evaluation: Evaluation, problem: LearningProblem, train: RowHashes, request: ProblemRequest
) -> Evaluation:
    """Add to an evaluation what may make its scores too optimistic."""
    target, data, has_test_table = problem.target, problem.spec.data, bool(request.test or request.table.test)
    if not len(problem.y_test):
        return evaluation
    test = RowHashes.from_rows(problem.test_typed, problem.y_test, target, train.image_hash)
    if has_test_table or request.validation:
        evaluation = check_overlap(evaluation, TrainingRows(np.unique(train.rows), True), test.rows)
    if has_test_table:
        drift = describe_drift(evaluation.model, problem.test_typed)
        evaluation = replace(evaluation, cautions=(*drift, *evaluation.cautions))
    if problem.windows or target.task == "language":
        return evaluation
    hints = list(hint_at_columns(problem.schema, problem.data, target))
    if not hints and not (evaluation.overlap and evaluation.overlap.seen):
        copies = hint_at_copies(train, test, target, problem.y_test)
        hints += [copies] if copies and not have_few_combinations(problem.data) else []
    if not data.groups and not data.order:
        names = problem.supervised_task.names
        hints.append(hint_at_entities(problem.frame, problem.test, names, is_separate=has_test_table))
    return replace(evaluation, cautions=(*evaluation.cautions, *filter(None, hints)))


def _train(problem: LearningProblem, options: FitOptions) -> tuple[Model, Model | None]:
    """Train a model, or search for one; returns also the best trial of a search if the model is an ensemble."""
    spec, data, validation = problem.spec, problem.data, problem.validation
    scorer_factory = _epoch_scorer_factory(spec.training.scoring)
    if not spec.has_search:
        start, make_workers = problem.start, options.search.make_workers
        prepared = PreparedData(data, lambda _: problem.target, validation, encoder=start.encoder if start else None)
        model = fit_prepared(
            spec,
            problem.schema,
            prepared,
            scorer_factory,
            options.make_epoch_callback,
            options.threads,
            start,
            train=NetworkTraining(make_workers, prepared).train if make_workers else train,
        )
        return model.with_metadata(windows=problem.windows), None
    prepared = PreparedData(data, lambda trial_spec: problem.supervised_task.target(data.y, trial_spec), validation)
    search_options = replace(options.search, test_rows=len(problem.y_test), recorder=options.recorder)
    result = search(spec, problem.schema, prepared, scorer_factory, search_options, options.notify, options.threads)
    model, best_trial = (m.with_metadata(windows=problem.windows) for m in (result.model, result.best))
    return model.with_metadata(search=result.metadata), best_trial if len(model.trials) > 1 else None


def _epoch_scorer_factory(scoring: str) -> ScorerFactory | None:
    if scoring == "loss":
        return None
    from rosenblatt.models.scorers import make_epoch_scorer  # loads scikit-learn's metrics

    return make_epoch_scorer(scoring)


def save(result: Evaluation, path: str | Path, checker: ModelFileChecker | None = None) -> None:
    """Write the model to a file, after a new process has read the file and predicted the same to the last bit.

    Args:
        result: the result of `fit`.
        path: the file to write, replaced if it exists.
        checker: a waiting process that was started earlier to save time; by default one is started here.

    Raises:
        StorageError: if the file cannot be written.
        ModelFileError: if the check fails.
    """
    checker = checker or ModelFileChecker()
    try:
        write_file(path, to_bytes(result.model), lambda file: checker.check(file, result.model, result.check_rows))
    finally:
        checker.close()
