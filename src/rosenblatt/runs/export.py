"""Export of runs to tables, TensorBoard event files or MLflow."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt.errors import Notify, StorageError, format_count
from rosenblatt.runs.store.curves import CurvePoints
from rosenblatt.runs.store.details import RunDetails
from rosenblatt.runs.store.queries import load_all_curves, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.stored_model import StoredModel

if TYPE_CHECKING:
    import polars as pl

MAX_FOLDER_NAME = 60  # characters of experiment and name in the name of a folder; up to 240 bytes in UTF-8
MAX_LISTED_FAILURES = 3  # in a message
_RunWithCurves = tuple[RunDetails, dict[str, CurvePoints]]
# columns of the table of runs, before those of hyperparameters, tags and metrics
_ATTRIBUTES = ("id", "experiment", "name", "kind", "state", "reason", "started", "ended", "parent", "number")


def export(
    store: Store,
    ids: Sequence[str],
    file_format: str,
    out: str,
    on_exported: Callable[[str], None] = lambda _: None,
    notify: Notify = lambda _: None,
) -> list[str]:
    """Export runs with all points of their curves.

    Args:
        store: The store.
        ids: The runs.
        file_format: parquet or csv (tables `runs` and `curves` in the folder `out`), tensorboard (a folder of event
            files for each run) or mlflow (`out` is its tracking address, such as sqlite:///mlflow.db).
        out: The folder or address to write to.
        on_exported: Called with the id of each exported run.
        notify: Called with messages on what was changed or left out.

    Returns:
        The files or addresses that were written.

    Raises:
        StorageError: If some of them cannot be written, or the library of the format is not installed.
    """
    runs = _load_runs(store, ids, on_exported)
    try:
        if file_format == "tensorboard":
            return _to_tensorboard(runs, out)
        if file_format == "mlflow":
            return _to_mlflow(runs, out, notify)
        return _to_tables(runs, file_format, out, notify)
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


def _to_tables(runs: Iterator[_RunWithCurves], file_format: str, out: str, notify: Notify) -> list[str]:
    import polars as pl

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    rows, curves = [], []
    schema = {"run": pl.String, "metric": pl.String, "step": pl.Int64, "time": pl.Float64, "value": pl.Float64}
    for run, run_curves in runs:
        row = run.model_dump(include=set(_ATTRIBUTES))
        row |= {f"params.{name}": param.value for name, param in run.params.items()}
        row |= {f"tags.{name}": value for name, value in run.tags.items()}
        for name, metric in run.metrics.items():
            row[f"metrics.{name}"] = metric.last
            best = f"metrics.{name}.best"  # also the name of the column of a metric `NAME.best`
            row[best if f"{name}.best" not in run.metrics else f"{best} value"] = metric.best
        rows.append(row)
        for name, points in run_curves.items():
            frame = pl.DataFrame({"step": points.steps, "time": points.times / 1e6, "value": points.values})
            curves.append(frame.select(pl.lit(run.id).alias("run"), pl.lit(name).alias("metric"), pl.all()))
    tables = {
        "runs": pl.DataFrame(rows, infer_schema_length=None),
        "curves": pl.concat([pl.DataFrame(schema=schema), *curves]),
    }
    paths = {name: folder / f"{name}.{file_format}" for name in tables}
    if file_format == "parquet":
        for name, table in tables.items():
            table.write_parquet(paths[name])
    else:
        n_guarded = sum(_write_csv(table, paths[name]) for name, table in tables.items())
        if n_guarded:
            notify(
                f"{format_count(n_guarded, 'cell')} with text that spreadsheets would run as a formula: an apostrophe "
                "was put before it. Parquet files hold the text as it is."
            )
    return [str(path) for path in paths.values()]


def _write_csv(table: pl.DataFrame, path: Path) -> int:
    """Write a table with an apostrophe before texts that begin like a formula; returns their number."""
    import polars as pl

    texts = table.select(pl.col(pl.String))
    is_formula = pl.all().str.contains(r"^[=+\-@\t\r\n＝＋－＠]") & pl.all().cast(pl.Float64, strict=False).is_null()
    flags = texts.select(is_formula.fill_null(False))
    guarded = [
        pl.select(pl.when(flags[name]).then("'" + texts[name]).otherwise(texts[name])).to_series().alias(name)
        for name in texts.columns
    ]
    table.with_columns(guarded).write_csv(path)
    return int(flags.sum().sum_horizontal().sum() or 0) if texts.width else 0


def _to_tensorboard(runs: Iterator[_RunWithCurves], out: str) -> list[str]:
    from rosenblatt.runs.integrations.tensorboard import write

    for run, curves in runs:
        params = {name: param.value for name, param in run.params.items()}
        write(Path(out) / _run_folder_name(run), curves, params, run.started)
    return [out]


def _to_mlflow(runs: Iterator[_RunWithCurves], out: str, notify: Notify) -> list[str]:
    from rosenblatt.runs.integrations.mlflow import Exporter

    exporter = Exporter(out)
    for run, curves in runs:
        exporter.write(run, curves)
    for message in exporter.messages():
        notify(message)
    if failures := exporter.failures:
        reasons = "; ".join(f"{run}: {reason}" for run, reason in list(failures.items())[:MAX_LISTED_FAILURES])
        raise StorageError(
            f"{format_count(len(failures), 'run')} could not be exported in full ({reasons}). The others are exported."
        )
    return [out]


def _run_folder_name(run: RunDetails) -> str:
    names, run_id = (re.sub(r"[^\w.-]+", "_", text) for text in (f"{run.experiment}-{run.name or run.kind}", run.id))
    return f"{names[:MAX_FOLDER_NAME]}-{run_id}"


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
