"""Verdict on a repeated run: how close its results are to the first ones, and what was not the same or not compared."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError

from rosenblatt.errors import StorageError
from rosenblatt.runs.compare import Differences, possible_causes
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.curves import CurvePoints
from rosenblatt.runs.store.details import Artifact, RunDetails
from rosenblatt.runs.store.filters import LOST_REASON
from rosenblatt.runs.store.queries import load_all_curves, run_details
from rosenblatt.runs.store.records import SYSTEM_METRICS
from rosenblatt.runs.store.store import Store

NO_STEP = 2**62  # the step of a difference that belongs to no step; greater than any other
MAX_LISTED = 8  # names in a sentence
_CUT_OFF_REASONS = ("interrupted", "time limit", "ended by")  # of stopped trials; others were not among the best
_TIME_WORD = re.compile("times?|secs?|seconds?|ms|duration|latency|throughput|fps|runtime|walltime|elapsed|eta")
_MEASURING_WORD = re.compile(  # words of which names of times and speeds of a program consist
    f"{_TIME_WORD.pattern}|s|p|per|avg|mean|median|min|max|std|total|cpu|gpu|wall|clock|perf|speed|rate|its?"
    "|(iter|iteration|step|example|sample|image|token|frame|row)s?|(batch|epoch)(es|s)?|train(ing)?|val|valid(ation)?"
    "|eval(uation)?|test(ing)?|predict(ion)?|inference|fit|forward|backward|optimizer|data|load(ing)?|io|wait|sync|compute"
)


class Verdict(StrEnum):
    """What a repetition has shown."""

    IDENTICAL = "identical"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERS = "differs"
    NOT_RUN = "could not be run again"
    NOTHING_TO_COMPARE = "nothing to compare"


@dataclass(frozen=True)
class FirstDifference:
    """A difference beyond the tolerance; weights, files and exit statuses have no step."""

    step: int | None
    description: str


@dataclass(frozen=True)
class Gap:
    """A part of a run that was not captured, or could not be made again."""

    kind: Literal["source", "data", "argument", "environment", "input", "end"]
    description: str


@dataclass(frozen=True)
class ResultComparison:
    """How close the results of two runs are, and what is known of the reasons."""

    verdict: Verdict
    max_difference: float  # the largest relative difference of any point of any metric, or of weights
    first_difference: FirstDifference | None
    causes: dict[str, Differences]  # recorded inputs that differ, by kind
    n_compared: int
    not_compared: list[str]  # metrics and files that differ but do not count, and metrics that measure the machine
    compared: dict[str, int] = field(default_factory=dict)  # number of results by kind: metric, file, weights, ...
    notes: list[str] = field(default_factory=list)  # why results of `not_compared` that differ do not count
    gaps: list[Gap] = field(default_factory=list)  # possible causes that no record shows
    reason: str = ""  # why it could not be run again


@dataclass(frozen=True)
class _Difference:
    """The largest relative difference of one result, and the step of its first one beyond the tolerance."""

    kind: str
    size: float
    step: int
    description: str
    name: str = ""


def compare_results(store: Store, first: str, second: str, tolerance: float) -> ResultComparison:
    """Compare metrics, weights, files and exit statuses of a run with those of the first one.

    A first run that was interrupted or killed is compared as far as it came. `tolerance` is relative.
    """
    a, b = run_details(store, first), run_details(store, second)
    metrics = _compare_metrics(load_all_curves(store, first), load_all_curves(store, second), tolerance, _is_cut_off(a))
    uncounted = [d for d in metrics if d.size > tolerance and is_measurement(d.name)]
    files, changed_files = _compare_files(a, b)
    differences = [d for d in metrics if d not in uncounted] + files + _compare_classes(a, b, tolerance)
    if a.weights or b.weights:
        differences.append(_compare_weights(Artifacts(store.url, store), a, b))
    if None not in (a.exit_status, b.exit_status) and a.exit_status != b.exit_status and not _is_cut_off(a):
        message = f"the exit status was {a.exit_status}, and is {b.exit_status}"
        differences.append(_Difference("exit status", np.inf, NO_STEP, message))
    measured = [name for run in (a, b) for name in run.metrics if name.startswith(SYSTEM_METRICS)]
    largest = max((difference.size for difference in differences), default=0.0)
    first_difference = _find_first(differences, tolerance)
    verdict = Verdict.IDENTICAL if largest == 0 else Verdict.DIFFERS if first_difference else Verdict.WITHIN_TOLERANCE
    return ResultComparison(
        verdict=verdict if differences else Verdict.NOTHING_TO_COMPARE,
        max_difference=largest,
        first_difference=first_difference,
        causes=possible_causes(a, b),
        n_compared=len(differences),
        not_compared=sorted({*measured, *(d.name for d in uncounted), *changed_files}),
        compared=dict(Counter(difference.kind for difference in differences)),
        notes=_describe_uncounted(uncounted, changed_files),
        gaps=find_gaps(a, b),
    )


def could_not_run(reason: str, gaps: Iterable[Gap]) -> ResultComparison:
    """Make the verdict on a run that could not be run again."""
    return ResultComparison(Verdict.NOT_RUN, 0.0, None, {}, 0, [], gaps=list(gaps), reason=reason)


def find_gaps(a: RunDetails, b: RunDetails | None = None) -> list[Gap]:
    """List what may differ between a run and its repetition although no record shows it."""
    gaps = []
    if a.source and a.request is None:
        data = {Path(file.path) for file in (*a.data, *a.data_read)}
        skipped = {name: reason for name, reason in a.source.skipped.items() if Path(a.source.root) / name not in data}
        gaps = [Gap("source", f"{name} ({reason})") for name, reason in skipped.items()]
    unseen = dict.fromkeys((*a.unseen, *(b.unseen if b else ())))
    gaps += [Gap("input", phrase) for phrase in unseen]
    if _is_cut_off(a):
        gaps.append(Gap("end", f"run {a.id} did not end by itself: {a.reason or a.state}"))
    if a.kind == "track" and b is not None and not a.data and b.data_read:
        files = _join(file.name for file in b.data_read)
        gaps.append(Gap("data", f"what the script read the first time, of which no record exists (now {files})"))
    return gaps


def is_measurement(name: str) -> bool:
    """Whether the name of a metric suggests a time or a speed of the program itself.

    >>> [is_measurement(name) for name in ("epoch_time", "samples_per_second", "delivery_time", "time_to_failure")]
    [True, True, True, False]
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    is_time = [bool(_TIME_WORD.fullmatch(word)) for word in words]
    return any(is_time[-1:]) or (any(is_time) and all(map(_MEASURING_WORD.fullmatch, words)))


