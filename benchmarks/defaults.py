"""Compare changes of the default hyperparameters by cross-validation on many tables.

    python benchmarks/defaults.py [--change "dropout=0.2" --change "members=8,folds=4" ...] [--tables german,moons]

Each change, one or more hyperparameters, is compared with the defaults. The tables are scikit-learn's, generated ones
and the *training rows* of those in `../shared/data`, split as in `benchmarks/quality.py`. Test rows are never used.
Each fold is a whole `fit`, scored on its held-out rows: AUC (one against rest) for classes, R2 for values. The last
column is the relative change of the error (1 - score) against the defaults, mean over tables. Errors below 0.02 count
as 0.02, so that tables that are easy to predict have little influence.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import SHARED, make_parser
from quality import TABLES, split
from sklearn import datasets

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.splits import stratified_parts
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import detect_task
from rosenblatt.models.fit import fit_model
from rosenblatt.models.metrics import compute_metrics
from rosenblatt.spec.spec import Spec

CHANGES = (
    "activation=relu",
    "activation=silu",
    "members=8,folds=8",
    "hidden_sizes=256;256",
    "hidden_sizes=256;256;256",
    "learning_rate=0.0005",
    "learning_rate=0.002",
    "dropout=0",
    "dropout=0.2",
    "weight_decay=0.1",
    "clip_norm=0",
    "bins=48",
    "numeric_encoding=robust",
    "numeric_encoding=quantile",
)
MAX_ROWS = 6000  # larger tables are sampled
TWO_FOLDS_MIN_ROWS = 2500  # larger tables use only two of the five folds


def load_tables(data: Path) -> dict[str, tuple[pl.DataFrame, np.ndarray, Target]]:
    """Typed rows, y and target of each table."""
    tables = {}
    if data.is_dir():
        for name, (_, target, task, _) in TABLES.items():
            training, _ = split(name, data)
            frame = training.frame.sample(min(MAX_ROWS, training.frame.height), seed=0, shuffle=True)
            supervised_task = detect_task(frame, [target], task)  # type: ignore[arg-type]
            rows = infer_schema(frame.drop(target), 64).read(frame)
            tables[name] = (rows, supervised_task.y, supervised_task.target(supervised_task.y, Spec()))
    generated = {
        "friedman 1": datasets.make_friedman1(1000, n_features=10, noise=1, random_state=0),
        "friedman 3": datasets.make_friedman3(500, noise=0.2, random_state=0),
        "diabetes": datasets.load_diabetes(return_X_y=True),
    }
    for name, (X, y) in generated.items():
        tables[name] = (_frame(X), y.reshape(-1, 1), Target.fit_regression(("y",), y.reshape(-1, 1), "auto"))
    classification = {
        "clusters": datasets.make_classification(
            1500, 20, n_informative=6, n_clusters_per_class=3, flip_y=0.05, random_state=0
        ),
        "moons": datasets.make_moons(600, noise=0.3, random_state=0),
        "tumors": datasets.load_breast_cancer(return_X_y=True),
        "digits": datasets.load_digits(return_X_y=True),
        "iris": datasets.load_iris(return_X_y=True),
    }
    for name, (X, y) in classification.items():
        labels = tuple(range(int(y.max()) + 1))
        task = "binary" if len(labels) == 2 else "multiclass"
        tables[name] = (_frame(X), y.astype(float), Target(names=("y",), task=task, labels=labels))
    return tables


def _frame(X: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({f"x{i}": column.astype(float) for i, column in enumerate(X.T)})


def cross_validated(spec: Spec, frame: pl.DataFrame, y: np.ndarray, target: Target) -> float:
    """Mean score over the folds."""
    n, fold_scores = len(y), []
    stratify = y.reshape(n, -1)[:, 0] if target.labels else None
    for fold, test_rows in enumerate(stratified_parts(n, 5, 100, stratify)[: 2 if n > TWO_FOLDS_MIN_ROWS else 5]):
        train_rows = np.setdiff1d(np.arange(n), test_rows)
        fold_target = target
        if not target.labels:
            fold_target = Target.fit_regression(("y",), y[train_rows], spec.data.target_transform)
        data = Dataset(frame[train_rows], y[train_rows])
        model = fit_model(spec.replace(seed=fold), schema_from_dtypes(frame), fold_target, data)
        predictions = model.predict_typed(frame[test_rows])
        by_name = compute_metrics(fold_target, y[test_rows], predictions)
        fold_scores.append(next(by_name[name] for name in ("AUC", "AUC (one against rest)", "R2") if name in by_name))
    return float(np.mean(fold_scores))


def hyperparameters(change: str) -> dict[str, str]:
    """Parse a change such as "dropout=0.2,hidden_sizes=64;64"."""
    pairs = (pair.split("=") for pair in change.split(",") if pair)
    return {name.strip(): value.replace(";", ",") for name, value in pairs}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--change", action="append", help="hyperparameters to try; items of lists separated by ;")
    parser.add_argument("--tables", help="names of tables, separated by commas; default: all")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with the real tables")
    arguments = parser.parse_args()
    names = arguments.tables.split(",") if arguments.tables else None
    selected = {name: table for name, table in load_tables(arguments.data).items() if names is None or name in names}
    out = sys.stderr if arguments.json else sys.stdout
    print(f"{'change':26}", *(f"{name[:9]:>9}" for name in selected), f"{'s':>5} {'error':>7}", file=out)
    result: dict[str, Any] = {}
    for change in ("", *(arguments.change or CHANGES)):
        started = time.perf_counter()
        spec = Spec.from_hyperparameters(**hyperparameters(change))
        table_scores = {name: cross_validated(spec, *table) for name, table in selected.items()}
        result[change or "defaults"] = table_scores
        base = result["defaults"]
        error_reduction = np.mean([(table_scores[name] - base[name]) / max(1 - base[name], 0.02) for name in selected])
        numbers = " ".join(f"{value:9.4f}" for value in table_scores.values())
        seconds = time.perf_counter() - started
        print(f"{change or 'defaults':26} {numbers} {seconds:5.0f} {-error_reduction:+7.1%}", file=out, flush=True)
    if arguments.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
