"""Comparison of two runs of a store: what differs between them, and how close their results are."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt.errors import RosenblattError
from rosenblatt.runs.capture.source import Source, diff_folders, restore
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.curves import CurvePoints
from rosenblatt.runs.store.details import Artifact, RunDetails
from rosenblatt.runs.store.queries import load_all_curves, run_details
from rosenblatt.runs.store.store import Store

Differences = dict[str, list[Any]]
"""By name, the values in the first and in the second run; None if a run has none."""

NO_STEP = 2**62  # the step of a difference that belongs to no step; greater than any other
_MACHINE_METRICS = re.compile(
    r"^system/|(^|[^a-z])(time|seconds|duration|latency|throughput|per_sec\w*|fps)([^a-z]|$)", re.IGNORECASE
)
_HARDWARE = ("processor", "cores", "gpus", "linear_algebra", "system", "memory")


@dataclass(frozen=True)
class Comparison:
    """Differences between two runs; of metrics all, each with its best value in both runs."""

    runs: tuple[str, str]
    params: Differences
    metrics: Differences
    data: Differences
    environment: Differences
    source: str  # as `diff -u` prints it


@dataclass(frozen=True)
class FirstDifference:
    """A difference beyond the tolerance; weights and exit statuses have no step."""

    step: int | None
    description: str


@dataclass(frozen=True)
class ResultComparison:
    """How close the results of two runs are."""

    verdict: str  # identical, within tolerance, differs, or nothing to compare
    max_difference: float  # the largest relative difference of any point of any metric, or of weights
    first_difference: FirstDifference | None
    causes: dict[str, Differences]
    n_compared: int
    not_compared: list[str]  # metrics that measure the machine


@dataclass(frozen=True)
class _Difference:
    """The largest relative difference of one result, and the step of its first one beyond the tolerance."""

    size: float
    step: int
    description: str


def compare(store: Store, first: str, second: str) -> Comparison:
    """Compare hyperparameters, metrics, data, environment and source of two runs."""
    a, b = run_details(store, first), run_details(store, second)
    best = [{name: metric.best for name, metric in run.metrics.items()} for run in (a, b)]
    return Comparison(
        runs=(first, second),
        params=_diff_params(a, b),
        metrics={name: [best[0].get(name), best[1].get(name)] for name in sorted({*best[0], *best[1]})},
        data=diff_dicts(_data_hashes(a), _data_hashes(b)),
        environment=diff_dicts(_flatten_environment(a), _flatten_environment(b)),
        source=source_difference(Artifacts(store.url, store), a.source, b.source),
    )


def diff_dicts(a: Mapping[str, Any], b: Mapping[str, Any]) -> Differences:
    """Find the names whose values differ."""
    return {name: [a.get(name), b.get(name)] for name in sorted({*a, *b}) if a.get(name) != b.get(name)}


def possible_causes(a: RunDetails, b: RunDetails) -> dict[str, Differences]:
    """Find what may have caused different results, by kind: source, data, package, seed, hyperparameter, hardware."""
    hardware, packages = Differences(), Differences()
    for name, pair in diff_dicts(_flatten_environment(a), _flatten_environment(b)).items():
        (hardware if name in _HARDWARE else packages)[name] = pair
    params = _diff_params(a, b)
    seeds = {name: pair for name, pair in params.items() if "seed" in name.lower()}
    seeds |= diff_dicts(a.seeds, b.seeds)
    sources = [{"source": run.source_hash, "engine": run.engine.get("source")} for run in (a, b)]
    causes = {
        "source": diff_dicts(*sources),
        "data": diff_dicts(*(_data_hashes(run, split=not seeds) for run in (a, b))),  # seeds change the split, too
        "package": packages,
        "seed": seeds,
        "hyperparameter": {name: pair for name, pair in params.items() if name not in seeds},
        "hardware": hardware,
    }
    return {kind: differences for kind, differences in causes.items() if differences}


def compare_results(store: Store, first: str, second: str, tolerance: float) -> ResultComparison:
    """Compare metrics, weights and exit statuses of a run with those of the first one, up to a relative tolerance."""
    a, b = run_details(store, first), run_details(store, second)
    curves = [load_all_curves(store, run) for run in (first, second)]
    names = sorted({*curves[0], *curves[1]})
    compared = [name for name in names if not _MACHINE_METRICS.search(name)]
    differences = [_compare_curves(name, curves[0].get(name), curves[1].get(name), tolerance) for name in compared]
    if a.weights or b.weights:
        differences.append(_compare_weights(Artifacts(store.url, store), a, b))
    if None not in (a.exit_status, b.exit_status) and a.exit_status != b.exit_status:
        message = f"the exit status was {a.exit_status}, and is {b.exit_status}"
        differences.append(_Difference(np.inf, NO_STEP, message))
    largest = max((difference.size for difference in differences), default=0.0)
    exceeding = [difference for difference in differences if difference.size > tolerance]
    first_exceeding = None
    if exceeding:
        earliest = min(exceeding, key=lambda difference: (difference.step, difference.description))
        step = earliest.step if earliest.step < NO_STEP else None
        first_exceeding = FirstDifference(step, earliest.description)
    verdict = "identical" if largest == 0 else "differs" if exceeding else "within tolerance"
    return ResultComparison(
        verdict=verdict if differences else "nothing to compare",
        max_difference=largest,
        first_difference=first_exceeding,
        causes=possible_causes(a, b),
        n_compared=len(differences),
        not_compared=[name for name in names if name not in compared],
    )


def source_difference(artifacts: Artifacts, a: Source | None, b: Source | None) -> str:
    """Compare two sources in the format of `diff -u`; a sentence says so if one of them cannot be restored."""
    if not a or not b or (a.tree == b.tree and a.files == b.files):
        return ""
    with tempfile.TemporaryDirectory() as temporary_folder:
        folders = Path(temporary_folder) / "a", Path(temporary_folder) / "b"
        try:
            for source, folder in zip((a, b), folders, strict=True):
                restore(source, folder, artifacts.fetch)
                shutil.rmtree(folder / ".git", ignore_errors=True)
        except RosenblattError as error:
            return f"The sources differ, but cannot be shown: {error}"
        return diff_folders(folders)


def _diff_params(a: RunDetails, b: RunDetails) -> Differences:
    return diff_dicts(*({name: param.value for name, param in run.params.items()} for run in (a, b)))


def _compare_curves(name: str, a: CurvePoints | None, b: CurvePoints | None, tolerance: float) -> _Difference:
    """Compare two curves point by point; steps must be equal, and NaN equals NaN."""
    if a is None or b is None:
        return _Difference(np.inf, 0, f"{name} is only in the {'second' if a is None else 'first'} run")
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
        return _Difference(float(difference.max()), int(a.steps[index]), f"{name}: {values}")
    if len(a.steps) != len(b.steps):
        longer = a if len(a.steps) > n else b
        lengths = f"{len(a.steps)} points in the first run, {len(b.steps)} in the second"
        return _Difference(np.inf, int(longer.steps[n]), f"{name} has {lengths}")
    return _Difference(float(difference.max(initial=0.0)), NO_STEP, name)


def _compare_weights(artifacts: Artifacts, a: RunDetails, b: RunDetails) -> _Difference:
    """Compare the weights of two runs by their hashes and, if these differ, by their stored models."""
    if a.weights == b.weights:
        return _Difference(0.0, NO_STEP, "weights")
    models = [[artifact for artifact in run.artifacts.values() if artifact.kind == "model"][:1] for run in (a, b)]
    if not all(models):
        return _Difference(np.inf, NO_STEP, "weights")
    return _Difference(_max_tensor_difference(artifacts, models[0][0], models[1][0]), NO_STEP, "weights")


def _max_tensor_difference(artifacts: Artifacts, first: Artifact, second: Artifact) -> float:
    """The largest difference between two models' weights, relative to the largest weight of the first."""
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as folder:
        tensors = []
        for index, artifact in enumerate((first, second)):
            path = Path(folder) / str(index)
            artifacts.fetch(artifact.hash, artifact.root, path)
            tensors.append(load_file(path))
    if {k: v.shape for k, v in tensors[0].items()} != {k: v.shape for k, v in tensors[1].items()}:
        return np.inf
    scale = max(float(np.abs(tensor).max(initial=0.0)) for tensor in tensors[0].values())
    largest = 0.0
    for name, a in tensors[0].items():
        b = tensors[1][name]
        is_equal = (a == b) | (np.isnan(a) & np.isnan(b))
        distance = np.nan_to_num(np.abs(a.astype(np.float64) - b.astype(np.float64)), nan=np.inf)
        largest = max(largest, float(np.where(is_equal, 0.0, distance).max(initial=0.0)))
    return largest / max(scale, 1e-12)


def _data_hashes(run: RunDetails, split: bool = True) -> dict[str, str]:
    """The hashes of data files by name, and those of the training, validation and test rows."""
    hashes: dict[str, str] = {}
    for file in (*run.data, *run.data_read):
        name = file.name if file.name not in hashes else f"{Path(file.path).parent.name}/{file.name}"
        hashes[name] = file.hash
    parts = [name for name in ("training", "validation", "test") if split and name in run.split]
    return hashes | {f"{name} rows": str(run.split[name]) for name in parts}


def _flatten_environment(run: RunDetails) -> dict[str, Any]:
    """The environment with packages and variables on the level of its other values."""
    environment = run.environment.to_json() if run.environment else {}
    packages, variables = environment.pop("packages", {}), environment.pop("variables", {})
    return environment | packages | {f"variable {name}": value for name, value in variables.items()}
