"""Attempts to train work items on machines: what is sent for them, and what a machine collects.

Drivers and processes of machines import it when they start, so it imports neither compiled code nor frameworks.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

IDLE_WAIT_S = 1.0  # seconds after which a collection without results ends


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
    avoid: tuple[str, ...] = ()  # machines on which the process that trained it has ended, once for each time
    is_moved: bool = False  # whether an attempt was lost, so that it is trained before items that wait

    @property
    def is_suspect(self) -> bool:
        """Whether it may end its process, so that it is trained without others."""
        return bool(self.avoid)


class Packer(Protocol):
    """Packs items for one driver; an object that items share is packed once."""

    def pack(self, item: Any, number: int) -> PackedItem:
        """Pack an item as an attempt with a number."""

    def take_new(self) -> list[SharedObject]:
        """The shared objects that were packed since the last call, in the order in which they must be loaded."""

    def take_released(self) -> list[int]:
        """The keys of shared objects that no item needs any more, since the last call."""


class Collection(NamedTuple):
    """Results that a machine has collected."""

    attempts: list[Attempt]
    seconds: float  # that training them took
    content: bytes  # packed results
    error: tuple[str, str] | None = None  # class and message of an error that ends the search
