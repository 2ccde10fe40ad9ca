"""Work items as messages to machines of a cluster, and their results as messages back.

What many items share (encoded rows, folds, encoders, targets, scorers) is a message of its own, which each machine gets
once; an item refers to it by number. Items are pickled, as the controller decides what its cluster runs. Results are
arrays in the format safetensors and JSON: the controller unpickles nothing that comes from a machine.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import ClusterError
from rosenblatt.training.member import EpochRecord
from rosenblatt.training.rows import DenseRows, MediaRows, SparseRows
from rosenblatt.training.state import MemberState
from rosenblatt.tuning.trial import Trial
from rosenblatt.tuning.trial_folds import TrialFolds
from rosenblatt.tuning.work_queue import WorkItem, WorkResult

MIN_SHARED_BYTES = 4096  # arrays from this size on are shared between messages
SHARED_TYPES = (Encoder, Target, Fold, DenseRows, SparseRows, MediaRows)


class Attempt(NamedTuple):
    """One of possibly several attempts to train a fold up to a rung, as machines may be lost."""

    trial: int
    fold: int
    number: int


class SharedObject(NamedTuple):
    """An object that items of several messages refer to."""

    key: int
    content: bytes


class PackedItem(NamedTuple):
    """A work item as a message."""

    attempt: Attempt
    keys: tuple[int, ...]  # of the shared objects that it refers to, in the order in which they must be loaded
    content: bytes


class ItemPacker:
    """Packs work items; an object that items share is packed once.

    Objects are known by identity: the coordinator gives all items of an encoding the same rows.
    """

    def __init__(self) -> None:
        self._objects: dict[int, Any] = {}  # by id; they are kept, so that no id is used again
        self._keys: dict[int, int] = {}  # by id
        self._needs: dict[int, frozenset[int]] = {}  # keys of an object with those that it refers to
        self._new: list[SharedObject] = []

    def pack(self, item: WorkItem, number: int) -> PackedItem:
        """Pack an item. Raises ClusterError if it cannot be sent to another machine."""
        trial = item.trial
        member = trial.folds.members[item.index]
        if item.scorer is not None:
            self._share(item.scorer)
        part = Trial(trial.number, trial.proposal, TrialFolds([None] * len(trial.folds.members)))
        part.folds.members[item.index] = member
        values = part, trial.encoded_rows, item.index, item.fold, item.target_epochs, item.scorer, item.is_last_rung
        content, needs = self._dump(values, None)
        return PackedItem(Attempt(trial.number, item.index, number), tuple(sorted(needs)), content)

    def key(self, value: Any) -> int | None:
        """The key of a shared object, which is packed at its first use; None if the object is not shared."""
        is_large_array = isinstance(value, np.ndarray) and value.nbytes >= MIN_SHARED_BYTES
        if is_large_array or isinstance(value, SHARED_TYPES):
            self._share(value)
        return self._keys.get(id(value))

    def take_new(self) -> list[SharedObject]:
        """The shared objects that were packed since the last call, in the order in which they must be loaded."""
        new, self._new = self._new, []
        return new

    def _share(self, value: Any) -> None:
        if id(value) not in self._keys:
            content, needs = self._dump(value, value)
            key = len(self._keys)
            self._objects[id(value)], self._keys[id(value)] = value, key
            self._needs[key] = needs | {key}
            self._new.append(SharedObject(key, content))

    def _dump(self, value: Any, root: Any) -> tuple[bytes, frozenset[int]]:
        """Pickle an object, without the shared objects in it, whose keys are returned too."""
        file = io.BytesIO()
        pickler = _Pickler(file, self, root)
        try:
            pickler.dump(value)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ClusterError(
                f"This search cannot be sent to other machines: {error}. Run it without --on."
            ) from error
        return file.getvalue(), frozenset().union(*(self._needs[key] for key in pickler.keys))


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, packer: ItemPacker, root: Any) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._packer, self._root = packer, root
        self.keys = set[int]()

    def persistent_id(self, value: Any) -> int | None:
        key = None if value is self._root else self._packer.key(value)
        if key is not None:
            self.keys.add(key)
        return key


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, shared: Mapping[int, Any]) -> None:
        super().__init__(io.BytesIO(content))
        self._shared = shared

    def persistent_load(self, key: int) -> Any:
        return self._shared[key]


def load_shared(content: bytes, shared: Mapping[int, Any]) -> Any:
    """Unpack a shared object on a machine; `shared` has those that it refers to."""
    return _Unpickler(content, shared).load()


def unpack_item(content: bytes, shared: Mapping[int, Any]) -> WorkItem:
    """Unpack a work item on a machine."""
    trial, rows, *rest = _Unpickler(content, shared).load()
    trial.rows = rows
    index, fold, target_epochs, scorer, is_last_rung = rest
    return WorkItem(trial, index, fold, target_epochs, scorer, is_last_rung)


# Results


class _ResultRecord(BaseModel):
    """A result without its arrays."""

    model_config = ConfigDict(frozen=True)

    attempt: tuple[int, int, int]
    seconds: float
    failure: str
    has_member: bool
    best_epoch: int = 0
    best_score: float = float("nan")
    member_failure: str = ""
    finished: bool = False
    first_epoch: int = 0  # of the epochs in `history`
    history: list[EpochRecord] = []  # the epochs of this item; those before are known to the controller


_RECORDS = TypeAdapter(list[_ResultRecord])


@dataclass(frozen=True)
class PackedResult:
    """The result of a work item, as it came from a machine."""

    attempt: Attempt
    result: WorkResult
    _record: _ResultRecord
    _arrays: Mapping[str, np.ndarray]

    def install(self, item: WorkItem) -> None:
        """Give the trial of an item the member as it was trained elsewhere, and its predictions."""
        record, arrays, folds = self._record, self._arrays, item.trial.folds
        if not record.has_member:
            return
        member = item.trial.fold_member(item.index, item.fold)
        member.state = MemberState(**{name: arrays[name] for name in MemberState._fields})
        member.best, member.best_epoch, member.best_score = arrays["best"], record.best_epoch, record.best_score
        member.history[record.first_epoch :] = record.history
        member.failure, member.finished = record.member_failure, record.finished
        if "predictions" in arrays:
            folds.out_of_fold_predictions[item.index] = arrays["predictions"]


def pack_results(results: Iterable[tuple[Attempt, int, WorkItem, WorkResult]]) -> bytes:
    """Pack results of a machine: the attempt, the epochs that the member had before, the item, and its result."""
    arrays: dict[str, np.ndarray] = {}
    records = list[dict[str, Any]]()
    for number, (attempt, first_epoch, item, result) in enumerate(results):
        member = item.trial.folds.members[item.index]
        record: dict[str, Any] = {
            "attempt": attempt,
            "seconds": result.seconds,
            "failure": result.failure,
            "has_member": member is not None,
        }
        if member is not None:
            tensors = {**member.state._asdict(), "best": member.best}
            predictions = item.trial.folds.out_of_fold_predictions.get(item.index)
            tensors |= {} if predictions is None else {"predictions": predictions}
            arrays |= {f"{number}.{name}": np.ascontiguousarray(array) for name, array in tensors.items()}
            record |= {
                "best_epoch": member.best_epoch,
                "best_score": member.best_score,
                "member_failure": member.failure,
                "finished": member.finished,
                "first_epoch": first_epoch,
                "history": member.history[first_epoch:],
            }
        records.append(record)
    return safetensors.numpy.save(arrays, {"results": json.dumps(records)})


def unpack_results(content: bytes) -> Sequence[PackedResult]:
    """Unpack results in the controller. Raises ClusterError if they are damaged."""
    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        records = _RECORDS.validate_python(json.loads(metadata["results"]))
        arrays: list[dict[str, np.ndarray]] = [{} for _ in records]
        for name, array in safetensors.numpy.load(content).items():
            number, _, field = name.partition(".")
            arrays[int(number)][field] = array if array.flags.writeable else array.copy()
    except (SafetensorError, ValidationError, ValueError, KeyError, IndexError) as error:
        raise ClusterError(f"A machine of the cluster sent results that cannot be read: {error}") from error
    return [
        PackedResult(
            Attempt(*record.attempt),
            WorkResult(record.attempt[0], record.attempt[1], record.seconds, record.failure),
            record,
            part,
        )
        for record, part in zip(records, arrays, strict=True)
    ]
