"""Work items as messages to machines of a cluster, and their results as messages back.

What many items share (encoded rows, folds, encoders, targets, scorers) is a message of its own, which each machine gets
once; an item refers to it by number. Items are pickled, as the controller decides what its cluster runs. Results are
arrays in the format safetensors and JSON: the controller unpickles nothing that comes from a machine.
"""

from __future__ import annotations

import io
import json
import pickle
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError

from rosenblatt.errors import ClusterError
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import EpochRecord, Member
from rosenblatt.training.state import MemberState
from rosenblatt.tuning.attempts import Attempt, PackedItem, SharedObject
from rosenblatt.tuning.trial import Proposal, Trial
from rosenblatt.tuning.work_queue import WorkItem, WorkResult

MIN_SHARED_BYTES = 4096  # arrays from this size on are shared between messages
_NO_ROWS = np.empty(0, np.int64)
_TRAINING_FIELDS = frozenset({"theta", "m", "v", "mean", "order"})  # of `MemberState`, needed only to continue training
Result = TypeVar("Result")


class _ItemPart(NamedTuple):
    """What an item does not share with others."""

    trial: int
    n_members: int
    params: dict[str, Any]
    resolved_spec: Spec
    member: Member | None  # without its validation rows, and with packed training rows
    fold: int
    target_epochs: int
    is_last_rung: bool


class _Shared:
    """A shared object, by the parts of which it is lost when they are; it does not keep them alive.

    A tuple, such as rows or a fold, has the parts of its fields, as Python has no weak references to tuples.
    """

    def __init__(self, key: int, parts: Sequence[Any], on_end: Callable[[Any], None]) -> None:
        self.key, self._parts = key, [_weak_reference(part, on_end) for part in parts]
        self.needs = frozenset({key})  # keys of this object and of those that it refers to

    @property
    def is_alive(self) -> bool:
        """Whether the object may be packed again."""
        return all(part() is not None for part in self._parts)


class ItemPacker:
    """Packs work items; an object that items share is packed once.

    Objects are known by identity: the coordinator gives all items of an encoding the same rows. Those that nobody has
    any more are to be released by the machines, too; items in flight have theirs.
    """

    def __init__(self) -> None:
        self._last_key = -1
        self._shared: dict[int, _Shared] = {}  # by key
        self._by_identity: dict[tuple[int, ...], _Shared] = {}
        self._new, self._released = list[SharedObject](), list[int]()
        self._has_lost = False  # whether an object has ended since the last look

    def pack(self, item: WorkItem, number: int) -> PackedItem:
        """Pack an item. Raises ClusterError if it cannot be sent to another machine."""
        trial, proposal, member = item.trial, item.trial.proposal, item.trial.folds.members[item.index]
        shared = proposal.encoder, proposal.target, trial.encoded_rows, item.fold, item.scorer
        entries = [None if value is None else self._share(value) for value in shared]
        keys = tuple(entry and entry.key for entry in entries)
        part = _ItemPart(
            trial=trial.number,
            n_members=len(trial.folds.members),
            params=proposal.params,
            resolved_spec=proposal.resolved_spec,
            member=member and _replace_rows(member, _pack_rows(member.state.order), _NO_ROWS),
            fold=item.index,
            target_epochs=item.target_epochs,
            is_last_rung=item.is_last_rung,
        )
        content = _pickle(lambda: pickle.dumps((part, keys), pickle.HIGHEST_PROTOCOL))
        needs = frozenset[int]().union(*(entry.needs for entry in entries if entry is not None))
        return PackedItem(Attempt(trial.number, item.index, number), tuple(sorted(needs)), content)

    def share_array(self, value: Any) -> _Shared | None:
        """A large array, which several shared objects may hold, as one of its own; None for anything else."""
        is_large_array = isinstance(value, np.ndarray) and value.nbytes >= MIN_SHARED_BYTES
        return self._share(value) if is_large_array else None

    def take_new(self) -> list[SharedObject]:
        """The shared objects that were packed since the last call, in the order in which they must be loaded."""
        new, self._new = self._new, []
        return new

    def take_released(self) -> list[int]:
        """Keys of the shared objects that no item refers to any more, since the last call."""
        if self._has_lost:
            self._has_lost = False
            needed = frozenset[int]().union(*(entry.needs for entry in self._shared.values() if entry.is_alive))
            self._released += self._shared.keys() - needed
            self._shared = {key: entry for key, entry in self._shared.items() if key in needed}
            self._by_identity = {parts: entry for parts, entry in self._by_identity.items() if entry.is_alive}
        released, self._released = self._released, []
        return released

    def _share(self, value: Any) -> _Shared:
        """An object as a shared one, which is packed at its first use."""
        parts = list(_parts(value))
        identity = (id(type(value)), *map(id, parts))
        entry = self._by_identity.get(identity)
        if entry is None or not entry.is_alive:
            file = io.BytesIO()
            pickler = _Pickler(file, self, value)
            _pickle(lambda: pickler.dump(value))
            self._last_key += 1
            entry = self._by_identity[identity] = self._shared[self._last_key] = _Shared(
                self._last_key, parts, self._on_end
            )
            entry.needs = entry.needs.union(*(other.needs for other in pickler.entries))
            self._new.append(SharedObject(entry.key, file.getvalue()))
        return entry

    def _on_end(self, _reference: Any) -> None:
        self._has_lost = True


def _parts(value: Any) -> Iterator[Any]:
    """The fields of a tuple and of tuples inside of it, or the object itself."""
    if isinstance(value, tuple):
        for field in value:
            yield from _parts(field)
    else:
        yield value


