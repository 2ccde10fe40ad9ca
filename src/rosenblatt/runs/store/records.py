"""Batches of records of runs: rows that state how things are, so that writing a batch twice changes nothing.

A batch is written in one transaction, or waits as one line of a spool.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rosenblatt.runs.redaction import redact, redact_value, to_text

if TYPE_CHECKING:  # loads NumPy, which would delay `rosenblatt runs`
    from rosenblatt.runs.store.curves import CurvePoints, CurveSummary

Row = dict[str, Any]
MAX_NAME_LENGTH = 500  # characters of a name
SYSTEM_METRICS = "system/"  # begins the names of metrics of the machine, which are measured by this library
NOTE_PREFIX = "note:"  # begins the names of metadata that are notes of the user
# metadata whose mappings are by names of columns, classes, hyperparameters or variables: they say nothing of the values
NAMED_BY_DATA = frozenset({"baseline", "classes", "request", "space", "split", "variables_read"})
_LOWER_IS_BETTER = re.compile(
    r"(^|[^a-z])(loss|m?logloss|cross_?entropy|deviance|error|merror|err|rmse|rmsle|mse|mae|mape|smape|l1|l2|nll|nloglik"
    r"|perplexity|ppl|wer|cer|time|seconds|latency|size|memory)([^a-z]|$)"
)


class RecordBatch:
    """Rows to write, by table."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {}

    def __bool__(self) -> bool:
        return bool(self.rows)

    def _add_row(self, table: str, **row: Any) -> None:
        self.rows.setdefault(table, []).append(row)

    def add_run(self, run: str, experiment: str, name: str, kind: str, **attributes: Any) -> None:
        """Add a run; `attributes` may hold started, parent, number, identity, owner, state, reason, ended."""
        now = time.time()
        row = {"state": "running", "reason": None, "started": now, "ended": None, "heartbeat": now}
        row |= {"parent": None, "number": None, "identity": None, "owner": None} | attributes
        names = {"experiment": redact(sanitize_text(experiment)), "name": redact(sanitize_text(name))}
        self._add_row("runs", id=run, **names, kind=kind, **row)

    def update_run(self, run: str, **columns: Any) -> None:
        """Change columns of a run, such as state, reason and ended, and give a sign of life."""
        redacted = {
            name: redact(sanitize_text(value)) if isinstance(value, str) else value for name, value in columns.items()
        }
        self._add_row("run_updates", run=run, heartbeat=time.time(), **redacted)

    def add_owner(self, run: str, owner: str) -> None:
        """Say which owner wrote the records of a run; the store ignores them if another one has taken the run over."""
        self._add_row("owners", run=run, owner=owner)

    def add_params(self, run: str, values: Mapping[str, Any], explicit: bool | Mapping[str, bool] = True) -> None:
        """Add hyperparameters; `explicit` says which of them are not defaults."""
        for name, value in values.items():
            is_explicit = explicit if isinstance(explicit, bool) else explicit.get(name, False)
            text, number = format_param(redact_value(value, name))
            self._add_row(
                "params", run=run, name=_redact_name(name), value=text, numeric_value=number, explicit=is_explicit
            )

    def add_tag(self, run: str, name: str, value: str) -> None:
        """Add a tag."""
        self._add_row("tags", run=run, name=_redact_name(name), value=redact(sanitize_text(str(value)), name))

    def add_metadata(self, run: str, name: str, value: Any) -> None:
        """Add any other value as JSON."""
        by_name = name not in NAMED_BY_DATA
        redacted = redact_value(value, name.removeprefix(NOTE_PREFIX) if by_name else "", by_name=by_name)
        self._add_row("metadata", run=run, name=_redact_name(name), value=as_json(redacted))

    def add_curve(
        self,
        run: str,
        metric: str,
        writer: str,
        chunk_index: int,
        points: CurvePoints,
        summary: CurveSummary,
        *,
        replace: bool = False,
    ) -> None:
        """Add a chunk of a curve, and a summary of this part of the curve, or of all parts of this writer.

        Several writers may write to one curve; `chunk_index` counts the chunks of each. With `replace`, the summary
        replaces the stored one instead of being merged with it.
        """
        name = index_name(metric)
        self.add_summary(run, name, summary, replace=replace)
        self.add_chunk(run, name, writer, chunk_index, points)

    def add_chunk(self, run: str, name: str, writer: str, chunk_index: int, points: CurvePoints) -> None:
        """Add a chunk of a curve, by the name that `index_name` gives it, without a summary."""
        from rosenblatt.runs.store.curves import encode

        blob = encode(points)
        self._add_row("curve_chunks", run=run, metric=name, writer=writer, chunk_index=chunk_index, points=blob)

    def add_summary(self, run: str, name: str, summary: CurveSummary, *, replace: bool = False) -> None:
        """Add the summary of a part of a curve, which is merged with the stored one unless it replaces it."""
        table = "replacement_metrics" if replace else "metrics"
        self._add_row(table, run=run, name=name, **summary._asdict(), direction=metric_direction(name))

    def add_log(self, run: str, writer: str, first_id: int) -> None:
        """Add the log of the points that a writer logs to a run; see `point_log`."""
        self._add_row("point_logs", run=run, writer=writer, first_id=first_id, last_moved=-1, names=None)

    def add_segment(self, run: str, segment: int, is_summarized: bool, names: bytes | None, points: bytes) -> None:
        """Add a segment of a log of points."""
        self._add_row("log_segments", id=segment, run=run, is_summarized=is_summarized, names=names, points=points)

    def add_output(self, run: str, writer: str, chunk_index: int, stream: str, time: float, text: str) -> None:
        """Add text that was printed."""
        self._add_row(
            "output",
            run=run,
            writer=writer,
            chunk_index=chunk_index,
            stream=stream,
            time=time,
            text=sanitize_text(text),
        )

    def add_artifact(self, run: str, name: str, kind: str, digest: str, size: int, root: str) -> None:
        """Add a stored file, by the hash of its content."""
        self._add_row("artifacts", run=run, name=_redact_name(name), kind=kind, hash=digest, bytes=size, root=root)

    def add_document(self, value: Any) -> str:
        """Add a value that many runs share; returns the hash by which they refer to it."""
        text = as_json(value)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._add_row("documents", hash=digest, text=text)
        return digest


