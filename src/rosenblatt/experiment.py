"""The one place where data, networks, training and files meet: fit, predict and evaluate on tables in files."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.checkpoints import Keeper
from rosenblatt.choosing import Outcome, outcome
from rosenblatt.data.columns import Schema
from rosenblatt.data.inference import infer
from rosenblatt.data.sources import Table
from rosenblatt.data.splits import train_test
from rosenblatt.data.targets import Target
from rosenblatt.data.tasks import Question, ask, column_name, has_answers, read_answers
from rosenblatt.describing import columns_in_words, task_in_words
from rosenblatt.errors import ModelFileError, TableError, listed
from rosenblatt.learning import Data, Prepared, ScoreOf, Watch, learn
from rosenblatt.model import Model
from rosenblatt.modelfile import digest, to_bytes, write_file
from rosenblatt.networks.architectures import build
from rosenblatt.recording import Recorder
from rosenblatt.scores import Score, baseline, scores
from rosenblatt.searching import Progress, Search
from rosenblatt.sections import Task
from rosenblatt.spec import Spec
from rosenblatt.training.population import Score as EpochScore
from rosenblatt.training.population import cores

Say = Callable[[str], None]
FEW_TEST_ROWS = 30
ENDING = 3.0  # seconds kept for what comes after a search: choosing, testing, writing the model and reading it again
JOINED, RATE = 6, 2e10  # trials that an ensemble has, and parameters times rows a core predicts in a second, about
CHECKED_ROWS = 1000  # rows whose predictions must be the same, to the last bit, from the written file in a new process


@dataclass(frozen=True)
class Fitted:
    """A model, and how good it is on rows it never saw."""

    model: Model
    scores: list[Score]  # empty where there were no test rows
    test: pl.DataFrame  # the test rows as read, with their target
    truth: np.ndarray  # the answers of the test rows, as `Question.y`
    decoded: np.ndarray  # what the model says of them, as `Model.decoded`
    sample: pl.DataFrame  # rows on which the written model is checked
    alone: Sequence[Score] = ()  # after a search: the same scores of its best trial alone


def fit(
    table: Table,
    targets: Sequence[str],
    spec: Spec,
    *,
    task: Task | None = None,
    ignore: Sequence[str] = (),
    keep: Sequence[str] = (),
    test: Table | None = None,
    validation: Table | None = None,
    say: Say = print,
    watch: Callable[[Spec, int], Watch] | None = None,
    threads: int | None = None,
    searching: Searching | None = None,
    recorder: Recorder | None = None,
) -> Fitted:
    """Train on a table and test on rows set aside, or on a table of their own; search first, where the spec does.

    A recorder writes it to a store of runs; where it knows a finished run that is the same, nothing is trained.

    Raises:
        TableError, SpecError: where the table or the hyperparameters do not allow it.
        DivergedError, StoppedEarlyError: where training left nothing to keep.
    """
    started = time.time()
    names = list(dict.fromkeys(column_name(table.frame, target) for target in targets))
    ignored = [column_name(table.frame, name) for name in ignore]
    question = _question(table.frame, names, ignored, task, say)
    frame, y = _answered(table.frame, question.y, question.names, say)
    if len(y) < 2:
        raise TableError(f"Only one row has {listed(question.names, 3)}; two or more are needed to learn from.")
    groups, order = _grouped(frame, spec, names)
    ignored += [column_name(frame, spec.data.groups)] if spec.data.groups else []
    schema = _schema(frame, names, ignored, [column_name(frame, name) for name in keep], spec)
    for line in [*columns_in_words(schema), f"task: {task_in_words(question)}"]:
        say(line)
    training, test_rows = _split(y, spec, question, test is not None, groups, order)
    target = question.target(y[training], spec)
    test_frame, truth = (frame[test_rows], y[test_rows]) if test is None else answered(test, target, say)
    test_typed = schema.read(test_frame, say)  # what is wrong with it is said before the long work
    rough = " (few: their scores are rough)" if 0 < len(truth) < FEW_TEST_ROWS else ""
    say(f"rows: {len(training):,} for training, {len(truth):,} for the test{rough}")
    data = Data(
        schema.read(frame[training]),
        y[training],
        groups=None if groups is None else groups[training],
        order=None if order is None else order[training],
    )
    watched = None if validation is None else _data(schema, *answered(validation, target, say))
    score = _epoch_score(spec.training.scoring)
    base = baseline(target, y[training])

    def tested(model: Model) -> tuple[np.ndarray, list[Score]]:
        decoded = model.decoded_typed(test_typed, threads) if len(truth) else np.empty((0, len(base)))
        return decoded, scores(target, truth, decoded, base) if len(truth) else []

    alone: list[Score] = []
    known = recorder.begin(schema, data, watched, test_typed) if recorder else None
    if known is not None:
        model = known
    elif spec.searches:
        prepared = Prepared(data, lambda one: question.target(y[training], one), watched)
        how = replace(searching or Searching(), rows=len(truth), recorder=recorder)
        chosen = search(spec, schema, prepared, score, how, say, threads)
        model = chosen.model.with_facts(search=chosen.facts)
        alone = tested(chosen.best)[1] if len(model.trials) > 1 else []
    else:
        model = learn(spec, schema, target, data, validation=watched, score=score, watch=watch, threads=threads)
    decoded, found = tested(model)
    model = model.with_facts(
        source=table.source,
        reason=question.reason,
        baseline=base,
        test_rows=len(truth),
        test_source=test.source if test else "",
        scores=[[score.name, score.model, score.baseline, score.higher_is_better] for score in found],
        seconds=round(time.time() - started, 1),
        created=time.strftime("%Y-%m-%d %H:%M:%S"),
        version=version("rosenblatt"),
    )
    if recorder:
        recorder.fitted(model, found, truth, decoded)
    sample = (test_frame if len(truth) else frame).head(CHECKED_ROWS)
    return Fitted(model, found, test_frame, truth, decoded, sample, alone)


@dataclass(frozen=True)
class Searching:
    """What a search is given besides its spec."""

    started: float = field(default_factory=time.monotonic)  # when its minutes began
    watch: Callable[[Progress], None] | None = None  # told how far it has come
    records: Callable[[list[dict[str, Any]]], None] | None = None  # given what is known of each trial, whatever comes
    checkpoint: Path | None = None  # the folder where its state is kept, and gone on from
    recorder: Recorder | None = None  # writes its trials to a store
    rows: int = 0  # that are predicted after it, in its time


def search(
    spec: Spec,
    schema: Schema,
    prepared: Prepared,
    score: ScoreOf | None = None,
    how: Searching | None = None,
    say: Say = print,
    threads: int | None = None,
) -> Outcome:
    """Try many sets of hyperparameters, stop those that do not earn more time, and join the best.

    Raises:
        SpecError: for a space that does not fit the task or the rows.
        DivergedError, StoppedEarlyError: where no trial left anything to keep.
    """
    how = how or Searching()
    running = Search(spec, prepared, score, threads)
    folder = how.checkpoint or (how.recorder.state if how.recorder else None)
    keeper = Keeper(running, folder, say) if folder else None
    if keeper and keeper.restored:
        say(f"going on from {folder}: {len(running.trials)} trials")
    minutes = spec.search.minutes

    def keep() -> None:
        if how.recorder:
            how.recorder.trials(running)
        if keeper:
            keeper.keep()
        running.changed.clear()

    ending = ENDING + how.rows * len(running.folds) * JOINED * _size(running) / RATE / cores()
    spent = running.wall if how.recorder and how.recorder.resumed else 0.0
    deadline = None if minutes is None else how.started + 60 * minutes - ending - spent
    try:
        running.run(deadline, how.watch, keep)
    finally:
        if how.recorder:
            how.recorder.trials(running, at_end=True)
        if keeper and running.interrupted:
            keeper.close()
        if how.records:
            how.records([trial.record() for trial in running.trials])
    found = outcome(running, schema)
    if minutes is not None and not any(trial.state == "finished" for trial in running.trials):
        epochs = max(trial.epochs for trial in running.trials)
        say(f"{minutes:g} minutes were too short for one trial: what it learnt in {epochs} epochs is kept")
    return found


def _question(frame: pl.DataFrame, names: list[str], ignored: list[str], task: Task | None, say: Say) -> Question:
    if not names:
        raise TableError("No target was named. Name the column to predict.")
    if set(ignored) & set(names):
        raise TableError(f"{names[0]!r} is the target; it cannot be ignored too.")
    question = ask(frame, names, task)
    for note in question.notes:
        say(note)
    return question


def _data(schema: Schema, frame: pl.DataFrame, y: np.ndarray) -> Data:
    return Data(schema.read(frame), y)


def _epoch_score(scoring: str) -> Callable[[Target, np.ndarray], EpochScore] | None:
    if scoring == "loss":
        return None
    from rosenblatt.scoring import epoch_score  # loads scikit-learn's metrics

    return epoch_score(scoring)


def predict(
    model: Model, table: Table, *, with_inputs: bool = False, say: Say = print, threads: int | None = None
) -> pl.DataFrame:
    """The predictions for a table: for classes and labels also the probability of each.

    Raises:
        TableError: where the table does not fit the model.
    """
    typed = model.schema.read(table.frame, say)
    for note in dict.fromkeys(note for trial in model.trials for note in trial.encoder.news(typed)):
        say(note)
    decoded = model.decoded_typed(typed, threads)
    target, label = model.target, model.label(decoded)
    columns: dict[str, np.ndarray | list[Any]] = {}
    if target.labels:
        columns[target.names[0]] = label
    else:
        columns |= dict(zip(target.names, label.reshape(len(label), -1).T, strict=True))
    if target.words:
        columns = {
            name: [pair[k] for k in columns[name]] for name, pair in zip(target.names, target.words, strict=True)
        }
    if target.task != "regression":
        what = "probability" if target.answers == "probabilities" else "weighted sum"
        names = target.labels or target.names
        columns |= {f"{what} of {name}": decoded[:, k] for k, name in enumerate(names)}
    predicted = pl.DataFrame(columns)
    if not with_inputs:
        return predicted
    for name in predicted.columns:
        new = name
        while new in table.frame.columns:
            new = f"predicted {new}"
        predicted = predicted.rename({name: new})
    return pl.concat([table.frame, predicted], how="horizontal")


def evaluate(model: Model, table: Table, say: Say = print, threads: int | None = None) -> tuple[list[Score], Fitted]:
    """The scores of a model on a table with answers. Raises TableError where it does not fit."""
    frame, truth = answered(table, model.target, say)
    decoded = model.decoded_typed(model.schema.read(frame, say), threads)
    base = model.facts.get("baseline") or baseline(model.target, truth)
    found = scores(model.target, truth, decoded, base)
    return found, Fitted(model, found, frame, truth, decoded, frame.head(CHECKED_ROWS))


def save(fitted: Fitted, path: str | Path) -> None:
    """Write the model to one file, after a new process has read it and predicted the same to the last bit.

    Raises:
        StorageError: where it cannot be written.
        ModelFileError: where the check fails.
    """

    def same_in_a_new_process(written: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            rows = Path(folder) / "rows.arrow"
            fitted.sample.write_ipc(rows)
            command = "import sys; from rosenblatt.modelfile import print_digest; print_digest(*sys.argv[1:])"
            run = subprocess.run(  # noqa: S603 - this Python, a constant command, files of ours
                [sys.executable, "-P", "-c", command, str(written), str(rows)],
                capture_output=True,
                text=True,
                check=False,
            )
        if run.returncode:
            raise ModelFileError(f"The model was not written: a new process could not read it. {run.stderr[-300:]}")
        if run.stdout.strip() != digest(fitted.model, fitted.sample):
            raise ModelFileError(
                "The model was not written: read again in a new process, it does not predict the same."
            )

    write_file(path, to_bytes(fitted.model), same_in_a_new_process)


def answered(table: Table, target: Target, say: Say) -> tuple[pl.DataFrame, np.ndarray]:
    """The rows of another table that have answers to the model's question, and these. Raises TableError."""
    try:
        y, notes = read_answers(table.frame, target)
    except TableError as error:
        raise TableError(f"{table.source!r}: {error}") from error
    for note in notes:
        say(f"{table.source}: {note}")
    if not has_answers(y).any():
        raise TableError(f"{table.source!r} has no values at all in {listed(target.names)}.")
    return _answered(table.frame, y, target.names, say)


