"""In: a search. Out: a file with all of its state, from which it goes on to the same result; and back.

Layout: safetensors; tensors `trial.N.fold.F.*` are the arrays of a member, the metadata key `rosenblatt_search` a JSON
object with trials and decisions. What samplers and stopping rules know is not saved but made again, by asking them
again what they were asked.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.sparse import issparse

from rosenblatt.errors import ModelFileError, StorageError
from rosenblatt.modelfile import write_file
from rosenblatt.searching import Search
from rosenblatt.training.dense import State
from rosenblatt.training.member import Member, Record
from rosenblatt.trials import Trial

SECONDS = 30.0  # between two writings
FORMAT = 1
KEPT = ("state", "reason", "rung", "scores", "seconds", "steps", "size", "epochs", "kept_scores")  # of a trial
FREE = {"trials": None, "minutes": None, "memory": "auto"}  # may be others when a search goes on


class Keeper:
    """Keeps the state of a search in a file, and has it go on from there if the file is there already.

    Raises ModelFileError for a file that is damaged, or of another search or other rows.
    """

    def __init__(self, search: Search, path: Path, say: Callable[[str], None] = print) -> None:
        self._search, self._path, self._say = search, path, say
        self._fingerprint, self._written = _fingerprint(search), time.monotonic()
        self._failed = False
        search.keeps_copies = True
        self.restored = path.exists()
        if self.restored:
            self._restore()

    def keep(self, at_once: bool = False) -> None:
        """Write the state, unless that was done lately. Where it cannot be written, that is said once."""
        if at_once or time.monotonic() - self._written > SECONDS:
            self._written = time.monotonic()
            try:
                write_file(self._path, self._to_bytes())
            except StorageError as error:
                if not self._failed:
                    self._say(f"the search goes on, but its state is not kept: {error}")
                self._failed = True

    def _to_bytes(self) -> bytes:
        search, tensors = self._search, dict[str, np.ndarray]()
        trials = []
        for trial in search.trials:
            members: list[dict[str, Any] | None] = []
            for fold, member in enumerate(trial.at_rest):
                members.append(None if member is None else _described(member))
                if member is not None:
                    arrays = {**member.state._asdict(), "best": member.best}
                    tensors |= {f"trial.{trial.number}.fold.{fold}.{name}": a for name, a in arrays.items()}
            known = {name: getattr(trial, name) for name in ("number", "values", "copied", *KEPT)}
            trials.append(known | {"members": members})
        description = {
            "format": FORMAT,
            "fingerprint": self._fingerprint,
            "trials": trials,
            "decisions": search.decisions,
            "refused": search.refused,
            "exhausted": search.exhausted,
            "wall": search.wall,
            "busy": search.busy,
            "rng": search.rng.bit_generator.state,
        }
        return save(tensors, metadata={"rosenblatt_search": json.dumps(description)})

    def _restore(self) -> None:
        try:
            with safe_open(self._path, framework="numpy") as file:
                described = json.loads((file.metadata() or {})["rosenblatt_search"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ModelFileError(
                f"{str(self._path)!r} is not the state of a search, or was cut off. Give another name to begin anew."
            ) from error
        if described["format"] != FORMAT or described["fingerprint"] != self._fingerprint:
            raise ModelFileError(
                f"{str(self._path)!r} is the state of another search: other rows, hyperparameters or space. Give "
                "another name to begin anew."
            )
        search = self._search
        for what, *arguments in described["decisions"]:
            search.decide(what, *arguments)
        for known in described["trials"]:
            _restore_trial(search, known, tensors)
        search.refused, search.exhausted = described["refused"], described["exhausted"]
        search.wall, search.busy = described["wall"], described["busy"]
        search.rng.bit_generator.state = described["rng"]
        search.go_on()


def _described(member: Member) -> dict[str, Any]:
    return {
        "best_epoch": member.best_epoch,
        "best_score": member.best_score,
        "failure": member.failure,
        "ended": member.ended,
        "history": [list(record) for record in member.history],
    }


def _restore_trial(search: Search, known: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in known["values"].items()}
    trial = search.new_trial(known["number"], values)
    for name in KEPT:
        setattr(trial, name, known[name])
    trial.copied = [(epoch, winner) for epoch, winner in known["copied"]]
    trial.rows = search.prepared.rows(trial.chosen)
    for fold, described in enumerate(known["members"]):
        if described is not None:
            trial.members[fold] = _member(search, trial, fold, described, tensors)
    trial.rows = None
    trial.measure()


def _member(
    search: Search, trial: Trial, fold: int, described: dict[str, Any], tensors: dict[str, np.ndarray]
) -> Member:
    member = trial.new_member(fold, search.folds[fold])
    prefix = f"trial.{trial.number}.fold.{fold}."
    member.state = State(**{name: tensors[prefix + name] for name in State._fields})
    member.best = tensors[prefix + "best"]
    member.history = [Record(*record) for record in described.pop("history")]
    for name, value in described.items():
        setattr(member, name, value)
    return member


def _fingerprint(search: Search) -> str:
    """A hash of what must be the same when a search goes on: the spec but for its budgets, and the rows."""
    spec = search.spec.replace(**FREE)
    found = hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode())
    for data in (search.prepared.data, search.prepared.validation):
        if data is not None:
            frame: Any = data.frame
            parts = [frame.data, frame.indices, frame.indptr] if issparse(frame) else [frame]
            for part in [*parts, data.y, *(a for a in (data.weight, data.groups, data.order) if a is not None)]:
                array = part.hash_rows().to_numpy() if isinstance(part, pl.DataFrame) else part
                found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
