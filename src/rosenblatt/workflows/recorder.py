"""Record a fit or a search as a run in the store: its request, data, messages, trials and result."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rosenblatt.data.media.columns import row_hashes
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.volumes.locations import is_volume
from rosenblatt.errors import Notify, RunError, StorageError, StoreError
from rosenblatt.models.evaluation import Evaluation
from rosenblatt.models.model import Model
from rosenblatt.runs.capture.reuse import find_reusable_run
from rosenblatt.runs.capture.snapshot import RunSnapshot, fingerprint_data
from rosenblatt.runs.store.locations import data_home, store_key, store_url
from rosenblatt.runs.store.permissions import make_folder
from rosenblatt.runs.store.queries import run_details
from rosenblatt.runs.store.records import as_json
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.launched import may_reuse
from rosenblatt.runs.tracking.run import Run
from rosenblatt.runs.tracking.start import RESUME, RunStart, take_id
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.checkpoints import MUTABLE_ON_RESUME
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.workflows.fit_identity import engine_hash, fit_identity, fits_problem
from rosenblatt.workflows.problems.problem import LearningProblem
from rosenblatt.workflows.recorded_results import (
    hash_array,
    load_recorded_model,
    record_classes,
    record_files,
    record_scores,
)
from rosenblatt.workflows.recorded_trials import TrialRecorder, flatten_spec
from rosenblatt.workflows.request import FitRequest
from rosenblatt.workflows.state_copy import StateCopy
from rosenblatt.workflows.volume_inputs import describe_input


@dataclass
class Recorder:
    """Records a fit or a search; does nothing without a run."""

    request: FitRequest
    run: Run | None = None
    name: str = ""
    reuse: bool = False
    reproduces: str = ""  # the id of the run that is reproduced
    reused: str = ""  # the id of the finished run whose model is used instead of training
    resumed: bool = False
    output: str = ""  # the path of the model file to write
    checkpoint_folder: Path | None = None  # of a search
    _messages: list[str] = field(default_factory=list)  # until the run begins
    _trials: TrialRecorder | None = None  # once the run has begun
    _state_copy: StateCopy | None = None  # in the bucket of a team
    _notify: Notify = print

    @classmethod
    def for_request(
        cls, request: FitRequest, experiment: str, *, name: str = "", reuse: bool = False, store: str | None = None
    ) -> Recorder:
        """Make the recorder of a command; `store` is as for `track`.

        With `reuse`, the model of a finished run with the same inputs is used, if there is one. Raises StoreError.
        """
        url = store_url(store)
        if url is None:
            return cls(request)
        messages = []
        resumed_run = os.environ.pop(RESUME, None)
        if resumed_run and (changes := _changed_options(url, resumed_run, request)):
            messages.append(f"the search {resumed_run} is not resumed, because {changes} changed; this is a new search")
            resumed_run = None
        run = Run(url, resumed_run or take_id(), experiment, {})
        recorder = cls(request, run, name, reuse, resumed=resumed_run is not None, _messages=messages)
        if request.spec.has_search:
            recorder._open_state(url)
        return recorder

    def _open_state(self, url: str) -> None:
        """Make the folder for the state of the search; that of a resumed one may be in the bucket of the team only.

        Raises StorageError.
        """
        run = cast("Run", self.run)
        self.checkpoint_folder = _make_state_folder(run, url)
        try:
            if bucket := run.artifacts().state_bucket(run.id):
                self._state_copy = StateCopy(self.checkpoint_folder, bucket, lambda text: self._notify(text))  # noqa: PLW0108 - set later
                if self.resumed and self._state_copy.fetch():
                    self._messages.append("the state of the search comes from the bucket of ROSENBLATT_ARTIFACTS")
        except StoreError:  # it cannot be reached, so that its part of the bucket is not known
            return
        except StorageError as error:
            if self.resumed:
                raise
            self._messages.append(f"the state of the search will not be copied to the bucket: {error}")

    def copy_state(self) -> None:
        """Copy the state of the search, as it is saved in its folder, to the bucket of the team, if there is one."""
        if self._state_copy:
            self._state_copy.update()

    @property
    def has_begun(self) -> bool:
        """Whether the run is in the store."""
        return self._trials is not None

    def capture_messages(self, notify: Notify) -> Notify:
        """Return a function that passes messages on to `notify`, and records them as output of the run."""

        def notify_and_record(message: str) -> None:
            if self._trials and self.run:
                self.run.write_output("stdout", f"{message}\n")
            else:
                self._messages.append(message)
            notify(message)

        self._notify = notify_and_record
        for message in self._messages:
            notify(message)
        return notify_and_record

    def begin(self, problem: LearningProblem) -> Model | None:
        """Record the request and its data; or return the model of a finished run with the same inputs, if allowed."""
        if self.run is None:
            return None
        run, request = self.run, self.request
        snapshot = RunSnapshot(Path.cwd(), run.store_source, run.url)
        identity = fit_identity(request, problem, snapshot.environment)
        if self.reuse and run.url and may_reuse():
            finished_id, reason = find_reusable_run(run.url, identity)
            model = load_recorded_model(run.url, finished_id) if finished_id else None
            if model is not None and fits_problem(model, problem):
                self.reused = finished_id or ""
                return model
            self._notify(f"not reused: {reason or f'the model of run {finished_id} cannot be read'}")
        split = _describe_split(problem)
        if self.resumed and run.url:
            identity = self._check_resumed(run.url, run.id, identity, split)
        metadata = self._metadata(problem.schema, split)
        for role in ("table", "test", "validation"):
            path = getattr(request, role)
            if path and is_volume(path):
                run.data.append(describe_input(path, role))
            elif path and Path(path).exists():
                run.data.append(fingerprint_data(path, role))
        kind = "search" if request.spec.has_search else "fit"
        run.begin(RunStart(kind, self.name, identity, metadata=metadata), snapshot, resumed=self.resumed)
        run.set_params(*_hyperparameters(request.spec, request.spec))
        run.write_output("stdout", "".join(f"{message}\n" for message in self._messages))
        self._trials = TrialRecorder(run)
        return None

    def _check_resumed(self, url: str, run: str, identity: str, split: Mapping[str, Any]) -> str:
        """The identity of a resumed search; empty if its trials were trained in different environments.

        Raises RunError if the rows have changed.
        """
        with closing(Store(url)) as store:
            recorded = run_details(store, run)
        if any(recorded.split.get(part) != split.get(part) for part in ("training", "validation")):
            raise RunError(
                f"The rows of {self.request.table} have changed since the search {run} began, so it cannot be resumed. "
                "Restore the table, or begin a new search with `rosenblatt fit`."
            )
        if recorded.identity == identity:
            return identity
        self._notify("caution: packages, the machine or this library have changed since the search began")
        return ""

    def _metadata(self, schema: Schema, split: dict[str, Any]) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "request": self.request.to_json(),
            "engine": {"source": engine_hash()},
            "schema": schema.model_dump(mode="json"),
            "split": split,
        }
        if self.output:
            metadata["output"] = self.output
        if self.reproduces:
            metadata["reproduces"] = self.reproduces
        return metadata

    def write_trials(self, search: SearchCoordinator, at_end: bool = False) -> None:
        """Record the trials of a search that changed."""
        if self._trials:
            self._trials.write(search, at_end)

    def log_trial(self, trial: int, text: str) -> None:
        """Record what machines did with a trial, or with a network of a fit without a search; called by any thread."""
        if self._trials and self.request.spec.has_search:
            self._trials.log(trial, text)
        elif self._trials and self.run:
            self.run.write_output("stdout", "".join(f"network {trial + 1}: {line}\n" for line in text.splitlines()))

    def write_result(self, model: Model, evaluation: Evaluation) -> None:
        """Record the result: scores, curves, scores of each class, predictions on the test rows, and the model."""
        if self.run is None or self.reused:
            return
        run = self.run
        search = model.metadata.search
        searched = search.best.params if search else ()
        run.set_params(*_hyperparameters(model.trials[0].resolved_spec, self.request.spec, searched))
        record_scores(run, model, evaluation.scores)
        record_classes(run, model.target, evaluation.y_test, evaluation.predictions)
        try:
            record_files(run, model, evaluation)
        except (StorageError, OSError) as error:
            self._notify(f"the files of the run could not be stored: {error}")
        run.set_metadata("weights", [hash_array(network.theta) for network in model.networks])
        if model.metadata.search:
            run.set_metadata("search", model.metadata.search.to_json())
        run.flush()  # the model is in the store before its file is written

    def finish(self, state: str, reason: str | None = None) -> None:
        """End the run, if it has begun."""
        if self._state_copy and state == "finished":
            self._state_copy.remove()
        elif self._state_copy:
            self._state_copy.close()
        if self.run is None or self._trials is None:
            return
        self._trials.write_log()
        self.run.finish(state, reason)
        if self.checkpoint_folder and state == "finished":
            shutil.rmtree(self.checkpoint_folder, ignore_errors=True)


def _make_state_folder(run: Run, url: str) -> Path:
    """Make the folder for the state of a search, from which it is resumed."""
    try:
        folder = run.artifacts().states_folder / run.id
    except StoreError:  # it cannot be reached
        folder = data_home() / store_key(url) / "state" / run.id
    with suppress(OSError):  # the search reports that it cannot be saved
        make_folder(folder)
    return folder


def _changed_options(url: str, run_id: str, request: FitRequest) -> str:
    """The options in which a request differs from that of a run, but for the budget of a search; empty if in none."""
    with closing(Store(url)) as store:
        recorded = run_details(store, run_id).request or {}
    options = [_flatten(values) for values in (recorded, json.loads(as_json(request.to_json())))]
    changed = [name for name in sorted({*options[0], *options[1]}) if options[0].get(name) != options[1].get(name)]
    return ", ".join(name for name in changed if name not in MUTABLE_ON_RESUME)


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a request by name, on one level."""
    options: dict[str, Any] = {}
    for name, value in values.items():
        options |= _flatten(value) if isinstance(value, Mapping) and name != "space" else {name: value}
    return options


def _hyperparameters(
    resolved: Spec, requested: Spec, searched: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, bool]]:
    """The hyperparameters of a resolved spec, and which of them the user or a search chose."""
    values = flatten_spec(resolved)
    chosen = {name if name in HYPERPARAMETERS else "hidden_sizes" for name in searched}  # from layers and width
    return values, {name: name in chosen or requested[name] != HYPERPARAMETERS[name].default for name in values}


def _describe_split(problem: LearningProblem) -> dict[str, int | str]:
    """Numbers and hashes of the training, validation and test rows; without validation rows of their own no hash."""
    rows = {"training": problem.data, "validation": problem.validation}
    hashes = {name: dataset.fingerprint().hex() for name, dataset in rows.items() if dataset is not None}
    test = hashlib.sha256(row_hashes(problem.test_typed).tobytes()).hexdigest()
    return {"training rows": len(problem.data.y), "test rows": problem.test_typed.height, **hashes, "test": test}
