"""Comparison of two runs of a store: their differences as plain data, and how close their results are."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt.errors import RosenblattError
from rosenblatt.runs.capture.source import diff_folders, restore
from rosenblatt.runs.store.artifacts import fetch
from rosenblatt.runs.store.curves import CurvePoints
from rosenblatt.runs.store.queries import load_all_curves, run_details
from rosenblatt.runs.store.store import Store

_MACHINE_METRICS = re.compile(
    r"^system/|(^|[^a-z])(time|seconds|duration|latency|throughput|per_sec\w*|fps)([^a-z]|$)", re.IGNORECASE
)
_HARDWARE = ("processor", "cores", "gpus", "linear_algebra", "system", "memory")


def compare(store: Store, first: str, second: str) -> dict[str, Any]:
    """Hyperparameters, source, environment, data and metrics of two runs, where they differ: {what: {name: [a, b]}}."""
    a, b = run_details(store, first), run_details(store, second)
    best = [{name: metric["best"] for name, metric in run["metrics"].items()} for run in (a, b)]
    return {
        "runs": [first, second],
        "params": diff_dicts(*({name: param["value"] for name, param in run["params"].items()} for run in (a, b))),
        "metrics": {name: [best[0].get(name), best[1].get(name)] for name in sorted({*best[0], *best[1]})},
        "data": diff_dicts(*(_data_hashes(run) for run in (a, b))),
        "environment": diff_dicts(*(_flatten_environment(run) for run in (a, b))),
        "source": source_difference(a.get("source") or {}, b.get("source") or {}),
    }


def diff_dicts(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The names whose values are not the same: [in a, in b], None where there is none."""
    return {name: [a.get(name), b.get(name)] for name in sorted({*a, *b}) if a.get(name) != b.get(name)}


