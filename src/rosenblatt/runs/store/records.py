"""In: what happened to runs. Out: rows that say how things are now, so that writing them twice changes nothing.

These are the verbs with which a store is written; a batch of them is one transaction, or a line of a spool.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from rosenblatt.runs.redaction import masked, masked_value
from rosenblatt.runs.store.curves import Points, Summary, encode

Row = dict[str, Any]
LONGEST = 500  # characters of a name
NOTE = "note:"  # begins the names of facts that are the user's own
_LOWER = re.compile(
    r"(^|[^a-z])(loss|error|err|rmse|mse|mae|mape|nll|perplexity|ppl|wer|cer|time|seconds|latency|size|memory)([^a-z]|$)"
)


class Batch:
    """Rows by table, in the order in which the tables are to be written."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {}

    def __bool__(self) -> bool:
        return bool(self.rows)

    def _add(self, table: str, **row: Any) -> None:
        self.rows.setdefault(table, []).append(row)

    def begin(self, run: str, experiment: str, name: str, kind: str, **more: Any) -> None:
        """A run has begun; `more` may hold started, parent, number, identity, state, reason, ended."""
        now = time.time()
        row = {"state": "running", "reason": None, "started": now, "ended": None, "beat": now}
        row |= {"parent": None, "number": None, "identity": None} | more
        self._add("runs", id=run, experiment=text(experiment), name=text(name), kind=kind, **row)

    def change(self, run: str, **columns: Any) -> None:
        """Columns of a run are others now: its state and reason, when it ended, when it was heard of."""
        plain = {name: masked(text(value)) if isinstance(value, str) else value for name, value in columns.items()}
        self._add("changes", run=run, beat=time.time(), **plain)

    def params(self, run: str, values: Mapping[str, Any], chosen: bool | Mapping[str, bool] = True) -> None:
        """Hyperparameters, and which of them were chosen by the user or a search, not a default."""
        for name, value in values.items():
            picked = chosen if isinstance(chosen, bool) else chosen.get(name, False)
            words, number = _in_words(name, value)
            self._add("params", run=run, name=name_of(name), text=words, number=number, chosen=picked)

    def tag(self, run: str, name: str, value: str) -> None:
        """A word about a run."""
        self._add("tags", run=run, name=name_of(name), text=masked(text(str(value)), name))

    def fact(self, run: str, name: str, value: Any) -> None:
        """Anything else known of a run, as JSON."""
        self._add("facts", run=run, name=name_of(name), value=as_json(masked_value(value, name)))

    def curve(
        self, run: str, metric: str, writer: str, number: int, points: Points, summary: Summary, *, whole: bool = False
    ) -> None:
        """A chunk of a curve as it is now, and the summary of all that this writer wrote of the curve.

        `whole`: this is all of the curve, and what was known of it before does not hold any more.
        """
        name = name_of(metric)
        table = "whole_metrics" if whole else "metrics"
        self._add(table, run=run, name=name, **summary._asdict(), best=better(name))
        self._add("chunks", run=run, metric=name, writer=writer, number=number, points=encode(points))

    def output(self, run: str, writer: str, number: int, stream: str, time: float, words: str) -> None:
        """What was printed."""
        self._add("output", run=run, writer=writer, number=number, stream=stream, time=time, text=text(words))

    def artifact(self, run: str, name: str, kind: str, digest: str, size: int, root: str) -> None:
        """A file that is kept under its content's hash."""
        self._add("artifacts", run=run, name=name_of(name), kind=kind, hash=digest, bytes=size, root=root)

    def document(self, value: Any) -> str:
        """JSON that many runs share, and the hash under which they refer to it."""
        words = as_json(value)
        digest = hashlib.sha256(words.encode()).hexdigest()
        self._add("documents", hash=digest, text=words)
        return digest


def better(metric: str) -> str:
    """Whether the least or the greatest of a metric is its best, going by its name."""
    return "min" if _LOWER.search(metric.lower()) else "max"


def text(words: str) -> str:
    """Text that every database holds: NUL and lone surrogates as what one sees of them."""
    if "\0" in words:
        words = words.replace("\0", "\u2400")
    try:
        words.encode()
    except UnicodeEncodeError:
        words = words.encode(errors="backslashreplace").decode()
    return words


def name_of(words: str) -> str:
    """A name that every database can index: what is longer is cut, and told apart by a hash."""
    name = text(words)
    if len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}... {hashlib.sha256(name.encode()).hexdigest()[:12]}"


def as_json(value: Any) -> str:
    """JSON of plain data, sorted, what is not plain as its text."""
    try:
        words = json.dumps(value, sort_keys=True, default=_plain, ensure_ascii=False)
    except (TypeError, ValueError):  # names that are no text, circles
        words = json.dumps(str(value), ensure_ascii=False)
    return text(words)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _in_words(name: str, value: Any) -> tuple[str, float | None]:
    """How a hyperparameter is kept: as text, and as a number where it is one."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, bool) or value is None:
        return str(value).lower(), float(value) if isinstance(value, bool) else None
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = None
        return repr(value), None if number != number else number  # noqa: PLR0124 - NaN is not itself
    if isinstance(value, list | tuple) and all(isinstance(each, int | float | str | bool) for each in value):
        return masked(text(", ".join(str(each) for each in value)), name), None
    return masked(text(value if isinstance(value, str) else as_json(value)), name), None
