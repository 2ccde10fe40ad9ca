"""In: a fit or a search as it goes. Out: the run in the store: what was asked, on which data, and what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Data
from rosenblatt.data.media.columns import row_hashes
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import ModelFileError, StorageError, StoreError
from rosenblatt.models.metrics import Score, scores
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import load_model, to_bytes
from rosenblatt.runs.capture.snapshot import Captured, identity_of
from rosenblatt.runs.store.artifacts import fetch
from rosenblatt.runs.store.curves import summary
from rosenblatt.runs.store.locations import folder_of, url_of
from rosenblatt.runs.store.queries import artifacts_of, facts_of, finished_run
from rosenblatt.runs.store.records import Batch, as_json
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.output import Output
from rosenblatt.runs.tracking.run import Run, new_id
from rosenblatt.runs.tracking.writer import points_of
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.coordinator import Search
from rosenblatt.tuning.trials import Trial
from rosenblatt.workflows.request import RESUME, Asked

EVERY = 0.3  # seconds between two writings of trials
MODEL = "model.rosenblatt"
_SHORT = {
    "AUC": "auc", "AUC (one against rest)": "auc", "AUC (mean of labels)": "auc", "log loss": "log_loss", "R2": "r2",
    "root mean squared error": "rmse", "mean absolute error": "mae", "balanced accuracy": "balanced_accuracy",
    "F1 (mean of classes)": "f1", "F1 (mean of labels)": "f1", "labels right": "accuracy",
    "all labels right": "exact_accuracy",
}  # fmt: skip


@dataclass
class Recorder:
    """Records a fit or a search; or nothing, where `url` is None."""

    asked: Asked
    url: str | None
    experiment: str
    name: str = ""
    reuse: bool = False
    reproduces: str = ""  # the run that it makes again
    reused: str = ""  # the finished run that is the same
    run: Run | None = None
    state: Path | None = None  # the folder in which the state of a search is kept
    resumed: bool = False
    _said: list[str] = field(default_factory=list)
    _written: float = 0.0
    _begun: set[int] = field(default_factory=set)  # trials whose run is written
    _changed: set[int] = field(default_factory=set)
    _output: Output | None = None  # once the run has begun
    _say: Callable[[str], None] = print

    @classmethod
    def of(
        cls, asked: Asked, experiment: str, *, name: str = "", reuse: bool = False, store: str | None = None
    ) -> Recorder:
        """What records a command. Raises StoreError for a store that is damaged or of a later version."""
        url = url_of(store)
        recorder = cls(asked, url, experiment, name, reuse)
        if url:
            resumed = os.environ.pop(RESUME, None)
            if resumed and not _asked_the_same(url, resumed, asked):
                resumed = None
            recorder.run = Run(url, resumed or new_id(), experiment, {})
            recorder.resumed = resumed is not None
            recorder.state = folder_of(url) / "state" / recorder.run.id if asked.spec.searches else None
        return recorder

    def hears(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """What says something to the user, and records it."""

        def said(message: str) -> None:
            self._said.append(message)
            say(message)

        self._say = said
        return said

    def begin(self, schema: Schema, data: Data, validation: Data | None, test: pl.DataFrame) -> Model | None:
        """Write what was asked, and on which rows. Returns the model of a finished run that is the same, if one may."""
        if self.run is None or self.url is None:
            return None
        run, asked = self.run, self.asked
        captured = Captured(Path.cwd(), run.keep_source)
        rows = [one.fingerprint().hex() for one in (data, validation) if one is not None]
        told = asked.to_json() | {"table": "", "test": "", "validation": "", "threads": None}
        identity = identity_of("fit", _engine(), told, rows, captured.environment)
        if self.reuse:
            finished = finished_run(self.url, identity)
            model = _model_of(self.url, finished) if finished else None
            if model is not None:
                self.reused = finished or ""
                return model
        kind = "search" if asked.spec.searches else "fit"
        if self.resumed:
            run.go_on(captured)
        else:
            run.begin(self.name, kind, captured, identity=identity)
        self._output = Output(run.writer, run.id)
        run.set_params(*_hyperparameters(asked.spec))
        run.fact("asked", asked.to_json())
        run.fact("engine", {"source": _engine()})
        run.fact("schema", schema.model_dump(mode="json"))
        test_rows = hashlib.sha256(row_hashes(test).tobytes()).hexdigest()
        split = {"training rows": len(data.y), "test rows": test.height, "training": rows[0], "test": test_rows}
        run.fact("split", split | ({"validation": rows[1]} if validation is not None else {}))
        for what in ("table", "test", "validation"):
            path = getattr(asked, what)
            if path and Path(path).exists():
                run.use_data(path, what)
        if self.state:
            run.fact("state_folder", str(self.state))
        if self.reproduces:
            run.fact("reproduces", self.reproduces)
        return None

    def trials(self, search: Search, at_end: bool = False) -> None:
        """Write the trials of a search that changed since."""
        if self.run is None:
            return
        self._changed |= search.changed
        now = time.monotonic()
        if not at_end and now - self._written < EVERY:
            return
        self._written = now
        batch = Batch()
        if self.resumed and not self._begun:
            self._changed = {trial.number for trial in search.trials}
        for number in sorted(self._changed):
            self._trial(batch, search, search.trials[number])
        self._changed.clear()
        self.run.writer.put(batch)

    def fitted(self, model: Model, found: list[Score], truth: np.ndarray, decoded: np.ndarray) -> None:
        """Write what came of it: scores, curves, per-class scores, predictions on the test rows, the model."""
        if self.run is None or self.reused:
            return
        run, target = self.run, model.target
        run.set_params(*_hyperparameters(model.trials[0].chosen, self.asked.spec))
        run.log({metric_name(score.name): score.model for score in found}, step=0)
        run.fact("baseline", {metric_name(score.name): score.baseline for score in found})
        if len(model.trials) == 1:
            networks, scoring = model.trials[0].networks, model.spec.training.scoring
            sign, losses = -1 if scoring == "loss" else 1, _mean([np.array(one.losses) for one in networks])
            run.log_curve("loss", losses, range(1, len(losses) + 1))
            found_by_epoch = sign * _mean([np.array(one.scores) for one in networks])
            run.log_curve(f"validation_{scoring}", found_by_epoch, range(1, len(found_by_epoch) + 1))
        if len(truth) and target.labels and target.task != "language":
            counts = _confusion(target, truth, decoded)
            run.fact("confusion", {"classes": [str(label) for label in target.labels], "counts": counts})
            run.fact("classes", _per_class(target, truth, decoded))
        try:
            _keep_files(run, model, truth, decoded)
        except (StorageError, OSError) as error:
            self._say(f"the run's files are not kept: {error}")
        run.fact("weights", weights_of(model))
        if model.facts.get("search"):
            run.fact("search", model.facts["search"])

    def finish(self, state: str, reason: str | None = None) -> None:
        """End the run."""
        if self.run is None or self._output is None:
            return
        self._output.add("stdout", "".join(f"{line}\n" for line in self._said))
        self._output.write(at_end=True)
        self.run.finish(state, reason)
        if self.state and state == "finished":  # which is only to go on from
            shutil.rmtree(self.state, ignore_errors=True)

    def _trial(self, batch: Batch, search: Search, trial: Trial) -> None:
        """Put a trial as it is now into a batch."""
        assert self.run is not None  # noqa: S101 - asked before
        run, scoring = f"{self.run.id}-{trial.number}", search.spec.training.scoring
        if trial.number not in self._begun:
            self._begun.add(trial.number)
            begun = {"started": time.time(), "parent": self.run.id, "number": trial.number}
            batch.begin(run, self.experiment, f"trial {trial.number}", "trial", **begun)
            values = _flat(trial.chosen)
            batch.params(run, values, {name: name in trial.values for name in values})
            searched = {name: value for name, value in trial.values.items() if name not in values}
            batch.params(run, searched)
        ended = trial.state in ("finished", "stopped", "failed")
        state = trial.state if ended else "running"
        batch.change(run, state=state, reason=trial.reason or None, ended=time.time() if ended else None)
        sign, seen = -1 if scoring == "loss" else 1, time.time()
        name = f"validation_{scoring}"
        if trial.scores:
            batch.fact(run, "trial", trial.record())
        if trial.state == "running" or trial.waiting:
            return
        curves = list(trial.curves.values())
        for metric, means in (("loss", _mean([c[0] for c in curves])), (name, sign * _mean([c[1] for c in curves]))):
            if means.size:
                _put(batch, run, metric, np.arange(1, len(means) + 1), means, seen)
        if trial.state == "finished" and len(trial.said) == len(search.folds):
            for score in _out_of_fold(search, trial):
                _put(batch, run, metric_name(score.name), [trial.epochs], [score.model], seen)
            batch.fact(run, "weights", [_hash(member.best) for member in trial.members if member is not None])


def _asked_the_same(url: str, run: str, asked: Asked) -> bool:
    """Whether a run is one of the same command."""
    with closing(Store(url)) as store:
        return bool(facts_of(store, run).get("asked") == json.loads(as_json(asked.to_json())))


def metric_name(name: str) -> str:
    """A test score's name as a metric: `auc`, `rmse`, `f1`."""
    head, of, what = name.partition(" of ")
    if head == "F1":
        return "f1"
    return _SHORT.get(name) or _SHORT.get(head, head.lower().replace(" ", "_")) + of + what


