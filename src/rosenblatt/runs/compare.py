"""In: two runs of a store. Out: what differs between them, as plain data; and how near their results are."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt.errors import RosenblattError
from rosenblatt.runs.capture.source import difference, restore
from rosenblatt.runs.store.artifacts import fetch
from rosenblatt.runs.store.curves import Points
from rosenblatt.runs.store.queries import all_curves, details
from rosenblatt.runs.store.store import Store

_OF_THE_MACHINE = re.compile(
    r"^system/|(^|[^a-z])(time|seconds|duration|latency|throughput|per_sec\w*|fps)([^a-z]|$)", re.IGNORECASE
)
_HARDWARE = ("processor", "cores", "gpus", "linear_algebra", "system", "memory")


def compare(store: Store, one: str, other: str) -> dict[str, Any]:
    """Hyperparameters, source, environment, data and metrics of two runs, where they differ: {what: {name: [a, b]}}."""
    a, b = details(store, one), details(store, other)
    best = [{name: metric["best"] for name, metric in each["metrics"].items()} for each in (a, b)]
    return {
        "runs": [one, other],
        "params": differing(*({name: p["value"] for name, p in each["params"].items()} for each in (a, b))),
        "metrics": {name: [best[0].get(name), best[1].get(name)] for name in sorted({*best[0], *best[1]})},
        "data": differing(*(_data(each) for each in (a, b))),
        "environment": differing(*(_environment(each) for each in (a, b))),
        "source": source_difference(a.get("source") or {}, b.get("source") or {}),
    }


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The names whose values are not the same: [in a, in b], None where there is none."""
    return {name: [a.get(name), b.get(name)] for name in sorted({*a, *b}) if a.get(name) != b.get(name)}


