"""In: a search. Out: a folder with all of its state, written rung by rung, from which it goes on to the same result.

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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from rosenblatt.errors import ModelFileError
from rosenblatt.training.member import Member, Record
from rosenblatt.training.state import State
from rosenblatt.tuning.coordinator import Search
from rosenblatt.tuning.trials import Trial

FORMAT = 2
SHARE = 0.01  # of the time, for writing members of trials that wait at a rung
JOURNAL = "search.jsonl"
_KINDS = {
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
    "int32": "I32",
    "uint8": "U8",
    "bool": "BOOL",
}
KEPT = ("number", "state", "reason", "rung", "scores", "seconds", "steps", "size", "epochs", "kept_scores", "copied")
FREE = {"trials": None, "minutes": None, "memory": "auto"}  # may be others when a search goes on


class Keeper:
    """Keeps the state of a search in a folder, and has it go on from there if it is there already.

    Raises ModelFileError for a state that is damaged, or of another search or other rows.
    """

    def __init__(self, search: Search, folder: Path, say: Callable[[str], None] = print) -> None:
        self._search, self._folder, self._say = search, folder, say
        self._journal = folder / JOURNAL
        self._decided, self._failed = 0, False
        self._waiting: dict[int, Trial] = {}  # whose members are not written as they are now
        self._started, self._spent = time.monotonic(), 0.0  # seconds: when it began, and of writing members
        self._head = {"format": FORMAT, "fingerprint": _fingerprint(search)}
        self.restored = self._journal.exists()
        if self.restored:
            self._restore()

    def keep(self) -> None:
        """Write what changed since the last time. Where it cannot be written, that is said once."""
        search = self._search
        changed = [search.trials[number] for number in sorted(search.changed)]
        dropped = [trial for trial in changed if trial.state != "running" and not any(trial.members)]
        for trial in changed:
            self._waiting.pop(trial.number, None)
            if trial.state != "running" and not trial.waiting and any(trial.members):  # none of which learns now
                self._waiting[trial.number] = trial
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write_members(SHARE)
            line = {
                "trials": [
                    {name: getattr(trial, name) for name in KEPT} | {"values": trial.values} for trial in changed
                ],
                "decisions": search.decisions[self._decided :],
                "refused": search.refused,
                "exhausted": search.exhausted,
                "wall": search.wall,
                "busy": search.busy,
                "rng": search.rng.bit_generator.state,
            }
            self._append(line)
            for trial in dropped:
                self._path(trial.number).unlink(missing_ok=True)
        except OSError as error:
            if not self._failed:
                self._say(f"the search goes on, but its state is not kept: {error}")
            self._failed = True
            return
        search.changed.clear()
        self._decided = len(search.decisions)

    def close(self) -> None:
        """Write what waits, where there is time for all."""
        with suppress(OSError):
            self._write_members(share=math.inf)

    def _write_members(self, share: float) -> None:
        """Write members that wait: finished trials at once, of the others the best, as long as there is time for it."""
        ranked = sorted(
            self._waiting.values(), key=lambda trial: (trial.state != "finished", -trial.rung, -trial.score)
        )
        for trial in ranked:
            started = time.monotonic()
            if trial.state != "finished" and self._spent > share * (started - self._started):
                return
            _write(trial, self._path(trial.number))
            del self._waiting[trial.number]
            self._spent += time.monotonic() - started

    def _path(self, number: int) -> Path:
        return self._folder / f"trial-{number}.safetensors"

    def _append(self, line: dict[str, Any]) -> None:
        words = f"{json.dumps(line)}\n".encode()
        if not self._journal.exists():
            words = f"{json.dumps(self._head)}\n".encode() + words
        size = self._journal.stat().st_size if self._journal.exists() else 0
        try:
            with self._journal.open("ab") as file:
                file.write(words)
        except OSError:
            if self._journal.exists():
                os.truncate(self._journal, size)
            raise

    def _restore(self) -> None:
        head, *lines = self._lines()
        if head != self._head:
            raise ModelFileError(
                f"{str(self._folder)!r} is the state of another search: other rows, hyperparameters or space. Give "
                "another name to begin anew."
            )
        search, known = self._search, dict[int, dict[str, Any]]()
        for line in lines:
            known |= {trial["number"]: trial for trial in line["trials"]}
            for what, *arguments in line["decisions"]:
                search.decide(what, *arguments)
        for number in sorted(known):
            self._restore_trial(known[number])
        if lines:
            last = lines[-1]
            search.refused, search.exhausted = last["refused"], last["exhausted"]
            search.wall, search.busy = last["wall"], last["busy"]
            search.rng.bit_generator.state = last["rng"]
        self._decided = len(search.decisions)
        search.changed.clear()
        search.go_on()

    def _lines(self) -> list[dict[str, Any]]:
        """All lines; a last one that was cut off when the process was killed is taken away."""
        whole = self._journal.read_bytes()
        end = whole.rfind(b"\n") + 1
        try:
            lines = [json.loads(line) for line in whole[:end].splitlines()]
        except ValueError:
            lines = []
        if not lines or "fingerprint" not in lines[0]:
            raise ModelFileError(
                f"{str(self._folder)!r} is not the state of a search, or was damaged. Give another name to begin anew."
            )
        if end < len(whole):
            os.truncate(self._journal, end)
        return lines

    def _restore_trial(self, known: dict[str, Any]) -> None:
        search = self._search
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in known["values"].items()}
        trial = search.new_trial(known["number"], values)
        for name in KEPT:
            setattr(trial, name, known[name])
        trial.copied = [(epoch, winner) for epoch, winner in known["copied"]]
        path = self._path(trial.number)
        if path.exists() and not known["kept_scores"]:
            trial.rows = search.prepared.rows(trial.chosen)
            _read_members(search, trial, path)
            trial.rows = None
            trial.measure()


def _write(trial: Trial, path: Path) -> None:
    """Write the members of a trial as safetensors, straight from their arrays: many trials a second come here.

    Whoever is killed meanwhile leaves the file as it was.
    """
    arrays: dict[str, np.ndarray] = {}
    for fold, member in enumerate(trial.members):
        if member is not None:
            known = {**member.state._asdict(), "best": member.best}
            arrays |= {f"fold.{fold}.{name}": np.ascontiguousarray(array) for name, array in known.items()}
    described = [None if member is None else _described(member) for member in trial.members]
    head: dict[str, Any] = {"__metadata__": {"members": json.dumps(described)}}
    place, ordered = 0, sorted(arrays.items(), key=lambda item: -item[1].itemsize)  # so that each is aligned
    for name, array in ordered:
        kind, shape = _KINDS[array.dtype.name], list(array.shape)
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    words = json.dumps(head).encode()
    words += b" " * (-len(words) % 8)
    part = path.with_suffix(".part")
    with part.open("wb", buffering=0) as file:
        file.write(len(words).to_bytes(8, "little") + words)
        for _, array in ordered:
            rest = memoryview(array.reshape(-1).view(np.uint8).data)
            while rest:
                rest = rest[file.write(rest) :]
    part.replace(path)


def _described(member: Member) -> dict[str, Any]:
    return {
        "best_epoch": member.best_epoch,
        "best_score": member.best_score,
        "failure": member.failure,
        "ended": member.ended,
        "history": member.history,
    }


def _read_members(search: Search, trial: Trial, path: Path) -> None:
    try:
        with safe_open(path, framework="numpy") as file:
            members = json.loads((file.metadata() or {})["members"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelFileError(f"{str(path)!r} is damaged. Take it away, and the trial is trained again.") from error
    for fold, described in enumerate(members):
        if described is None:
            continue
        member = trial.new_member(fold, search.folds[fold])
        member.state = State(**{name: tensors[f"fold.{fold}.{name}"] for name in State._fields})
        member.best = tensors[f"fold.{fold}.best"]
        member.history = [Record(*record) for record in described.pop("history")]
        for name, value in described.items():
            setattr(member, name, value)
        trial.members[fold] = member


def _fingerprint(search: Search) -> str:
    """A hash of what must be the same when a search goes on: the spec but for its budgets, and the rows."""
    spec = search.spec.replace(**FREE)
    found = hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode())
    for data in (search.prepared.data, search.prepared.validation):
        if data is not None:
            found.update(data.fingerprint())
    return found.hexdigest()