def weights_of(model: Model) -> list[str]:
    """A hash of each network's weights."""
    return [_hash(network.theta) for network in model.networks]


def _put(
    batch: Batch, run: str, name: str, steps: list[int] | np.ndarray, values: list[float] | np.ndarray, seen: float
) -> None:
    points = points_of(steps, np.full(len(steps), seen), values)
    batch.curve(run, name, "engine", 0, points, summary(points), whole=True)


def _mean(curves: list[np.ndarray]) -> np.ndarray:
    """The mean of curves at each epoch, over those that came so far."""
    longest = max((len(curve) for curve in curves), default=0)
    total, count = np.zeros(longest), np.zeros(longest)
    for curve in curves:
        total[: len(curve)] += curve
        count[: len(curve)] += 1
    return total / np.maximum(count, 1)


def _hyperparameters(chosen: Spec, asked: Spec | None = None) -> tuple[dict[str, Any], dict[str, bool]]:
    """All of a spec, and which of them were chosen: by the user, or by a search."""
    values = _flat(chosen)
    spec = chosen if asked is None else asked
    return values, {
        n: spec[n] != HYPERPARAMETERS[n].default or (spec.searches and chosen[n] != spec[n]) for n in values
    }


def _keep_files(run: Run, model: Model, truth: np.ndarray, decoded: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if len(truth):
            path = Path(folder) / "predictions.parquet"
            _predictions(model.target, truth, decoded).write_parquet(path)
            run.log_artifact(path, kind="predictions")
        path = Path(folder) / MODEL
        path.write_bytes(to_bytes(model))
        run.log_artifact(path, kind="model")


def _flat(spec: Spec) -> dict[str, Any]:
    """The hyperparameters that mean something for this kind of network."""
    names = [name for name, known in HYPERPARAMETERS.items() if known.concerns(spec.network.kind)]
    return {name: spec[name] for name in names if spec[name] is not None}


def _out_of_fold(search: Search, trial: Trial) -> list[Score]:
    """The scores of a finished trial on the rows that each of its networks spared."""
    rows = np.concatenate([fold.spared for fold in search.folds])
    said = np.concatenate([trial.said[fold] for fold in range(len(search.folds))])
    y = search.prepared.y[rows]
    base = [0.5] * said.shape[-1]
    return scores(trial.target, y, said.astype(np.float64), base)


def _confusion(target: Target, truth: np.ndarray, decoded: np.ndarray) -> list[list[int]]:
    """Counts by true class, then by predicted class."""
    k = len(target.labels)
    places = truth.astype(int) * k + np.asarray(target.decide(decoded)).astype(int)
    return np.bincount(places, minlength=k * k).reshape(k, k).tolist()


def _per_class(target: Target, truth: np.ndarray, decoded: np.ndarray) -> dict[str, dict[str, float]]:
    counts = np.array(_confusion(target, truth, decoded))
    found = {}
    for k, label in enumerate(target.labels):
        hit, of, said = int(counts[k, k]), int(counts[k].sum()), int(counts[:, k].sum())
        precision, recall = hit / said if said else 0.0, hit / of if of else 0.0
        both = 2 * hit / (of + said) if of + said else 0.0
        found[str(label)] = {"precision": precision, "recall": recall, "f1": both, "rows": of}
    return found


def _predictions(target: Target, truth: np.ndarray, decoded: np.ndarray) -> pl.DataFrame:
    """The test rows' answers, and what was said of them."""
    columns: dict[str, Any] = {}
    if target.task == "language":  # not of each token of the vocabulary
        labels, decided = np.array(target.labels), decoded.argmax(axis=1)
        right = decoded[np.arange(len(truth)), truth.astype(int)]
        columns = {"truth": labels[truth.astype(int)], "predicted": labels[decided], "probability of the truth": right}
    elif target.labels:
        columns["truth"] = [str(target.labels[int(k)]) for k in truth]
        columns |= {f"probability of {label}": decoded[:, k] for k, label in enumerate(target.labels)}
    else:
        for k, name in enumerate(target.names):
            columns |= {f"truth {name}": truth.reshape(len(truth), -1)[:, k], f"predicted {name}": decoded[:, k]}
    return pl.DataFrame(columns)


def _model_of(url: str, run: str) -> Model | None:
    """The model of a finished run, if it is still there."""
    try:
        with closing(Store(url)) as store, tempfile.TemporaryDirectory() as folder:
            kept = artifacts_of(store, run)[MODEL]
            fetch(kept["hash"], kept["root"], Path(folder) / MODEL)
            return load_model(Path(folder) / MODEL)
    except (KeyError, StorageError, StoreError, ModelFileError):
        return None


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@cache
def _engine() -> str:
    """A hash of this library's own source."""
    found, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