def possible_causes(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """What may have made the results of two runs differ, by their `run_details`: source, data, package, seed, ..."""
    environments = [_flatten_environment(run) for run in (a, b)]
    hardware, packages = dict[str, list[Any]](), dict[str, list[Any]]()
    for name, pair in diff_dicts(*environments).items():
        (hardware if name in _HARDWARE else packages)[name] = pair
    params = diff_dicts(*({name: param["value"] for name, param in run["params"].items()} for run in (a, b)))
    seeds = {name: pair for name, pair in params.items() if "seed" in name.lower()}
    seeds |= diff_dicts(a.get("seeds") or {}, b.get("seeds") or {})
    sources = [{"source": run.get("source_hash"), "engine": (run.get("engine") or {}).get("source")} for run in (a, b)]
    causes = {
        "source": diff_dicts(*sources),
        "data": diff_dicts(*(_data_hashes(run, split=not seeds) for run in (a, b))),  # the seed splits the rows, too
        "package": packages,
        "seed": seeds,
        "hyperparameter": {name: pair for name, pair in params.items() if name not in seeds},
        "hardware": hardware,
    }
    return {kind: differences for kind, differences in causes.items() if differences}


def compare_results(store: Store, first: str, second: str, tolerance: float) -> dict[str, Any]:
    """How near the results of the second run come to those of the first.

    Returns {verdict: identical | within tolerance | differs, max_difference, first_difference, causes, not_compared};
    `max_difference` is the greatest relative difference of any point of any metric, or of weights; `first_difference`
    is the one beyond the tolerance at the lowest step.
    """
    a, b = run_details(store, first), run_details(store, second)
    curves = [load_all_curves(store, run) for run in (first, second)]
    names = sorted({*curves[0], *curves[1]})
    compared = [name for name in names if not _MACHINE_METRICS.search(name)]
    differences = [_max_difference(name, curves[0].get(name), curves[1].get(name), tolerance) for name in compared]
    if a.get("weights") or b.get("weights"):
        differences += _compare_weights(a, b)
    if "exit_status" in a and "exit_status" in b and a["exit_status"] != b["exit_status"]:
        message = f"the exit status was {a['exit_status']}, and is {b['exit_status']}"
        differences.append((np.inf, 2**62, message))
    max_difference = max((difference for difference, _, _ in differences), default=0.0)
    exceeding = sorted((step, message) for difference, step, message in differences if difference > tolerance)
    verdict = "identical" if max_difference == 0 else "differs" if exceeding else "within tolerance"
    return {
        "verdict": verdict if differences else "nothing to compare",
        "max_difference": max_difference,
        "first_difference": None
        if not exceeding
        else {"step": exceeding[0][0] if exceeding[0][0] < 2**62 else None, "description": exceeding[0][1]},
        "causes": possible_causes(a, b),
        "n_compared": len(differences),
        "not_compared": [name for name in names if name not in compared],
    }


def source_difference(a: dict[str, Any], b: dict[str, Any]) -> str:
    """What `diff` says of two sources; a sentence where one of them cannot be restored."""
    if not a or not b or (a.get("tree") == b.get("tree") and a["files"] == b["files"]):
        return ""
    with tempfile.TemporaryDirectory() as temporary_folder:
        folders = Path(temporary_folder) / "a", Path(temporary_folder) / "b"
        try:
            for source, folder in zip((a, b), folders, strict=True):
                restore(source, folder, fetch)
                shutil.rmtree(folder / ".git", ignore_errors=True)
        except RosenblattError as error:
            return f"The sources differ, but cannot be shown: {error}"
        return diff_folders(folders)


def _max_difference(
    name: str, a: CurvePoints | None, b: CurvePoints | None, tolerance: float
) -> tuple[float, int, str]:
    """The greatest relative difference of two curves, and the step of the first beyond the tolerance."""
    if a is None or b is None:
        return np.inf, 0, f"{name} is only in the {'second' if a is None else 'first'} run"
    n = min(len(a.steps), len(b.steps))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference = np.abs(a.values[:n] - b.values[:n]) / np.maximum(np.abs(a.values[:n]), 1e-12)
    is_equal = (a.values[:n] == b.values[:n]) | (np.isnan(a.values[:n]) & np.isnan(b.values[:n]))
    difference = np.where(is_equal, 0.0, np.where(np.isfinite(difference), difference, np.inf))
    difference = np.where(a.steps[:n] == b.steps[:n], difference, np.inf)
    exceeding = np.flatnonzero(difference > tolerance)
    if exceeding.size:
        index = int(exceeding[0])
        return (
            float(difference.max()),
            int(a.steps[index]),
            f"{name}: {float(a.values[index])!r} was {float(b.values[index])!r} this time",
        )
    if len(a.steps) != len(b.steps):
        longer = a if len(a.steps) > n else b
        return (
            np.inf,
            int(longer.steps[n]),
            f"{name} has {len(a.steps)} points in the first run, {len(b.steps)} in the second",
        )
    return float(difference.max(initial=0.0)), 2**62, name


def _compare_weights(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[float, int, str]]:
    """Of networks whose weights are known: how far apart the models are, where both are kept."""
    if a.get("weights") == b.get("weights"):
        return [(0.0, 2**62, "weights")]
    models = [
        next((artifact for artifact in run["artifacts"].values() if artifact["kind"] == "model"), None)
        for run in (a, b)
    ]
    if None in models:
        return [(np.inf, 2**62, "weights")]
    return [(_max_tensor_difference(*models), 2**62, "weights")]


def _max_tensor_difference(first: Any, second: Any) -> float:
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as folder:
        tensors = []
        for index, artifact in enumerate((first, second)):
            path = Path(folder) / str(index)
            fetch(artifact["hash"], artifact["root"], path)
            tensors.append(load_file(path))
    if {k: v.shape for k, v in tensors[0].items()} != {k: v.shape for k, v in tensors[1].items()}:
        return np.inf
    scale = max(float(np.abs(tensor).max(initial=0.0)) for tensor in tensors[0].values())
    distances = [np.abs(v.astype(np.float64) - tensors[1][k].astype(np.float64)) for k, v in tensors[0].items()]
    are_equal = [(v == tensors[1][k]) | (np.isnan(v) & np.isnan(tensors[1][k])) for k, v in tensors[0].items()]
    differences = [
        np.where(is_equal, 0.0, np.nan_to_num(distance, nan=np.inf))
        for distance, is_equal in zip(distances, are_equal, strict=True)
    ]
    return max(float(difference.max(initial=0.0)) for difference in differences) / max(scale, 1e-12)


def _data_hashes(details: Mapping[str, Any], split: bool = True) -> dict[str, str]:
    """The hashes of data by name, and of the rows that they were split into."""
    hashes: dict[str, str] = {}
    for entry in (*(details.get("data") or ()), *(details.get("data_read") or ())):
        name = entry["name"]
        hashes[name if name not in hashes else f"{Path(entry['path']).parent.name}/{name}"] = entry["hash"]
    split_hashes = details.get("split") or {} if split else {}
    return hashes | {
        f"{name} rows": split_hashes[name] for name in ("training", "validation", "test") if name in split_hashes
    }


def _flatten_environment(details: Mapping[str, Any]) -> dict[str, Any]:
    """Flat: packages by their names."""
    environment = dict(details.get("environment") or {})
    packages, variables = environment.pop("packages", {}), environment.pop("variables", {})
    return environment | packages | {f"variable {name}": value for name, value in variables.items()}
