"""Errors and messages for users. Each names what was expected, what was found, and what to do.

RosenblattError
├── SpecError                  unknown or invalid hyperparameter (also a ValueError)
├── TableError                 unreadable or unsuitable table (also a ValueError)
├── ModelFileError             damaged or unknown model file, or one of another version
├── DivergedError              training produced numbers that are not finite (also a ValueError)
├── TrainingInterruptedError   training was interrupted before the first epoch was complete
├── StorageError               a file could not be read or written
├── ExportError                a model cannot be exported to, or imported from, a format
├── ServingError               a server cannot be started
├── ClusterError               a machine or cluster cannot be reached, started or used
├── VolumeError                unknown or unsuitable volume or version (also a ValueError)
│   ├── QueryError             invalid query of a volume
│   ├── ConflictError          another commit came first
│   ├── DamagedDataError       data that does not match its hash, or cannot be decoded
│   └── ErasedDataError        data that was erased on purpose
├── RunError                   unknown run, or data that cannot be recorded (also a ValueError)
│   └── FilterError            invalid filter of runs
└── StoreError                 damaged or unknown store of runs, or one of a later version
    └── StoreUnavailableError  the store cannot be reached or written at the moment
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from threading import RLock

Notify = Callable[[str], None]  # passes a message on to the user, such as `print` or `warnings.warn`

MAX_SHORT_NAME = 2  # number of characters up to which names are not similar if one character differs
_WARNING_FILTERS_LOCK = RLock()  # Python's warning filters are shared by all threads


class RosenblattError(Exception):
    """Base class of all errors that Rosenblatt raises on purpose."""


class SpecError(RosenblattError, ValueError):
    """A hyperparameter is unknown or invalid."""


class TableError(RosenblattError, ValueError):
    """A table cannot be read, or its content is unsuitable."""


class ModelFileError(RosenblattError):
    """A model file is damaged, was not written by Rosenblatt, or was written by another version."""


class DivergedError(RosenblattError, ValueError):
    """Training produced numbers that are not finite."""


class TrainingInterruptedError(RosenblattError):
    """Training was interrupted before the first epoch was complete, so there is no model."""


class StorageError(RosenblattError):
    """A file could not be read or written."""


class ExportError(RosenblattError):
    """A model cannot be exported to a format, or imported from it."""


class ServingError(RosenblattError):
    """A server cannot be started as it was asked to."""


class ClusterError(RosenblattError):
    """A machine or a cluster cannot be reached, started or used."""


class VolumeError(RosenblattError, ValueError):
    """A volume or one of its versions does not exist, or cannot be used."""


class QueryError(VolumeError):
    """A query of a volume is invalid; the message points at the position."""


class ConflictError(VolumeError):
    """A version was not committed because another commit came first."""


class DamagedDataError(VolumeError):
    """Data of a volume does not match its hash, or cannot be decoded."""


class ErasedDataError(VolumeError):
    """Data of a volume was erased on purpose, so that a version can no longer be read."""


class RunError(RosenblattError, ValueError):
    """A run does not exist, or data cannot be recorded in it."""


class FilterError(RunError):
    """A filter of runs is invalid; the message points at the position."""


class StoreError(RosenblattError):
    """A store of runs is damaged, was written by a later version, or is not a store."""


class StoreUnavailableError(StoreError):
    """A store of runs cannot be reached or written at the moment."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Suggest the most similar name.

    >>> did_you_mean("Incme", ["age", "income"])
    " Did you mean 'income'?"

    Returns:
        The suggestion with a leading space, or "" if no name is similar.
    """
    lowered = {candidate.lower(): candidate for candidate in reversed(list(names))}
    similar = [key for key in lowered if min(len(key), len(name)) > MAX_SHORT_NAME or key == name.lower()]
    matches = get_close_matches(name.lower(), similar, n=1, cutoff=0.5)
    return f" Did you mean {lowered[matches[0]]!r}?" if matches else ""


def format_list(values: Iterable[object], max_items: int = 8) -> str:
    """Format values as a list in a sentence.

    >>> format_list(["a", "b", "c"], max_items=2)
    "'a', 'b' and 1 more"
    """
    items = [repr(value) for value in values]
    visible, n_omitted = items[:max_items], len(items) - max_items
    if n_omitted > 0:
        return f"{', '.join(visible)} and {n_omitted} more"
    return " and ".join([", ".join(visible[:-1]), visible[-1]]) if len(visible) > 1 else "".join(visible)


def join_names(names: Sequence[str]) -> str:
    """Join names as in a sentence.

    >>> join_names(["a"]), join_names(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def format_count(n: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun, such as "1 row" or "1,200 rows"; `plural` is for nouns that do not add an s."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


@contextmanager
def collect_messages(notify: Notify) -> Iterator[list[str]]:
    """Collect messages in a list, and pass each of them on once at the end, even after an error.

    Functions that read data leniently append to such a list what they guessed, converted or dropped:

        with collect_messages(print) as messages:
            typed = schema.read(frame, messages)
    """
    messages: list[str] = []
    try:
        yield messages
    finally:
        for message in dict.fromkeys(messages):
            notify(message)


@contextmanager
def ignore_warnings(category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore warnings of this category, safely across threads."""
    with _WARNING_FILTERS_LOCK, warnings.catch_warnings(action="ignore", category=category):
        yield
