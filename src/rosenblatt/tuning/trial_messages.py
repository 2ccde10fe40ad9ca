"""Messages between a search over a training function and the processes on machines that train its trials.

The function with the files of its project is one shared object; a trial is its hyperparameters. Both are pickled, as
the controller decides what its cluster runs. Reports come back as JSON and bytes of files: nothing is unpickled.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from rosenblatt.errors import ClusterError
from rosenblatt.tuning.attempts import Attempt, PackedItem, SharedObject

if TYPE_CHECKING:
    import numpy as np

_LENGTH_BYTES = 8
_FUNCTION_KEY = 0  # of the shared object


@dataclass(frozen=True)
class FunctionBundle:
    """A training function with what it needs on another machine.

    Attributes:
        function: pickled by cloudpickle.
        python: version of Python, whose bytecode the function has.
        archive: tar archive of the files of its project.
        folder: the working folder, relative to the root of the archive.
        module_folders: where modules are imported from, relative to the root.
        data: hashes of files that are not sent, by their absolute path.
    """

    function: bytes
    python: tuple[int, int]
    archive: bytes = b""
    folder: str = "."
    module_folders: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TrialItem:
    """One trial of a search over a training function, as workers see it."""

    number: int
    params: Mapping[str, Any]
    run: str  # id of its run
    experiment: str

    @property
    def key(self) -> tuple[int, int]:
        """Number of the trial; a function has one fold."""
        return self.number, 0

    def __call__(self, _stop: np.ndarray) -> LocalTurn:
        """Hand the trial back to the search, which trains it on this machine."""
        return LocalTurn(self)

    def failure(self, reason: str) -> TrialFailure:
        """The message that the trial has failed."""
        return TrialFailure(self, reason)


class LocalTurn(NamedTuple):
    """A trial must be trained by the search itself, because the cluster is lost."""

    item: TrialItem


class TrialFailure(NamedTuple):
    """A trial cannot be trained."""

    item: TrialItem
    reason: str


class TrialRestart(NamedTuple):
    """A trial is trained again from its beginning: what it reported so far does not count."""

    item: TrialItem


class TrialEnd(BaseModel):
    """How a training function has ended."""

    model_config = ConfigDict(frozen=True)

    result: float | None = None  # if it returned a number
    error: str = ""  # class and message of its exception
    was_stopped: bool = False
    peak_memory: int | None = None  # bytes
    seeds: dict[str, int] = {}


class TrialReport(BaseModel):
    """What a trial has recorded since its last report."""

    model_config = ConfigDict(frozen=True)

    attempt: tuple[int, int, int]
    points: list[tuple[int, dict[str, float]]] = []  # steps and values
    output: list[tuple[Literal["stdout", "stderr"], str]] = []
    batches: list[str] = []  # lines of a spool
    curves: list[tuple[str, list[float], list[int]]] = []  # name, values and steps
    files: list[tuple[str, str, int]] = []  # name, kind and size
    end: TrialEnd | None = None


class ReceivedReport(NamedTuple):
    """A report of the current attempt of a trial."""

    item: TrialItem
    machine: str
    report: TrialReport
    contents: list[bytes]  # of the files


class FunctionPacker:
    """Packs trials for one driver; the function is packed once."""

    def __init__(self, bundle: FunctionBundle) -> None:
        self._new = [SharedObject(_FUNCTION_KEY, pickle.dumps(bundle.__dict__, pickle.HIGHEST_PROTOCOL))]

    def pack(self, item: TrialItem, number: int) -> PackedItem:
        """Pack a trial. Raises ClusterError if its hyperparameters cannot be sent."""
        import cloudpickle

        try:
            content = cloudpickle.dumps((dict(item.params), item.run, item.experiment))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ClusterError(f"The hyperparameters of trial {item.number} cannot be sent: {error}.") from error
        return PackedItem(Attempt(*item.key, number), (_FUNCTION_KEY,), content)

    def take_new(self) -> list[SharedObject]:
        """The function, at the first call."""
        new, self._new = self._new, []
        return new

    def take_released(self) -> list[int]:
        """No keys: the function is needed up to the end."""
        return []


def load_bundle(content: bytes) -> FunctionBundle:
    """Unpack a function and its files on a machine; the function itself is still pickled."""
    return FunctionBundle(**pickle.loads(content))  # noqa: S301 - from the controller


def load_function(bundle: FunctionBundle) -> Callable[..., Any]:
    """Unpickle a function on a machine."""
    return pickle.loads(bundle.function)  # noqa: S301 - from the controller


def load_trial(content: bytes) -> tuple[dict[str, Any], str, str]:
    """Unpack hyperparameters, id of the run and experiment of a trial on a machine."""
    return pickle.loads(content)  # noqa: S301 - from the controller


def pack_report(report: TrialReport, contents: list[bytes]) -> bytes:
    """Pack a report on a machine."""
    header = json.dumps(report.model_dump()).encode()
    return b"".join([len(header).to_bytes(_LENGTH_BYTES, "little"), header, *contents])


def unpack_report(content: bytes) -> tuple[TrialReport, list[bytes]]:
    """Unpack a report in the controller. Raises ClusterError if it is damaged."""
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        report = TrialReport.model_validate(json.loads(content[_LENGTH_BYTES:end]))
    except (ValidationError, ValueError, RecursionError) as error:
        raise ClusterError(f"A machine of the cluster sent a report that cannot be read: {error}") from error
    contents = []
    for _, _, size in report.files:
        contents.append(content[end : end + max(size, 0)])
        end += len(contents[-1])
        if len(contents[-1]) != size:
            raise ClusterError("A machine of the cluster sent a report without all of its files.")
    return report, contents
