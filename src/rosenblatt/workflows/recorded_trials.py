"""Record the trials of a search as runs of their own, while it runs."""

from __future__ import annotations

import secrets
import time
from collections import deque
from typing import Any

import numpy as np

from rosenblatt.models.evaluation import score_predictions
from rosenblatt.models.metadata import TestScore
from rosenblatt.runs.redaction import StreamRedactor
from rosenblatt.runs.store.curves import make_points, summarize
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.tracking.output import final_text
from rosenblatt.runs.tracking.run import Run
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.trial import Trial
from rosenblatt.workflows.recorded_results import hash_array, mean_curve, metric_name

WRITE_INTERVAL_S = 0.3  # seconds between two updates of the store


class TrialRecorder:
    """Writes the trials of a search that have changed."""

    def __init__(self, run: Run) -> None:
        self._run, self._last_write = run, 0.0
        self._started = set[int]()  # trials whose runs have begun
        self._revision = 0  # of the search's history when it was last written
        self._log = deque[tuple[int, float, str]]()  # trial, time and text that is not written
        self._writer, self._n_texts = secrets.token_hex(8), 0  # that identify a text of the log

    def log(self, trial: int, text: str) -> None:
        """Record lines on a trial as its output, such as what machines did with it; may be called by any thread."""
        self._log.append((trial, time.time(), text))

    def write(self, search: SearchCoordinator, at_end: bool = False) -> None:
        """Write the trials that have changed, unless the last update was just now and the search goes on."""
        now = time.monotonic()
        if not at_end and now - self._last_write < WRITE_INTERVAL_S:
            return
        self._last_write = now
        batch = RecordBatch()
        for trial in search.history.changed_since(self._revision):
            self._add_trial(batch, search, trial)
        self._revision = search.history.revision
        self._run.put(batch)
        self.write_log()

    def write_log(self) -> None:
        """Write the log of trials whose runs have begun."""
        batch = RecordBatch()
        for _ in range(len(self._log)):
            entry = self._log.popleft()
            trial, logged, text = entry
            if trial not in self._started:
                self._log.append(entry)
                continue
            redacted = StreamRedactor().redact(final_text(text))
            batch.add_output(self._run_id(trial), self._writer, self._n_texts, "stdout", logged, redacted)
            self._n_texts += 1
        if batch:
            self._run.put(batch)

    def _run_id(self, trial: int) -> str:
        return f"{self._run.id}-{trial}"

    def _add_trial(self, batch: RecordBatch, search: SearchCoordinator, trial: Trial) -> None:
        """Add the current state of a trial to a batch."""
        run_id = self._run_id(trial.number)
        if trial.number not in self._started:
            self._started.add(trial.number)
            place = {"started": time.time(), "parent": self._run.id, "number": trial.number}
            batch.add_run(run_id, self._run.experiment, f"trial {trial.number}", "trial", **place)
            values, chosen = flatten_spec(trial.proposal.resolved_spec), trial.proposal.params
            batch.add_params(run_id, values, {name: name in chosen for name in values})
            batch.add_params(run_id, {name: value for name, value in chosen.items() if name not in values})
        ended = trial.state in ("finished", "stopped", "failed")
        state = trial.state if ended else "running"
        batch.update_run(run_id, state=state, reason=trial.reason or None, ended=time.time() if ended else None)
        if trial.scores:
            batch.add_metadata(run_id, "trial", trial.record().to_json())
        if trial.state == "running" or trial.pending_folds:
            return
        losses, epoch_scores = ([curve[k] for curve in trial.folds.curves.values()] for k in (0, 1))
        _add_curve(batch, run_id, "loss", mean_curve(losses))
        _add_curve(batch, run_id, f"validation_{search.plan.spec.training.scoring}", mean_curve(epoch_scores))
        if trial.state == "finished" and len(trial.folds.out_of_fold_predictions) == len(search.plan.folds):
            for score in _out_of_fold_scores(search, trial):
                _add_curve(batch, run_id, metric_name(score.name), np.array([score.model]), trial.statistics.epochs)
            weights = [hash_array(member.best) for member in trial.folds.members if member is not None]
            batch.add_metadata(run_id, "weights", weights)


def flatten_spec(spec: Spec) -> dict[str, Any]:
    """The hyperparameters of a spec that apply to its kind of network, by name."""
    names = [name for name, hyperparameter in HYPERPARAMETERS.items() if hyperparameter.applies_to(spec.network.kind)]
    return {name: spec[name] for name in names}


def _add_curve(batch: RecordBatch, run: str, name: str, values: np.ndarray, first_step: int = 1) -> None:
    """Add a whole curve, which replaces what the store holds of it."""
    if values.size:
        points = make_points(first_step + np.arange(len(values)), np.full(len(values), time.time()), values)
        batch.add_curve(run, name, "engine", 0, points, summarize(points), replace=True)


def _out_of_fold_scores(search: SearchCoordinator, trial: Trial) -> list[TestScore]:
    """The scores of a finished trial on the training rows, each predicted by the network that held it out."""
    rows = np.concatenate([fold.validation for fold in search.plan.folds])
    predictions = np.concatenate([trial.folds.out_of_fold_predictions[fold] for fold in range(len(search.plan.folds))])
    baseline = [0.5] * predictions.shape[-1]  # required, but not recorded
    weight = search.prepared.given_weight
    return score_predictions(
        trial.proposal.target, search.prepared.y[rows], predictions.astype(np.float64), baseline,
        weight=None if weight is None else weight[rows],
    )  # fmt: skip