def causes(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """What may have made the results of two runs differ, by their `details`: source, data, package, seed, ..."""
    environments = [_environment(each) for each in (a, b)]
    hardware, packages = dict[str, list[Any]](), dict[str, list[Any]]()
    for name, pair in differing(*environments).items():
        (hardware if name in _HARDWARE else packages)[name] = pair
    params = differing(*({name: p["value"] for name, p in each["params"].items()} for each in (a, b)))
    seeds = {name: pair for name, pair in params.items() if "seed" in name.lower()}
    seeds |= differing(a.get("seeds") or {}, b.get("seeds") or {})
    sources = [
        {"source": each.get("source_hash"), "engine": (each.get("engine") or {}).get("source")} for each in (a, b)
    ]
    found = {
        "source": differing(*sources),
        "data": differing(*(_data(each, split=not seeds) for each in (a, b))),  # the seed splits the rows, too
        "package": packages,
        "seed": seeds,
        "hyperparameter": {name: pair for name, pair in params.items() if name not in seeds},
        "hardware": hardware,
    }
    return {what: changed for what, changed in found.items() if changed}


def verdict(store: Store, one: str, other: str, tolerance: float) -> dict[str, Any]:
    """How near the results of the second run come to those of the first.

    Returns {verdict: identical | within tolerance | differs, furthest, first, causes, not_compared}; `furthest` is the
    greatest relative difference of any point of any metric, or of weights; `first` where the first beyond the
    tolerance is, at the lowest step.
    """
    a, b = details(store, one), details(store, other)
    curves = [all_curves(store, each) for each in (one, other)]
    names = sorted({*curves[0], *curves[1]})
    compared = [name for name in names if not _OF_THE_MACHINE.search(name)]
    apart = [_furthest(name, curves[0].get(name), curves[1].get(name), tolerance) for name in compared]
    if a.get("weights") or b.get("weights"):
        apart += _weights(a, b)
    if "exit_status" in a and "exit_status" in b and a["exit_status"] != b["exit_status"]:
        what = f"the exit status was {a['exit_status']}, and is {b['exit_status']}"
        apart.append((np.inf, 2**62, what))
    furthest = max((far for far, _, _ in apart), default=0.0)
    beyond = sorted((step, what) for far, step, what in apart if far > tolerance)
    word = "identical" if furthest == 0 else "differs" if beyond else "within tolerance"
    return {
        "verdict": word if apart else "nothing to compare",
        "furthest": furthest,
        "first": None if not beyond else {"step": beyond[0][0] if beyond[0][0] < 2**62 else None, "what": beyond[0][1]},
        "causes": causes(a, b),
        "compared": len(apart),
        "not_compared": [name for name in names if name not in compared],
    }


def source_difference(a: dict[str, Any], b: dict[str, Any]) -> str:
    """What `diff` says of two sources; a sentence where one of them cannot be restored."""
    if not a or not b or (a.get("tree") == b.get("tree") and a["files"] == b["files"]):
        return ""
    with tempfile.TemporaryDirectory() as folder:
        places = Path(folder) / "a", Path(folder) / "b"
        try:
            for source, place in zip((a, b), places, strict=True):
                restore(source, place, fetch)
                shutil.rmtree(place / ".git", ignore_errors=True)
        except RosenblattError as error:
            return f"The sources differ, but cannot be shown: {error}"
        return difference(places)


def _furthest(name: str, a: Points | None, b: Points | None, tolerance: float) -> tuple[float, int, str]:
    """The greatest relative difference of two curves, and the step of the first beyond the tolerance."""
    if a is None or b is None:
        return np.inf, 0, f"{name} is only in the {'second' if a is None else 'first'} run"
    n = min(len(a.steps), len(b.steps))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        far = np.abs(a.values[:n] - b.values[:n]) / np.maximum(np.abs(a.values[:n]), 1e-12)
    same = (a.values[:n] == b.values[:n]) | (np.isnan(a.values[:n]) & np.isnan(b.values[:n]))
    far = np.where(same, 0.0, np.where(np.isfinite(far), far, np.inf))
    far = np.where(a.steps[:n] == b.steps[:n], far, np.inf)
    beyond = np.flatnonzero(far > tolerance)
    if beyond.size:
        at = int(beyond[0])
        return (
            float(far.max()),
            int(a.steps[at]),
            f"{name}: {float(a.values[at])!r} was {float(b.values[at])!r} this time",
        )
    if len(a.steps) != len(b.steps):
        longer = a if len(a.steps) > n else b
        return (
            np.inf,
            int(longer.steps[n]),
            f"{name} has {len(a.steps)} points in the first run, {len(b.steps)} in the second",
        )
    return float(far.max(initial=0.0)), 2**62, name


def _weights(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[float, int, str]]:
    """Of networks whose weights are known: how far apart the models are, where both are kept."""
    if a.get("weights") == b.get("weights"):
        return [(0.0, 2**62, "weights")]
    kept = [next((one for one in each["artifacts"].values() if one["kind"] == "model"), None) for each in (a, b)]
    if None in kept:
        return [(np.inf, 2**62, "weights")]
    return [(_tensors_apart(*kept), 2**62, "weights")]


def _tensors_apart(one: Any, other: Any) -> float:
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as folder:
        tensors = []
        for number, kept in enumerate((one, other)):
            path = Path(folder) / str(number)
            fetch(kept["hash"], kept["root"], path)
            tensors.append(load_file(path))
    if {k: v.shape for k, v in tensors[0].items()} != {k: v.shape for k, v in tensors[1].items()}:
        return np.inf
    scale = max(float(np.abs(each).max(initial=0.0)) for each in tensors[0].values())
    far = [np.abs(v.astype(np.float64) - tensors[1][k].astype(np.float64)) for k, v in tensors[0].items()]
    same = [(v == tensors[1][k]) | (np.isnan(v) & np.isnan(tensors[1][k])) for k, v in tensors[0].items()]
    apart = [np.where(equal, 0.0, np.nan_to_num(one, nan=np.inf)) for one, equal in zip(far, same, strict=True)]
    return max(float(one.max(initial=0.0)) for one in apart) / max(scale, 1e-12)


def _data(details_: Mapping[str, Any], split: bool = True) -> dict[str, str]:
    """The hashes of data by name, and of the rows that they were split into."""
    found: dict[str, str] = {}
    for one in (*(details_.get("data") or ()), *(details_.get("data_read") or ())):
        name = one["name"]
        found[name if name not in found else f"{Path(one['path']).parent.name}/{name}"] = one["hash"]
    rows = details_.get("split") or {} if split else {}
    return found | {f"{name} rows": rows[name] for name in ("training", "validation", "test") if name in rows}


def _environment(details_: Mapping[str, Any]) -> dict[str, Any]:
    """Flat: packages by their names."""
    known = dict(details_.get("environment") or {})
    packages, variables = known.pop("packages", {}), known.pop("variables", {})
    return known | packages | {f"variable {name}": value for name, value in variables.items()}
