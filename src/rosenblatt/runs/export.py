"""Export of runs to tables, TensorBoard event files or MLflow."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt.errors import StorageError
from rosenblatt.runs.store.curves import CurvePoints
from rosenblatt.runs.store.details import RunDetails
from rosenblatt.runs.store.queries import load_all_curves, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.stored_model import StoredModel

_RunWithCurves = tuple[RunDetails, dict[str, CurvePoints]]
# columns of the table of runs, before those of hyperparameters, tags and metrics
_ATTRIBUTES = ("id", "experiment", "name", "kind", "state", "reason", "started", "ended", "parent", "number")


def export(
    store: Store, ids: Sequence[str], file_format: str, out: str, on_exported: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Export runs with all points of their curves.

    Args:
        store: The store.
        ids: The runs.
        file_format: parquet or csv (tables `runs` and `curves` in the folder `out`), tensorboard (a folder of event
            files for each run) or mlflow (`out` is its tracking address, such as sqlite:///mlflow.db).
        out: The folder or address to write to.
        on_exported: Called with the id of each exported run.

    Returns:
        The files or addresses that were written.

    Raises:
        StorageError: If they cannot be written, or the library of the format is not installed.
    """
    runs = _load_runs(store, ids, on_exported)
    try:
        if file_format == "tensorboard":
            return _to_tensorboard(runs, out)
        return _to_mlflow(runs, out) if file_format == "mlflow" else _to_tables(runs, file_format, out)
    except ModuleNotFoundError as error:
        raise StorageError(
            f"Exports to {file_format} need a package that is not installed: pip install {error.name}."
        ) from error
    except OSError as error:
        raise StorageError(f"{out!r} cannot be written: {error.strerror or error}.") from error


def _load_runs(store: Store, ids: Sequence[str], on_exported: Callable[[str], None]) -> Iterator[_RunWithCurves]:
    for run in ids:
        yield run_details(store, run), load_all_curves(store, run)
        on_exported(run)


def _to_tables(runs: Iterator[_RunWithCurves], file_format: str, out: str) -> list[str]:
    import polars as pl

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    rows, curves = [], []
    for run, run_curves in runs:
        row = run.model_dump(include=set(_ATTRIBUTES))
        row |= {f"params.{name}": param.value for name, param in run.params.items()}
        row |= {f"tags.{name}": value for name, value in run.tags.items()}
        for name, metric in run.metrics.items():
            row |= {f"metrics.{name}": metric.last, f"metrics.{name}.best": metric.best}
        rows.append(row)
        for name, points in run_curves.items():
            frame = pl.DataFrame({"step": points.steps, "time": points.times / 1e6, "value": points.values})
            curves.append(frame.select(pl.lit(run.id).alias("run"), pl.lit(name).alias("metric"), pl.all()))
    tables = {
        "runs": pl.DataFrame(rows, infer_schema_length=None),
        "curves": pl.concat(curves) if curves else pl.DataFrame({"run": [], "metric": [], "step": [], "value": []}),
    }
    paths = []
    for name, table in tables.items():
        path = folder / f"{name}.{file_format}"
        table.write_parquet(path) if file_format == "parquet" else table.write_csv(path)
        paths.append(str(path))
    return paths


def _to_tensorboard(runs: Iterator[_RunWithCurves], out: str) -> list[str]:
    from rosenblatt.runs.integrations.tensorboard import write

    for run, curves in runs:
        params = {name: param.value for name, param in run.params.items()}
        write(Path(out) / _run_folder_name(run), curves, params, run.started)
    return [out]


def _to_mlflow(runs: Iterator[_RunWithCurves], out: str) -> list[str]:
    from rosenblatt.runs.integrations.mlflow import Exporter

    exporter = Exporter(out)
    for run, curves in runs:
        points = [
            (_mlflow_key(name), value, int(time // 1000), step)
            for name, curve in curves.items()
            for step, time, value in zip(*(column.tolist() for column in curve), strict=True)
        ]
        exporter.write(run, {_mlflow_key(name): param.value for name, param in run.params.items()}, points)
    return [out]


def _run_folder_name(run: RunDetails) -> str:
    return re.sub(r"[^\w.-]+", "_", f"{run.experiment}-{run.name or run.id}-{run.id}")


def _mlflow_key(name: str) -> str:
    """Replace characters that MLflow does not allow in names, and shorten to the length that it does."""
    return re.sub(r"[^\w\-. /:]", "_", name)[:250]


def to_json(value: Any) -> str:
    """Format a value as standard JSON: NaN becomes null, infinities "inf" and "-inf"."""

    def to_builtin(item: Any) -> Any:
        if isinstance(item, float | np.floating) and not math.isfinite(item):
            return None if math.isnan(item) else str(float(item))
        if isinstance(item, StoredModel):
            return to_builtin(item.to_json())
        if is_dataclass(item) and not isinstance(item, type):
            return to_builtin(asdict(item))
        if isinstance(item, dict):
            return {str(k): to_builtin(v) for k, v in item.items()}
        if isinstance(item, list | tuple):
            return [to_builtin(v) for v in item]
        return item.item() if isinstance(item, np.generic) else item

    return json.dumps(to_builtin(value), indent=2, default=str)
