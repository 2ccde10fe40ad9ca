"""The one place where data, networks, training and files meet: fit, predict and evaluate on tables in files."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from rosenblatt.data.table import Table
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import ModelFileError
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.evaluation import Fitted, _scores
from rosenblatt.models.fit import Watch, learn
from rosenblatt.models.metrics import Score, baseline, of_steps
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import digest, to_bytes
from rosenblatt.models.prepared import Prepared
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.dispatch import start_step_compiler
from rosenblatt.training.population import Score as EpochScore
from rosenblatt.workflows.problems.build import pose
from rosenblatt.workflows.problems.problem import Asked, Say
from rosenblatt.workflows.recorder import Recorder
from rosenblatt.workflows.search import Searching, search

CHECKED_ROWS = 1000  # rows whose predictions must be the same, to the last bit, from the written file in a new process


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


def _epoch_score(scoring: str) -> Callable[[Target, np.ndarray], EpochScore] | None:
    if scoring == "loss":
        return None
    from rosenblatt.models.scorers import epoch_score  # loads scikit-learn's metrics

    return epoch_score(scoring)


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