@lru_cache(1000)
def metric_direction(metric: str) -> str:
    """Guess from its name whether the best value of a metric is its minimum or its maximum."""
    return "min" if _LOWER_IS_BETTER.search(metric.lower()) else "max"


def sanitize_text(text: str) -> str:
    """Replace what a database cannot store: NUL characters and lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "\u2400")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode(errors="backslashreplace").decode()
    return text


def index_name(text: str) -> str:
    """Shorten a long name so that every database can index it; a hash keeps it unique."""
    name = sanitize_text(text)
    if len(name) <= MAX_NAME_LENGTH:
        return name
    return f"{name[:MAX_NAME_LENGTH]}... {hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _redact_name(name: str) -> str:
    return index_name(redact(name))


def as_json(value: Any) -> str:
    """Format a value as JSON with sorted keys; other objects as text."""
    try:
        text = json.dumps(value, sort_keys=True, default=_to_builtin, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # keys that are not text, circular references, very deep values
        text = json.dumps(to_text(value), ensure_ascii=False)
    return sanitize_text(text)


def _to_builtin(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def format_param(value: Any) -> tuple[str, float | None]:
    """Format a redacted hyperparameter as text and, if it is a number, also as a number."""
    if isinstance(value, bool) or value is None:
        return str(value).lower(), float(value) if isinstance(value, bool) else None
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = None
        return repr(value), None if number != number else number  # noqa: PLR0124 - NaN differs from itself
    if isinstance(value, list) and all(isinstance(item, int | float | str | bool) for item in value):
        return sanitize_text(", ".join(str(item) for item in value)), None
    return sanitize_text(value if isinstance(value, str) else as_json(value)), None
