"""Checkpoints of a search: a folder with its state, written rung by rung, from which it resumes to the same result.

Layout: `search.jsonl`, a first line that says what search it is, then one for each time that trials came to a rung:
those that changed, and what sampler and stopping rule were asked since. These are not saved themselves but made again,
by asking them again what they were asked. `trial-N.safetensors` holds the members of a trial as they were at a rung.
Writing them takes at most a hundredth of the time: where many small trials a second come to a rung, files of those that
wait there may be missing or of an earlier rung. Their scores are kept; should one go on, it learns again up to there,
to the same bits.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from rosenblatt.errors import ModelFileError, Notify
from rosenblatt.training.member import EpochRecord, Member
from rosenblatt.training.state import MemberState
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.trials import Trial

FORMAT = 4
MAX_WRITE_FRACTION = 0.01  # of the time, for writing members of trials that wait at a rung
JOURNAL = "search.jsonl"
_SAFETENSORS_DTYPES = {
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
    "int32": "I32",
    "uint8": "U8",
    "bool": "BOOL",
}
SAVED_FIELDS = (
    "number",
    "state",
    "reason",
    "rung",
    "scores",
    "seconds",
    "steps",
    "n_parameters",
    "epochs",
    "saved_scores",
    "inherited_from",
)
MUTABLE_ON_RESUME = {"trials": None, "minutes": None, "memory_gib": "auto"}  # may be others when a search goes on


class SearchCheckpoint:
    """Keeps the state of a search in a folder, and has it go on from there if it is there already.

    Raises ModelFileError for a state that is damaged, or of another search or other rows.
    """

    def __init__(self, search: SearchCoordinator, folder: Path, notify: Notify = print) -> None:
        self._search, self._folder, self._notify = search, folder, notify
        self._journal = folder / JOURNAL
        self._n_decisions, self._write_failed = 0, False
        self._unsaved: dict[int, Trial] = {}  # whose members are not written as they are now
        self._started, self._write_seconds = time.monotonic(), 0.0  # seconds: when it began, and of writing members
        self._header = {"format": FORMAT, "fingerprint": _fingerprint(search)}
        self.restored = self._journal.exists()
        if self.restored:
            self._restore()

    def save(self) -> None:
        """Write what changed since the last time. Where it cannot be written, that is said once."""
        search = self._search
        changed_trials = [search.trials[number] for number in sorted(search.unsaved_trials)]
        discarded_trials = [trial for trial in changed_trials if trial.state != "running" and not any(trial.members)]
        for trial in changed_trials:
            self._unsaved.pop(trial.number, None)
            if trial.state != "running" and not trial.pending_folds and any(trial.members):  # none of which learns now
                self._unsaved[trial.number] = trial
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write_members(MAX_WRITE_FRACTION)
            line = {
                "trials": [
                    {name: getattr(trial, name) for name in SAVED_FIELDS} | {"params": trial.params}
                    for trial in changed_trials
                ],
                "decisions": search.decisions[self._n_decisions :],
                "rejected_proposals": search.rejected_proposals,
                "exhausted": search.exhausted,
                "wall_seconds": search.wall_seconds,
                "busy_seconds": search.busy_seconds,
                "rng": search.rng.bit_generator.state,
            }
            self._append(line)
            for trial in discarded_trials:
                self._path(trial.number).unlink(missing_ok=True)
        except OSError as error:
            if not self._write_failed:
                self._notify(f"the search goes on, but its state is not kept: {error}")
            self._write_failed = True
            return
        search.unsaved_trials.clear()
        self._n_decisions = len(search.decisions)

    def close(self) -> None:
        """Write what waits, where there is time for all."""
        with suppress(OSError):
            self._write_members(max_fraction=math.inf)

    def _write_members(self, max_fraction: float) -> None:
        """Write members that wait: finished trials at once, of the others the best, as long as there is time for it."""
        ranked = sorted(
            self._unsaved.values(), key=lambda trial: (trial.state != "finished", -trial.rung, -trial.score)
        )
        for trial in ranked:
            started = time.monotonic()
            if trial.state != "finished" and self._write_seconds > max_fraction * (started - self._started):
                return
            _write(trial, self._path(trial.number))
            del self._unsaved[trial.number]
            self._write_seconds += time.monotonic() - started

    def _path(self, number: int) -> Path:
        return self._folder / f"trial-{number}.safetensors"

    def _append(self, line: dict[str, Any]) -> None:
        encoded = f"{json.dumps(line)}\n".encode()
        if not self._journal.exists():
            encoded = f"{json.dumps(self._header)}\n".encode() + encoded
        size = self._journal.stat().st_size if self._journal.exists() else 0
        try:
            with self._journal.open("ab") as file:
                file.write(encoded)
        except OSError:
            if self._journal.exists():
                os.truncate(self._journal, size)
            raise

    def _restore(self) -> None:
        header, *lines = self._lines()
        if header != self._header:
            raise ModelFileError(
                f"{str(self._folder)!r} is the state of another search: other rows, hyperparameters or space. Give "
                "another name to begin anew."
            )
        search, records = self._search, dict[int, dict[str, Any]]()
        for line in lines:
            records |= {trial["number"]: trial for trial in line["trials"]}
            for kind, *arguments in line["decisions"]:
                search.record_decision(kind, *arguments)
        for number in sorted(records):
            self._restore_trial(records[number])
        if lines:
            last = lines[-1]
            search.rejected_proposals, search.exhausted = last["rejected_proposals"], last["exhausted"]
            search.wall_seconds, search.busy_seconds = last["wall_seconds"], last["busy_seconds"]
            search.rng.bit_generator.state = last["rng"]
        self._n_decisions = len(search.decisions)
        search.unsaved_trials.clear()
        search.requeue_running_trials()

    def _lines(self) -> list[dict[str, Any]]:
        """All lines; a last one that was cut off when the process was killed is taken away."""
        content = self._journal.read_bytes()
        end = content.rfind(b"\n") + 1
        try:
            lines = [json.loads(line) for line in content[:end].splitlines()]
        except ValueError:
            lines = []
        if not lines or "fingerprint" not in lines[0]:
            raise ModelFileError(
                f"{str(self._folder)!r} is not the state of a search, or was damaged. Give another name to begin anew."
            )
        if end < len(content):
            os.truncate(self._journal, end)
        return lines

    def _restore_trial(self, record: dict[str, Any]) -> None:
        search = self._search
        params = {name: tuple(value) if isinstance(value, list) else value for name, value in record["params"].items()}
        trial = search.new_trial(record["number"], params)
        for name in SAVED_FIELDS:
            setattr(trial, name, record[name])
        trial.inherited_from = [(epoch, winner) for epoch, winner in record["inherited_from"]]
        path = self._path(trial.number)
        if path.exists() and not record["saved_scores"]:
            trial.rows = search.prepared.rows(trial.resolved_spec)
            _read_members(search, trial, path)
            trial.rows = None
            trial.update_statistics()


def _write(trial: Trial, path: Path) -> None:
    """Write the members of a trial as safetensors, straight from their arrays: many trials a second come here.

    Whoever is killed meanwhile leaves the file as it was.
    """
    arrays: dict[str, np.ndarray] = {}
    for fold, member in enumerate(trial.members):
        if member is not None:
            tensors = {**member.state._asdict(), "best": member.best}
            arrays |= {f"fold.{fold}.{name}": np.ascontiguousarray(array) for name, array in tensors.items()}
    metadata = [None if member is None else _member_metadata(member) for member in trial.members]
    header: dict[str, Any] = {"__metadata__": {"members": json.dumps(metadata)}}
    offset, ordered = 0, sorted(arrays.items(), key=lambda item: -item[1].itemsize)  # so that each is aligned
    for name, array in ordered:
        dtype, shape = _SAFETENSORS_DTYPES[array.dtype.name], list(array.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    temporary = path.with_suffix(".part")
    with temporary.open("wb", buffering=0) as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for _, array in ordered:
            remaining = memoryview(array.reshape(-1).view(np.uint8).data)
            while remaining:
                remaining = remaining[file.write(remaining) :]
    temporary.replace(path)


def _member_metadata(member: Member) -> dict[str, Any]:
    return {
        "best_epoch": member.best_epoch,
        "best_score": member.best_score,
        "failure": member.failure,
        "finished": member.finished,
        "history": member.history,
    }


def _read_members(search: SearchCoordinator, trial: Trial, path: Path) -> None:
    try:
        with safe_open(path, framework="numpy") as file:
            members = json.loads((file.metadata() or {})["members"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelFileError(f"{str(path)!r} is damaged. Take it away, and the trial is trained again.") from error
    for fold, metadata in enumerate(members):
        if metadata is None:
            continue
        member = trial.new_member(fold, search.folds[fold])
        member.state = MemberState(**{name: tensors[f"fold.{fold}.{name}"] for name in MemberState._fields})
        member.best = tensors[f"fold.{fold}.best"]
        member.history = [EpochRecord(*record) for record in metadata.pop("history")]
        for name, value in metadata.items():
            setattr(member, name, value)
        trial.members[fold] = member


def _fingerprint(search: SearchCoordinator) -> str:
    """A hash of what must be the same when a search goes on: the spec but for its budgets, and the rows."""
    spec = search.spec.replace(**MUTABLE_ON_RESUME)
    digest = hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode())
    for data in (search.prepared.data, search.prepared.validation):
        if data is not None:
            digest.update(data.fingerprint())
    return digest.hexdigest()
