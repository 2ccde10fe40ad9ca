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
from typing import Any, cast

import numpy as np
import polars as pl

from rosenblatt.data.encoding.media_encodings import TextEncoding
from rosenblatt.data.media.images import Policy
from rosenblatt.data.readers.files import Table
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.forecasting import Windows
from rosenblatt.data.tasks.tagging import step_counts, unit_of_tags
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import ModelFileError, TableError, listed
from rosenblatt.models.fit import Prepared, ScoreOf, Watch, learn
from rosenblatt.models.metrics import Score, baseline, forecast_scores, of_steps, scores
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import digest, to_bytes, write_file
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.dispatch import start_step_compiler
from rosenblatt.training.population import Score as EpochScore
from rosenblatt.tuning.checkpoints import Keeper
from rosenblatt.tuning.coordinator import Progress, Search
from rosenblatt.tuning.refit import refit
from rosenblatt.tuning.selection import CANDIDATES, Outcome, outcome
from rosenblatt.workflows.problems.build import Asked, Say, answered, pose, readable, text_to_score
from rosenblatt.workflows.recorder import Recorder

ENDING = 3.0  # seconds kept for what comes after a search, besides predictions: writing the model, reading it again
JOINED = 6  # trials that an ensemble has, about
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
    texts: Sequence[str] = (),
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
    if spec.network.kind == "mlp" and spec.training.device == "cpu" and start_step_compiler():
        say("compiling the training loop for this machine, once after each installation: about 10 seconds")
    problem = pose(table, targets, spec, Asked(task, ignore, keep, texts), test, validation, say)
    spec, schema, question, target = problem.spec, problem.schema, problem.question, problem.target
    data, watched, truth = problem.data, problem.validation, problem.truth
    score = _epoch_score(spec.training.scoring)
    base = baseline(target, data.y)

    def tested(model: Model) -> tuple[np.ndarray, list[Score]]:
        if not len(truth):
            return np.empty((0, len(base))), []
        decoded = model.decoded_typed(problem.test_typed, threads)
        return decoded, _scores(target, problem.windows, problem.test, truth, decoded, base)

    alone: list[Score] = []
    known = recorder.begin(schema, data, watched, problem.test_typed) if recorder else None
    if known is not None:
        model = known
    elif spec.searches:
        prepared = Prepared(data, lambda one: question.target(data.y, one), watched)
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
        test_source=test.source if test else table.test.source if table.test else "",
        scores=[[score.name, score.model, score.baseline, score.higher_is_better] for score in found],
        seconds=round(time.time() - started, 1),
        created=time.strftime("%Y-%m-%d %H:%M:%S"),
        version=version("rosenblatt"),
    )
    if problem.windows:
        model = model.with_facts(windows=problem.windows.model_dump(mode="json"))
        truth, decoded = (problem.windows.in_units(problem.test, one) for one in (truth, decoded))
    truth, decoded = of_steps(target, truth, decoded)
    if recorder:
        recorder.fitted(model, found, truth, decoded)
    sample = (problem.test if len(truth) else problem.frame).head(max(CHECKED_ROWS // problem.steps, 1))
    return Fitted(model, found, problem.test, truth, decoded, sample, alone)


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

    said = JOINED * len(running.folds) * how.rows + CANDIDATES * running.folds[0].spared.size
    spent = running.wall if how.recorder and how.recorder.resumed else 0.0
    deadline = None if minutes is None else how.started + 60 * minutes - ENDING - spent
    try:
        running.run(deadline, how.watch, keep, said)
    finally:
        if how.recorder:
            how.recorder.trials(running, at_end=True)
        if keeper and running.interrupted:
            keeper.close()
        if how.records:
            how.records([trial.record() for trial in running.trials])
    found = outcome(running, schema)
    if running.refits and not running.interrupted:
        found = refit(running, found, how.watch)
    if minutes is not None and not any(trial.state == "finished" for trial in running.trials):
        epochs = max(trial.epochs for trial in running.trials)
        say(f"{minutes:g} minutes were too short for one trial: what it learnt in {epochs} epochs is kept")
    return found


def _scores(
    target: Target,
    windows: Windows | None,
    frame: pl.DataFrame,
    truth: np.ndarray,
    decoded: np.ndarray,
    base: list[float],
) -> list[Score]:
    """The scores of rows; those of forecasts beside the last value of each window, which says that nothing changes."""
    if windows is None:
        return scores(target, truth, decoded, base)
    values, said = windows.in_units(frame, truth), windows.in_units(frame, decoded)
    return forecast_scores(values, said, windows.in_units(frame, np.zeros_like(truth)))


def _epoch_score(scoring: str) -> Callable[[Target, np.ndarray], EpochScore] | None:
    if scoring == "loss":
        return None
    from rosenblatt.models.scorers import epoch_score  # loads scikit-learn's metrics

    return epoch_score(scoring)


def without_damaged(model: Model, table: Table, damaged: Policy | None, say: Say) -> Table:
    """The rows whose images can be read, where others may be left out; None as it was when the model learnt.

    Raises TableError where too many are damaged.
    """
    if (damaged or model.spec.data.damaged) == "raise":
        return table  # the first one is told when it comes to it
    kept = table.frame.filter(readable(model.schema, "skip", table.frame, say))
    name = table.name or next((one.name for one in model.schema.media if kept.schema.get(one.name) == pl.String), "")
    test = table.test and without_damaged(model, table.test, "skip", say)
    return replace(table, frame=kept, test=test, name=name if kept.height < table.frame.height else table.name)


def predict(
    model: Model, table: Table, *, with_inputs: bool = False, say: Say = print, threads: int | None = None
) -> pl.DataFrame:
    """The predictions for a table: for classes and labels also the probability of each; of series what comes next.

    Raises:
        TableError: where the table does not fit the model.
    """
    check_predicts(model)
    if "windows" in model.facts:
        return forecast(model, table, say, threads)
    frame = table.whole
    typed = model.schema.read(frame, say)
    for note in dict.fromkeys(note for trial in model.trials for note in trial.encoder.news(typed)):
        say(note)
    decoded = model.decoded_typed(typed, threads)
    target, label = model.target, model.label(decoded)
    columns: dict[str, np.ndarray | list[Any]] = {}
    if target.each_step:
        lengths = step_counts(typed, model.chosen.data.tokens)
        tags = [" ".join(map(str, row[:many])) for row, many in zip(label, lengths, strict=True)]
        return _beside(table, pl.DataFrame({target.names[0]: tags}), with_inputs, say)
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
    return _beside(table, pl.DataFrame(columns), with_inputs, say)


def _beside(table: Table, predicted: pl.DataFrame, with_inputs: bool, say: Say) -> pl.DataFrame:
    """The predictions, beside what names the rows of files; or all columns, where these are asked for."""
    frame = table.whole if with_inputs else table.whole.select([table.name] * bool(table.name))
    untold = [name for name, dtype in frame.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if untold:
        say(f"columns that do not fit into a cell are left out: {listed(untold)}")
    frame = frame.drop(untold)
    for name in predicted.columns:
        new = name
        while new in frame.columns:
            new = f"predicted {new}"
        predicted = predicted.rename({name: new})
    return pl.concat([frame, predicted], how="horizontal")


def check_predicts(model: Model) -> None:
    """Raise TableError for a model that does not predict rows."""
    if model.target.task == "language":
        raise TableError("This model tells what comes next in a text. Use rosenblatt generate.")


def forecast(model: Model, table: Table, say: Say = print, threads: int | None = None) -> pl.DataFrame:
    """What comes after the end of each series of a table: its name, the step, the forecast. Raises TableError."""
    windows = Windows.model_validate(model.facts["windows"])
    rows = windows.last(table.frame, say)
    said = windows.in_units(rows, model.decoded(rows, threads))
    found = {windows.series: rows["name"].to_list()} if windows.series else {}
    steps = np.tile(np.arange(1, windows.horizon + 1), rows.height)
    names = {name: np.repeat(np.array(values, object), windows.horizon).tolist() for name, values in found.items()}
    return pl.DataFrame({**names, "step": steps, windows.target: said.ravel()})


def evaluate(model: Model, table: Table, say: Say = print, threads: int | None = None) -> tuple[list[Score], Fitted]:
    """The scores of a model on a table with answers; of a forecast on all windows of its series, of a language on a
    text. Raises TableError where it does not fit."""
    windows = Windows.model_validate(model.facts["windows"]) if "windows" in model.facts else None
    if windows:
        frame = windows.rows(table.frame, say)
        truth = frame.select(windows.answers).to_numpy()
    elif model.target.task == "language":
        encoding = cast("TextEncoding", model.encoder.perceived[0])
        frame, truth = text_to_score(table, encoding.vocabulary, encoding.longest, say)
    else:
        frame, truth = answered(table.to_score, model.target, say)
    typed = model.schema.read(frame, say)
    if model.target.task == "tagging":
        unit_of_tags(typed, truth, model.chosen.data.tokens)
    decoded = model.decoded_typed(typed, threads)
    base = model.facts.get("baseline") or baseline(model.target, truth)
    found = _scores(model.target, windows, frame, truth, decoded, base)
    if windows:
        truth, decoded = (windows.in_units(frame, one) for one in (truth, decoded))
    truth, decoded = of_steps(model.target, truth, decoded)
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
            command = "import sys; from rosenblatt.models.model_file import print_digest; print_digest(*sys.argv[1:])"
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