def _find_first(differences: list[_Difference], tolerance: float) -> FirstDifference | None:
    """The difference beyond the tolerance with the lowest step."""
    exceeding = [difference for difference in differences if difference.size > tolerance]
    if not exceeding:
        return None
    earliest = min(exceeding, key=lambda difference: (difference.step, difference.description))
    return FirstDifference(earliest.step if earliest.step < NO_STEP else None, earliest.description)


def _is_cut_off(run: RunDetails) -> bool:
    """Whether a run was interrupted or killed, so that its curves end early."""
    is_stopped = run.state == "stopped" and (run.kind != "trial" or (run.reason or "").startswith(_CUT_OFF_REASONS))
    return run.state == "lost" or run.reason == LOST_REASON or is_stopped or (run.exit_status or 0) > 128


def _describe_uncounted(metrics: list[_Difference], files: list[str]) -> list[str]:
    notes = []
    if metrics:
        notes.append(f"not counted, because the names suggest times or speeds: {_join(d.description for d in metrics)}")
    if files:
        notes.append(f"not counted: other content in {_join(files)}")
    return notes


def _join(texts: Iterable[str]) -> str:
    items = list(texts)
    more = f" and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else ""
    return ", ".join(items[:MAX_LISTED]) + more


def _compare_metrics(
    a: Mapping[str, CurvePoints], b: Mapping[str, CurvePoints], tolerance: float, is_cut_off: bool
) -> list[_Difference]:
    """Compare all metrics of two runs but those of the machine."""
    names = [name for name in sorted({*a, *b}) if not name.startswith(SYSTEM_METRICS)]
    if is_cut_off:
        names = [name for name in names if name in a]
        b = {name: _cut(points, len(a[name].steps)) for name, points in b.items() if name in a}
    return [_compare_curves(name, a.get(name), b.get(name), tolerance) for name in names]


def _cut(points: CurvePoints, n: int) -> CurvePoints:
    """The first n points of a curve."""
    return CurvePoints(*(values[:n] for values in points))


def _compare_curves(name: str, a: CurvePoints | None, b: CurvePoints | None, tolerance: float) -> _Difference:
    """Compare two curves point by point; steps must be equal, and NaN equals NaN."""
    if a is None or b is None:
        text = f"{name} is only in the {'second' if a is None else 'first'} run"
        return _Difference("metric", np.inf, 0, text, name)
    n = min(len(a.steps), len(b.steps))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference = np.abs(a.values[:n] - b.values[:n]) / np.maximum(np.abs(a.values[:n]), 1e-12)
    is_equal = (a.values[:n] == b.values[:n]) | (np.isnan(a.values[:n]) & np.isnan(b.values[:n]))
    difference = np.where(is_equal, 0.0, np.where(np.isfinite(difference), difference, np.inf))
    difference = np.where(a.steps[:n] == b.steps[:n], difference, np.inf)
    exceeding = np.flatnonzero(difference > tolerance)
    if exceeding.size:
        index = int(exceeding[0])
        values = f"{float(a.values[index])!r} was {float(b.values[index])!r} this time"
        if a.steps[index] != b.steps[index]:
            values = f"a point at step {a.steps[index]} was at step {b.steps[index]} this time"
        return _Difference("metric", float(difference.max()), int(a.steps[index]), f"{name}: {values}", name)
    if len(a.steps) != len(b.steps):
        longer = a if len(a.steps) > n else b
        lengths = f"{len(a.steps)} points in the first run, {len(b.steps)} in the second"
        return _Difference("metric", np.inf, int(longer.steps[n]), f"{name} has {lengths}", name)
    return _Difference("metric", float(difference.max(initial=0.0)), NO_STEP, name, name)


