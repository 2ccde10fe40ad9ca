"""In: runs of a store. Out: the same as tables, for TensorBoard, or in MLflow."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt.errors import StorageError
from rosenblatt.runs.store.queries import all_curves, details
from rosenblatt.runs.store.store import Store

FORMATS = ("parquet", "csv", "tensorboard", "mlflow")
_ATTRIBUTES = ("id", "experiment", "name", "kind", "state", "reason", "started", "ended", "parent", "number")


def export(
    store: Store, ids: Sequence[str], to: str, out: str, done: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Write runs with all their points; `done` is told each run that is written. Returns what was written.

    Args:
        to: parquet or csv (`runs` and `curves` in the folder `out`), tensorboard (a folder of event files for each
            run), mlflow (`out` is its tracking address, such as sqlite:///mlflow.db).

    Raises StorageError where it cannot be written, or the other library is missing.
    """
    writer = {"parquet": _to_tables, "csv": _to_tables, "tensorboard": _to_tensorboard, "mlflow": _to_mlflow}[to]
    try:
        return writer(store, ids, to, out, done)
    except ModuleNotFoundError as error:
        raise StorageError(f"Exports to {to} need it: pip install {error.name}.") from error
    except OSError as error:
        raise StorageError(f"{out!r} cannot be written: {error.strerror or error}.") from error


def _to_tables(store: Store, ids: Sequence[str], to: str, out: str, done: Callable[[str], None]) -> list[str]:
    import polars as pl

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    rows, curves = [], []
    for run in ids:
        known = details(store, run)
        row: dict[str, Any] = {name: known[name] for name in _ATTRIBUTES}
        row |= {f"params.{name}": param["value"] for name, param in known["params"].items()}
        row |= {f"tags.{name}": value for name, value in known["tags"].items()}
        for name, metric in known["metrics"].items():
            row |= {f"metrics.{name}": metric["last"], f"metrics.{name}.best": metric["best"]}
        rows.append(row)
        for name, points in all_curves(store, run).items():
            columns = {"step": points.steps, "time": points.times / 1e6, "value": points.values}
            curves.append(
                pl.DataFrame(columns).select(pl.lit(run).alias("run"), pl.lit(name).alias("metric"), pl.all())
            )
        done(run)
    tables = {
        "runs": pl.DataFrame(rows, infer_schema_length=None),
        "curves": pl.concat(curves) if curves else pl.DataFrame({"run": [], "metric": [], "step": [], "value": []}),
    }
    written = []
    for name, table in tables.items():
        path = folder / f"{name}.{to}"
        table.write_parquet(path) if to == "parquet" else table.write_csv(path)
        written.append(str(path))
    return written


def _to_tensorboard(store: Store, ids: Sequence[str], to: str, out: str, done: Callable[[str], None]) -> list[str]:
    from rosenblatt.runs.integrations.tensorboard import write

    del to
    for run in ids:
        known = details(store, run)
        params = {name: param["value"] for name, param in known["params"].items()}
        write(Path(out) / _folder_name(known), all_curves(store, run), params, known["started"])
        done(run)
    return [out]


def _to_mlflow(store: Store, ids: Sequence[str], to: str, out: str, done: Callable[[str], None]) -> list[str]:
    from rosenblatt.runs.integrations.mlflow import Exporter

    del to
    exporter = Exporter(out)
    for run in ids:
        known = details(store, run)
        points = [
            (_key(name), value, int(time // 1000), step)
            for name, curve in all_curves(store, run).items()
            for step, time, value in zip(*(column.tolist() for column in curve), strict=True)
        ]
        exporter.write(known, {_key(name): param["value"] for name, param in known["params"].items()}, points)
        done(run)
    return [out]


def _folder_name(known: dict[str, Any]) -> str:
    return re.sub(r"[^\w.-]+", "_", f"{known['experiment']}-{known['name'] or known['id']}-{known['id']}")


def _key(name: str) -> str:
    """A name as MLflow takes it."""
    return re.sub(r"[^\w\-. /:]", "_", name)[:250]


def to_json(value: Any) -> str:
    """JSON in which NaN and infinity are null or words, as any reader of JSON takes it."""

    def plain(each: Any) -> Any:
        if isinstance(each, float | np.floating) and not math.isfinite(each):
            return None if math.isnan(each) else str(float(each))
        if isinstance(each, dict):
            return {str(k): plain(v) for k, v in each.items()}
        if isinstance(each, list | tuple):
            return [plain(v) for v in each]
        return each.item() if isinstance(each, np.generic) else each

    return json.dumps(plain(value), indent=2, default=str)