def _weak_reference(part: Any, on_end: Callable[[Any], None]) -> Callable[[], Any]:
    """A weak reference to an object; for numbers and the like, which have none, one that keeps the object."""
    try:
        return weakref.ref(part, on_end)
    except TypeError:
        return lambda: (part,)


def _pickle(dump: Callable[[], Result]) -> Result:
    """Call a function that pickles. Raises ClusterError if that is impossible."""
    try:
        return dump()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ClusterError(f"This search cannot be sent to other machines: {error}. Run it without --on.") from error


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, packer: ItemPacker, root: Any) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._packer, self._root = packer, root
        self.entries = list[_Shared]()  # large arrays of the object

    def persistent_id(self, value: Any) -> int | None:
        entry = None if value is self._root else self._packer.share_array(value)
        if entry is None:
            return None
        self.entries.append(entry)
        return entry.key


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
    part, keys = pickle.loads(content)  # noqa: S301 - from the controller
    objects: list[Any] = [None if key is None else shared[key] for key in keys]
    encoder, target, rows, fold, scorer = objects
    trial = Trial.new(part.trial, Proposal(part.params, part.resolved_spec, encoder, target), part.n_members)
    trial.rows = rows
    member = part.member
    trial.folds.members[part.fold] = member and _replace_rows(
        member, member.state.order.astype(np.int64), fold.validation
    )
    return WorkItem(trial, part.fold, fold, part.target_epochs, scorer, part.is_last_rung)


def _pack_rows(rows: np.ndarray) -> np.ndarray:
    """Indices of rows in the smallest unsigned type."""
    return rows.astype(np.min_scalar_type(int(rows.max(initial=0))))


def _replace_rows(member: Member, train: np.ndarray, validation: np.ndarray) -> Member:
    return replace(member, state=member.state._replace(order=train), validation=validation)


# Results


class _ResultRecord(BaseModel):
    """A result without its arrays."""

    model_config = ConfigDict(frozen=True)

    attempt: tuple[int, int, int]
    seconds: float
    failure: str
    output: str
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

    @property
    def n_epochs(self) -> int:
        """Epochs that were trained."""
        return len(self._record.history)

    def install(self, item: WorkItem) -> None:
        """Give the trial of an item the member as it was trained elsewhere, and its predictions."""
        record, arrays, folds = self._record, self._arrays, item.trial.folds
        if not record.has_member:
            return
        member = item.trial.fold_member(item.index, item.fold)
        self._check(member, item)
        changed = {name: arrays[name] for name in MemberState._fields if name in arrays}
        if "order" in changed:
            changed["order"] = changed["order"].astype(np.int64)
        member.state = member.state._replace(**changed)
        member.best, member.best_epoch, member.best_score = arrays["best"], record.best_epoch, record.best_score
        member.history[record.first_epoch :] = record.history
        member.failure, member.finished = record.member_failure, record.finished
        if "theta" not in arrays:
            member.release_training_state()
        if "predictions" in arrays:
            folds.out_of_fold_predictions[item.index] = arrays["predictions"]

    def _check(self, member: Member, item: WorkItem) -> None:
        """Raise ClusterError unless the arrays fit the member: compiled code relies on their sizes."""
        arrays, record, rows = self._arrays, self._record, item.fold.train
        n_epochs = member.n_dropped + record.first_epoch + len(record.history)
        is_last = _ends_training(item, member, n_epochs, is_finished=record.finished, failure=record.member_failure)
        state = {name: array for name, array in member.state._asdict().items() if name in _fields(is_last=is_last)}
        order = arrays.get("order", np.empty(0, np.uint8))
        fits = (
            arrays.keys() - {"predictions"} == {*state, "best"}
            and record.first_epoch == len(member.history)
            and all(arrays[name].dtype == array.dtype for name, array in state.items() if name != "order")
            and order.dtype.kind == "u"
            and ("order" not in state or order.shape == state["order"].shape)
            and (not order.size or order.max() <= rows.max())
            and ("predictions" not in arrays or len(arrays["predictions"]) == item.fold.validation.size)
        )
        if fits and member.spec.network.kind != "perceptron":  # whose arrays grow
            fits = all(arrays[name].shape == array.shape for name, array in state.items())
            fits &= arrays["best"].shape in ((0,), (member.architecture.n_parameters,))
        if not fits:
            raise ClusterError(f"A machine of the cluster sent a network that does not fit trial {item.trial.number}.")


def _ends_training(item: WorkItem, member: Member, n_epochs: int, *, is_finished: bool, failure: str) -> bool:
    """Whether a member is not trained any further after an item, so that nothing needs its training state.

    Perceptrons predict by it, and the state of a member that failed may show why.
    """
    is_complete = is_finished or n_epochs >= min(item.target_epochs, member.epochs)
    return item.is_last_rung and is_complete and not failure and member.spec.network.kind != "perceptron"


def _fields(*, is_last: bool) -> list[str]:
    """Arrays of a state that a result has; fewer if the member is not trained any further."""
    return [name for name in MemberState._fields if not (is_last and name in _TRAINING_FIELDS)]


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
            "output": result.output,
            "has_member": member is not None,
        }
        if member is not None:
            is_last = _ends_training(item, member, member.n_epochs, is_finished=member.finished, failure=member.failure)
            tensors = {name: getattr(member.state, name) for name in _fields(is_last=is_last)} | {"best": member.best}
            if "order" in tensors:
                tensors["order"] = _pack_rows(tensors["order"])
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
            WorkResult(record.attempt[0], record.attempt[1], record.seconds, record.failure, record.output),
            record,
            part,
        )
        for record, part in zip(records, arrays, strict=True)
    ]