def _answered(frame: pl.DataFrame, y: np.ndarray, names: Sequence[str], say: Say) -> tuple[pl.DataFrame, np.ndarray]:
    known = has_answers(y)
    if not known.all():
        say(f"{int((~known).sum()):,} rows without {listed(names, 3)} are left out")
    return frame.filter(known), y[known]


def _schema(
    frame: pl.DataFrame, targets: Sequence[str], ignore: Sequence[str], keep: Sequence[str], spec: Spec
) -> Schema:
    schema = infer(frame.drop([*targets, *ignore]), spec.data.max_categories).keeping(keep)
    empty = [column.name for column in schema.columns if column.kind == "empty"]
    if empty:
        raise TableError(
            f"No row has a value in {listed(empty)}. Fill in the table, or leave out what is empty with "
            f"--ignore {','.join(empty)}."
        )
    if not schema.learnt:
        reasons = "; ".join(f"{column.name}: {column.note}" for column in schema.columns)
        raise TableError(f"No column is left to learn from. {reasons or 'The table has only the target.'}")
    return schema


def _size(search: Search) -> int:
    """Parameters of a network as it is without the search."""
    usual = search.prepared.resolved(search.space.base)
    target = search.prepared.target(usual)
    return build(usual.network, search.prepared.encoder(usual).width, target.n_outputs).n_parameters