def _compare_files(a: RunDetails, b: RunDetails) -> tuple[list[_Difference], list[str]]:
    """Compare stored files by the hash of their content; returns also the names of those with other content.

    Other content does not count, because many formats hold the time at which they were written. Models are left out if
    their weights are compared.
    """
    differences, changed = list[_Difference](), list[str]()
    for name in sorted({*a.artifacts, *b.artifacts}):
        first, second = a.artifacts.get(name), b.artifacts.get(name)
        if first and second:
            if first.kind == "model" and a.weights and b.weights:
                continue
            if first.hash == second.hash:
                differences.append(_Difference("file", 0.0, NO_STEP, name))
            else:
                changed.append(name)
        elif first or not _is_cut_off(a):
            text = f"the file {name} is only in the {'first' if first else 'second'} run"
            differences.append(_Difference("file", np.inf, NO_STEP, text))
    return differences, changed


def _compare_classes(a: RunDetails, b: RunDetails, tolerance: float) -> list[_Difference]:
    """Compare the scores of classes."""
    differences = []
    for label in sorted({*a.classes, *b.classes}):
        first, second = a.classes.get(label), b.classes.get(label)
        if first is None or second is None:
            text = f"the class {label} is only in the {'second' if first is None else 'first'} run"
            differences.append(_Difference("class", np.inf, NO_STEP, text))
            continue
        pairs = {name: (getattr(first, name), getattr(second, name)) for name in ("precision", "recall", "f1", "rows")}
        sizes = {name: abs(x - y) / max(abs(x), 1e-12) for name, (x, y) in pairs.items()}
        name = max(sizes, key=lambda name: sizes[name])
        x, y = pairs[name]
        text = f"{name} of class {label}: {x!r} was {y!r} this time" if sizes[name] > tolerance else label
        differences.append(_Difference("class", sizes[name], NO_STEP, text))
    return differences


def _compare_weights(artifacts: Artifacts, a: RunDetails, b: RunDetails) -> _Difference:
    """Compare the weights of two runs by their hashes and, if these differ, by their stored models."""
    if a.weights == b.weights:
        return _Difference("weights", 0.0, NO_STEP, "weights")
    if not a.weights or not b.weights:
        text = f"weights are only in the {'first' if a.weights else 'second'} run"
        return _Difference("weights", np.inf, NO_STEP, text)
    models = [[artifact for artifact in run.artifacts.values() if artifact.kind == "model"][:1] for run in (a, b)]
    if not all(models):
        text = "weights, by how much is unknown: only their hashes are stored"
        return _Difference("weights", np.inf, NO_STEP, text)
    try:
        return _Difference("weights", _max_tensor_difference(artifacts, models[0][0], models[1][0]), NO_STEP, "weights")
    except (StorageError, SafetensorError) as error:
        return _Difference("weights", np.inf, NO_STEP, f"weights, by how much is unknown: {error}")


def _max_tensor_difference(artifacts: Artifacts, first: Artifact, second: Artifact) -> float:
    """The largest difference between two models' weights, relative to the largest finite weight of the first."""
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as folder:
        tensors = []
        for index, artifact in enumerate((first, second)):
            path = Path(folder) / str(index)
            artifacts.fetch(artifact.hash, artifact.root, path)
            tensors.append(load_file(path))
    if {k: v.shape for k, v in tensors[0].items()} != {k: v.shape for k, v in tensors[1].items()}:
        return np.inf
    largest, scale = 0.0, 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for name, a in tensors[0].items():
            b, weights = tensors[1][name], np.abs(a.astype(np.float64))
            scale = max(scale, float(weights.max(initial=0.0, where=np.isfinite(weights))))
            is_equal = (a == b) | (np.isnan(a) & np.isnan(b))
            distance = np.abs(a.astype(np.float64) - b.astype(np.float64))
            distance = np.where(is_equal, 0.0, np.where(np.isnan(distance), np.inf, distance))
            largest = max(largest, float(distance.max(initial=0.0)))
    return largest / max(scale, 1e-12)
