"""The errors and messages a user can meet. Each says what came, what was expected, and what to do.

RosenblattError
├── SpecError                  a hyperparameter that is unknown or out of its limits    (also a ValueError)
├── TableError                 a table that cannot be read or does not hold what it must (also a ValueError)
├── ModelFileError             a model file that is damaged, foreign or of another version
├── DivergedError              training that ended in numbers that are not finite
├── TrainingInterruptedError   training stopped by the user before there was anything to keep
├── StorageError               a file that could not be written
├── RunError                   a run that is not there, or what cannot be recorded of one (also a ValueError)
│   └── FilterError            a filter of runs that cannot be parsed
└── StoreError                 a store of runs that is damaged, of a later version, or no store
    └── StoreUnavailableError  a store that cannot be reached or written now
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from threading import Lock

Notify = Callable[[str], None]  # passes a message on to the user, such as `print` or `warnings.warn`

_WARNING_FILTERS_LOCK = Lock()  # Python's filters of warnings hold for all threads


class RosenblattError(Exception):
    """Anything this library refuses to do, with the reason and the way out in one sentence."""


class SpecError(RosenblattError, ValueError):
    """A hyperparameter that is unknown or out of its limits."""


class TableError(RosenblattError, ValueError):
    """A table that cannot be read, or does not hold what it must."""


class ModelFileError(RosenblattError):
    """A model file that is damaged, was not written by Rosenblatt, or by a later version of it."""


class DivergedError(RosenblattError):
    """Training that ended in numbers that are not finite."""


class TrainingInterruptedError(RosenblattError):
    """Training stopped by the user before there was anything to keep."""


class StorageError(RosenblattError):
    """A file that could not be written."""


class RunError(RosenblattError, ValueError):
    """A run that is not there, or something that cannot be recorded of one."""


class FilterError(RunError):
    """A filter of runs that cannot be understood; the message points at the place."""


class StoreError(RosenblattError):
    """A store of runs that is damaged, was written by a later version, or is no store."""


class StoreUnavailableError(StoreError):
    """A store of runs that cannot be reached or written now; it may be later."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """ " Did you mean 'income'?", with a space before it, or nothing where no name is near."""
    lowered = {candidate.lower(): candidate for candidate in reversed(list(names))}
    matches = get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f" Did you mean {lowered[matches[0]]!r}?" if matches else ""


def format_list(values: Iterable[object], max_items: int = 8) -> str:
    """'a', 'b' and 3 more."""
    items = [repr(value) for value in values]
    visible, n_omitted = items[:max_items], len(items) - max_items
    if n_omitted > 0:
        return f"{', '.join(visible)} and {n_omitted} more"
    return " and ".join([", ".join(visible[:-1]), visible[-1]]) if len(visible) > 1 else "".join(visible)


def format_count(n: int, noun: str) -> str:
    """A count with its noun, such as "1 row" or "1,200 rows"."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


@contextmanager
def collect_messages(notify: Notify) -> Iterator[list[str]]:
    """Collect messages in a list, and on exit, even after an error, pass each of them on once.

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
