"""Checkpoints of a search: a folder from which an interrupted search resumes and ends with the same result.

`search.jsonl` is a journal: a header that identifies the search, then one `SearchState` per line, written whenever
trials have reached a rung. `trial-N.safetensors` holds the members of a trial as they were at a rung. At most a
hundredth of the time is spent on writing members of paused trials, so their files may be missing or of an earlier
rung. If such a trial is promoted after a resume, it is trained again up to its rung, with the same result bit for bit.

Members that a trial of population-based training inherited cannot be trained again, so there all members are written.
After its k-th inheritance the file of a trial is `trial-N-k.safetensors`; the one before is deleted only when the
journal has the inheritance.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, TypeAdapter
from safetensors import SafetensorError, safe_open

from rosenblatt.errors import ModelFileError, Notify
from rosenblatt.training.member import EpochRecord, Member
from rosenblatt.training.state import MemberState
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.search_state import SearchState
from rosenblatt.tuning.trial import Trial

FORMAT = 6
MAX_WRITE_FRACTION = 0.01  # of the time, for writing members of paused trials
JOURNAL = "search.jsonl"
MUTABLE_ON_RESUME = {"trials": None, "minutes": None, "memory_gib": "auto"}  # settings that a resumed search may change


class JournalHeader(BaseModel):
    """First line of the journal, which identifies the search."""

    model_config = ConfigDict(frozen=True)

    format: int
    fingerprint: str


class SavedMember(BaseModel):
    """A member without its arrays."""

    model_config = ConfigDict(frozen=True)

    best_epoch: int
    best_score: float
    failure: str
    finished: bool
    history: list[EpochRecord]


_SAVED_MEMBERS = TypeAdapter(list[SavedMember | None])


class SearchCheckpoint:
    """Saves a search to a folder; if the folder already holds its state, restores the search from it first.

    Args:
        search: a search that has not run yet.
        folder: created when there is something to save.
        notify: called with a message if the state cannot be written.

    Raises:
        ModelFileError: if the state is damaged, or belongs to another search or other data.
    """

    def __init__(self, search: SearchCoordinator, folder: Path, notify: Notify = print) -> None:
        self._search, self._folder, self._notify = search, folder, notify
        self._journal = folder / JOURNAL
        self._header = JournalHeader(format=FORMAT, fingerprint=_fingerprint(search))
        self._revision, self._n_decisions = 0, 0  # of the history and the policy, as last written
        self._unwritten: dict[int, Trial] = {}  # trials whose members have changed since they were written
        self._started, self._write_seconds = time.monotonic(), 0.0  # seconds: start, and time for writing members
        self._write_failed = False
        self.restored = self._restore()

    def save(self) -> None:
        """Write everything that changed since the last call. The first failure to write is reported to the user."""
        search = self._search
        changed = search.history.changed_since(self._revision)
        for trial in changed:
            self._unwritten.pop(trial.number, None)
            is_training = trial.state == "running" or trial.pending_folds > 0
            if not is_training and any(trial.folds.members):
                self._unwritten[trial.number] = trial
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write_members(math.inf if search.plan.is_population_based else MAX_WRITE_FRACTION)
            self._append(search.state_since(self._revision, self._n_decisions))
            for trial in changed:
                if trial.state != "running" and not any(trial.folds.members):
                    self._path(trial).unlink(missing_ok=True)
                if trial.inherited_from:
                    self._path(trial, len(trial.inherited_from) - 1).unlink(missing_ok=True)
        except OSError as error:
            if not self._write_failed:
                self._notify(f"the search continues, but its state cannot be saved: {error}")
            self._write_failed = True
            return
        self._revision, self._n_decisions = search.history.revision, len(search.policy.decisions)

    def close(self) -> None:
        """Write all members that have not been written yet."""
        with suppress(OSError):
            self._write_members(max_fraction=math.inf)

    def _write_members(self, max_fraction: float) -> None:
        """Write finished trials, then the best others as long as writing takes at most this fraction of the time."""
        ranked = sorted(
            self._unwritten.values(),
            key=lambda trial: (trial.state != "finished", -trial.rung, -trial.score_to_maximize),
        )
        for trial in ranked:
            started = time.monotonic()
            if trial.state != "finished" and self._write_seconds > max_fraction * (started - self._started):
                return
            _write_members(trial, self._path(trial))
            del self._unwritten[trial.number]
            self._write_seconds += time.monotonic() - started

    def _path(self, trial: Trial, n_inheritances: int | None = None) -> Path:
        """The file of a trial's members, by default as they are now."""
        n_inheritances = len(trial.inherited_from) if n_inheritances is None else n_inheritances
        suffix = f"-{n_inheritances}" if n_inheritances else ""
        return self._folder / f"trial-{trial.number}{suffix}.safetensors"

    def _append(self, state: SearchState) -> None:
        """Append a line to the journal, after the header if it is empty; a failed write leaves it unchanged."""
        size = self._journal.stat().st_size if self._journal.exists() else 0
        models = (state,) if size else (self._header, state)
        try:
            with self._journal.open("ab") as file:
                file.write("".join(f"{json.dumps(model.model_dump())}\n" for model in models).encode())
        except OSError:
            if self._journal.exists():
                os.truncate(self._journal, size)
            raise

    def _restore(self) -> bool:
        """Restore the search; False if there is no state yet."""
        states = self._read_journal()
        if states is None:
            return False
        search = self._search
        search.restore(states)
        for trial in search.history.trials:
            path = self._path(trial)
            if path.exists() and not trial.folds.final_scores:
                _read_members(search, trial, path)
        self._revision, self._n_decisions = search.history.revision, len(search.policy.decisions)
        search.requeue_running_trials()
        return True

    def _read_journal(self) -> list[SearchState] | None:
        """The states in the journal, without a last line that was cut off when the process was killed.

        None if there is no journal, or the first write was cut off.
        """
        content = self._journal.read_bytes() if self._journal.exists() else b""
        end = content.rfind(b"\n") + 1
        header = json.dumps(self._header.model_dump()).encode()
        if not end and header.startswith(content):
            if content:
                os.truncate(self._journal, 0)
            return None
        try:
            first, *lines = (json.loads(line) for line in content[:end].splitlines())
            is_same_search = JournalHeader.model_validate(first) == self._header
            states = [SearchState.model_validate(line) for line in lines] if is_same_search else []
        except ValueError as error:  # not JSON, or not of these fields
            raise ModelFileError(
                f"{str(self._folder)!r} is not the state of a search, or is damaged. Choose another folder to start a "
                "new search."
            ) from error
        if not is_same_search:
            raise ModelFileError(
                f"{str(self._folder)!r} is the state of another search: its data, hyperparameters, search space "
                "or version of Rosenblatt differ. Choose another folder to start a new search."
            )
        if end < len(content):
            os.truncate(self._journal, end)
        return states


