"""Comparison of two runs of a store: what differs between their inputs, and their best scores."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rosenblatt.errors import RosenblattError
from rosenblatt.runs.capture.git import diff_folders
from rosenblatt.runs.capture.restore import restore
from rosenblatt.runs.capture.source import Source, source_hash
from rosenblatt.runs.store.artifacts import Artifacts, has_changed
from rosenblatt.runs.store.details import RunDetails
from rosenblatt.runs.store.queries import run_details
from rosenblatt.runs.store.store import Store

Differences = dict[str, list[Any]]
"""By name, the values in the first and in the second run; None if a run has none."""

_VARIABLE = "variable "  # begins the names of environment variables
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


def list_inputs(run: RunDetails) -> dict[str, dict[str, Any]]:
    """The inputs of a run, by section (hyperparameters, data, environment) and name."""
    return {
        "hyperparameters": {name: param.value for name, param in run.params.items()},
        "data": _data_hashes(run),
        "environment": _flatten_environment(run),
    }


def diff_dicts(a: Mapping[str, Any], b: Mapping[str, Any]) -> Differences:
    """Find the names whose values differ."""
    return {name: [a.get(name), b.get(name)] for name in sorted({*a, *b}) if a.get(name) != b.get(name)}


def possible_causes(a: RunDetails, b: RunDetails) -> dict[str, Differences]:
    """Find what may have caused different results, by kind.

    The kinds are source, data, argument, package, variable, seed, hyperparameter and hardware.
    """
    hardware, variables, packages = Differences(), Differences(), Differences()
    for name, pair in diff_dicts(_flatten_environment(a), _flatten_environment(b)).items():
        kind = hardware if name in _HARDWARE else variables if name.startswith(_VARIABLE) else packages
        kind[name.removeprefix(_VARIABLE)] = pair
    params = _diff_params(a, b)
    seeds = {name: pair for name, pair in params.items() if "seed" in name.lower()}
    seeds |= diff_dicts(a.seeds, b.seeds)
    sources = [{"source": run.source_hash, "engine": run.engine.get("source")} for run in (a, b)]
    causes = {
        "source": diff_dicts(*sources),
        "data": diff_dicts(*(_data_hashes(run, split=not seeds) for run in (a, b))),  # seeds change the split, too
        "argument": diff_dicts(*({"arguments": _script_arguments(run)} for run in (a, b))),
        "package": packages,
        "variable": variables,
        "seed": seeds,
        "hyperparameter": {name: pair for name, pair in params.items() if name not in seeds},
        "hardware": hardware,
    }
    return {kind: differences for kind, differences in causes.items() if differences}


def source_difference(artifacts: Artifacts, a: Source | None, b: Source | None) -> str:
    """Compare two sources in the format of `diff -u`; a sentence says so if one of them cannot be restored."""
    if not a or not b or source_hash(a) == source_hash(b):
        return ""
    with tempfile.TemporaryDirectory() as temporary_folder:
        folders = Path(temporary_folder) / "a", Path(temporary_folder) / "b"
        try:
            for source, folder in zip((a, b), folders, strict=True):
                restore(_move_outside_files(source), folder, artifacts.fetch, as_repository=False)
        except RosenblattError as error:
            return f"The sources differ, but cannot be shown: {error}"
        return diff_folders(folders)


def _move_outside_files(source: Source) -> Source:
    """Put the modules from outside of the root of a source into its folder `outside`, whatever the root is called."""
    moved = {f"outside/{name.replace('../', '')}": file for name, file in source.outside.items()}
    return replace(source, files={**source.files, **moved}, outside={})


def list_source_changes(first: Source, second: Source, since: float) -> list[str]:
    """List the files in which two sources of the same folder differ, and the commit.

    Files that are no Python code count only if they were changed after `since`, seconds since 1970: before, the run
    itself may have written them. Without git, modules that `second` has not imported yet are read from the disk.
    """
    changes = [] if first.tree == second.tree else [f"commit {second.commit or 'none'}"]
    for name, old in sorted(first.files.items()):
        path, new = Path(second.root) / name, second.files.get(name)
        if name not in second.files and not second.is_repository:
            is_changed = bool(old and old.hash and has_changed(path, old.hash))
        else:
            is_changed = (old and (old.hash, old.link)) != (new and (new.hash, new.link))
        if is_changed and (name.endswith(".py") or not path.is_file() or path.stat().st_mtime > since + 1):
            changes.append(name)
    new_files = second.files.keys() - first.files.keys() if second.is_repository else ()
    return changes + sorted(name for name in new_files if name.endswith(".py"))


def _diff_params(a: RunDetails, b: RunDetails) -> Differences:
    return diff_dicts(*({name: param.value for name, param in run.params.items()} for run in (a, b)))


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
    return environment | packages | {f"{_VARIABLE}{name}": value for name, value in variables.items()}


def _script_arguments(run: RunDetails) -> str:
    """The arguments of the script that a run records, as text."""
    if run.launch:
        return " ".join(run.launch.arguments)
    first, *rest = (run.arguments if run.kind == "track" else ()) or ("",)
    return " ".join(rest[1:] if first == "-m" else rest)
