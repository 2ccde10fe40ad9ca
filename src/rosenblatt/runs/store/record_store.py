"""What programs that record runs need of a store, in a database or behind HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from rosenblatt.runs.store.locations import is_remote
from rosenblatt.runs.store.records import RecordBatch, Row
from rosenblatt.runs.store.store import Store

if TYPE_CHECKING:
    from rosenblatt.runs.store.remote_store import RemoteStore


class RecordStore(Protocol):
    """A store to which runs are recorded; all methods raise StoreError, StoreUnavailableError if it is away."""

    url: str

    @property
    def id(self) -> str:
        """The random id that the store got when it was created."""

    def write(self, batch: RecordBatch | Mapping[str, Sequence[Row]], *, is_alive: bool = False) -> set[str]:
        """Write a batch completely or not at all; returns the runs whose records are ignored."""

    def has_run(self, run: str) -> bool:
        """Whether a run is in the store."""

    def load_state(self, run: str) -> tuple[str, str | None]:
        """Load the state and reason of a run; the state is "" if it was deleted."""

    def take_over(self, run: str, owner: str) -> bool:
        """Make a process the owner of a run that has ended or gives no sign of life; False if its owner is alive."""

    def forget_connections(self) -> None:
        """Leave the connections to the process that opened them, after a fork."""

    def close(self) -> None:
        """Close all connections."""


def open_record_store(url: str) -> RecordStore:
    """Open a store to record runs. Raises StoreError as `Store` does."""
    if is_remote(url):
        from rosenblatt.runs.store.remote_store import RemoteStore  # loads the clients of HTTP and TLS

        return RemoteStore(url)
    return Store(url)


def move_points(store: RecordStore, run: str, writer: str | None = None) -> None:
    """Move points of a run, of one or all of its writers, from its log to chunks. Raises StoreError."""
    if not isinstance(store, Store):
        cast("RemoteStore", store).move_points(run, writer)
    elif store.has_log(run):
        from rosenblatt.runs.store.point_log import move_to_chunks  # loads NumPy

        move_to_chunks(store, run, writer)