def _grouped(frame: pl.DataFrame, spec: Spec, targets: Sequence[str]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The number of each row's group, and each row's place in order, where the spec names columns for them."""
    found: list[np.ndarray | None] = []
    for what, asked in (("groups", spec.data.groups), ("order", spec.data.order)):
        if not asked:
            found.append(None)
            continue
        name = column_name(frame, asked)
        if name in targets:
            raise TableError(f"{name!r} is the target; it cannot be the {what} too.")
        if frame[name].has_nulls():
            raise TableError(f"{name!r} is to be the {what}, but {frame[name].null_count()} rows have no value there.")
        column = frame[name] if what == "groups" else _times(frame[name])
        found.append((column.rank("dense") - 1).to_numpy())
    if found[0] is not None and found[1] is not None:
        raise TableError("Rows can be split by groups or by order, not by both. Leave one of them out.")
    return found[0], found[1]


def _times(column: pl.Series) -> pl.Series:
    """A column whose order is that of time: numbers and dates, also where they were read as text."""
    if column.dtype != pl.String:
        return column
    return infer(column.to_frame(), 1).columns[0].in_order(column)


def _split(
    y: np.ndarray,
    spec: Spec,
    question: Question,
    given: bool,
    groups: np.ndarray | None,
    order: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are for training, and which for the test; none where the test has a table of its own."""
    n, fraction = len(y), spec.data.test_fraction
    if given or fraction == 0:
        return np.arange(n), np.arange(0)
    return train_test(n, fraction, spec.training.seed, y if question.labels else None, groups, order)