def _write_members(trial: Trial, path: Path) -> None:
    """Write the members of a trial to a file, which is replaced only once it is complete. Raises OSError."""
    arrays: dict[str, np.ndarray] = {}
    saved: list[SavedMember | None] = []
    for fold, member in enumerate(trial.folds.members):
        if member is None:
            saved.append(None)
            continue
        tensors = {**member.state._asdict(), "best": member.best}
        arrays |= {f"fold.{fold}.{name}": np.ascontiguousarray(array) for name, array in tensors.items()}
        saved.append(
            SavedMember(
                best_epoch=member.best_epoch,
                best_score=member.best_score,
                failure=member.failure,
                finished=member.finished,
                history=member.history,
            )
        )
    try:  # this copies no arrays, unlike `save`, and renames a temporary file
        safetensors.numpy.save_file(arrays, path, {"members": json.dumps(_SAVED_MEMBERS.dump_python(saved))})
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _read_members(search: SearchCoordinator, trial: Trial, path: Path) -> None:
    """Read the members of a trial."""
    try:
        with safe_open(path, framework="numpy") as file:
            saved = _SAVED_MEMBERS.validate_python(json.loads((file.metadata() or {})["members"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelFileError(f"{str(path)!r} is damaged. Remove it, and the trial is trained again.") from error
    trial.rows = search.prepared.rows(trial.proposal.resolved_spec)
    for fold, saved_member in enumerate(saved):
        if saved_member is not None:
            member = trial.fold_member(fold, search.plan.folds[fold])
            member.state = MemberState(**{name: tensors[f"fold.{fold}.{name}"] for name in MemberState._fields})
            member.best = tensors[f"fold.{fold}.best"]
            _restore_member(member, saved_member)
    trial.rows = None
    trial.update_statistics()


def _restore_member(member: Member, saved: SavedMember) -> None:
    member.best_epoch, member.best_score, member.history = saved.best_epoch, saved.best_score, list(saved.history)
    member.failure, member.finished = saved.failure, saved.finished


def _fingerprint(search: SearchCoordinator) -> str:
    """A hash of everything a resumed search must share: the spec without its budgets, the target, and the data."""
    spec = search.plan.spec.replace(**MUTABLE_ON_RESUME)
    digest = hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode())
    digest.update(search.prepared.target(search.plan.spec).model_dump_json().encode())
    for data in (search.prepared.data, search.prepared.validation):
        if data is not None:
            digest.update(data.fingerprint())
    return digest.hexdigest()
