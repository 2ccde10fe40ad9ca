"""In: code that warns of what its caller knows. Out: the same without the warnings, whatever threads do meanwhile."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_ONE_AT_A_TIME = Lock()  # what Python is told about warnings holds for all threads


@contextmanager
def quietly(category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore warnings of this category meanwhile."""
    with _ONE_AT_A_TIME, warnings.catch_warnings(action="ignore", category=category):
        yield
