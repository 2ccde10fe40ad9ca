"""Compare test scores on real tables: one `fit` with scikit-learn's MLP, or a search with boosted trees.

    python benchmarks/quality.py [--json] [--tables adult,german] [--data FOLDER]
    python benchmarks/quality.py --minutes 2 [--seed 1]        # pip install 'rosenblatt[benchmarks]' for all peers

The tables in `../shared/data` are public (UCI repository). Adult has a test file. Of the other tables, a fifth of the
rows are test rows: `train_test_split(test_size=0.2, random_state=0)`, stratified for classes. scikit-learn's MLP is
used as its documentation advises: missing values replaced by the median, standardized numbers, one-hot categories. It
is fitted with and without early stopping, and the better test score counts.

With `--minutes`, a search of that duration over the default space is compared with scikit-learn's histogram gradient
boosting, CatBoost and RealMLP-TD (pytabkit). Each uses its defaults, which its authors tuned on many tables. Below
10,000 rows, RealMLP-TD is the mean over five folds. CatBoost and boosting get categories unencoded. The last line is
the mean rank over all scores.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from common import SHARED, make_parser, require_data
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from rosenblatt.data.readers.read import read_table
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.table import Table
from rosenblatt.data.tasks.task import detect_task, read_targets
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit

SEARCH_GOALS = {
    "adult": 0.925,
    "german": 0.79,
    "abalone": 0.595,
    "wine quality": 0.46,
    "housing": 0.77,
    "auto imports": 0.95,
}
FIVE_FOLDS_MAX_ROWS = 10_000  # RealMLP-TD uses five folds below this size


class BenchmarkTable(NamedTuple):
    """A table, its target, its task (None to detect it) and the goals for one fit."""

    file: str
    target: str
    task: str | None
    goals: dict[str, float]


TABLES = {
    "adult": BenchmarkTable("adult-train.csv", "income", None, {"AUC": 0.918, "accuracy": 0.862}),
    "german": BenchmarkTable("german.csv", "risk", None, {"AUC": 0.775}),
    "abalone": BenchmarkTable("abalone.csv", "rings", "regression", {"R2": 0.585}),
    "wine quality": BenchmarkTable("winequality-white.csv", "quality", "regression", {"R2": 0.43}),
    "housing": BenchmarkTable("housing.csv", "medv", "regression", {"R2": 0.74}),
    "auto imports": BenchmarkTable("auto_imports.csv", "price", "regression", {"R2": 0.93}),
}


def split(name: str, folder: Path) -> tuple[Table, Table]:
    """Split a table into training and test rows."""
    file, target, task, _ = TABLES[name]
    table = read_table(folder / file)
    if name == "adult":
        return table, read_table(folder / "adult-test.csv")
    stratify = table.frame[target].to_numpy() if task is None else None
    training, test = train_test_split(np.arange(table.frame.height), test_size=0.2, random_state=0, stratify=stratify)
    return Table(table.frame[training], file), Table(table.frame[test], file)


def fit_ours(
    name: str, training: Table, test: Table, seed: int, minutes: float | None = None
) -> tuple[dict[str, float], float]:
    """Fit with default hyperparameters, or search; returns test scores and seconds."""
    _, target, task, _ = TABLES[name]
    started = time.perf_counter()
    spec = Spec.from_hyperparameters(seed=seed, minutes=minutes)
    result = fit(training, [target], spec, task=task, test=test, notify=lambda _: None)  # type: ignore[arg-type]
    return {score.name: score.model for score in result.scores}, time.perf_counter() - started


def fit_sklearn(name: str, training: Table, test: Table, early_stopping: bool) -> tuple[dict[str, float], float]:
    """Fit scikit-learn's MLP; returns test scores and seconds."""
    _, target, task, _ = TABLES[name]
    supervised_task = detect_task(training.frame, [target], task)  # type: ignore[arg-type]
    y = supervised_task.y.ravel()
    y_test = read_targets(test.frame, supervised_task.target(supervised_task.y, Spec())).ravel()
    schema = infer_schema(training.frame.drop(target), 64)
    started = time.perf_counter()
    model = make_pipeline(_preprocessing(schema), _network(task, early_stopping))
    model.fit(_pandas(schema, training.frame), y)
    X = _pandas(schema, test.frame)
    if task == "regression":
        scores = {"R2": r2_score(y_test, model.predict(X))}
    else:
        scores = {
            "AUC": roc_auc_score(y_test, model.predict_proba(X)[:, 1]),
            "accuracy": accuracy_score(y_test, model.predict(X)),
        }
    return scores, time.perf_counter() - started


def _network(task: str | None, early_stopping: bool) -> Any:
    network = MLPRegressor if task == "regression" else MLPClassifier
    return network(early_stopping=early_stopping, random_state=0)


def _preprocessing(schema: Schema) -> ColumnTransformer:
    typed = schema.read(pl.DataFrame({column.name: [None] for column in schema.columns}))
    numbers = [series.name for series in typed if series.dtype == pl.Float64]
    categories = [name for name in typed.columns if name not in numbers]
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
        ]
    )


def _pandas(schema: Schema, frame: pl.DataFrame) -> Any:
    import pandas as pd

    return pd.DataFrame({series.name: series.to_numpy() for series in schema.read(frame)})


def fit_search_peers(name: str, training: Table, test: Table) -> dict[str, tuple[dict[str, float], float]]:
    """Fit the peers of a search; returns test scores and seconds of each."""
    import pandas as pd

    _, target, task, _ = TABLES[name]
    supervised_task = detect_task(training.frame, [target], task)  # type: ignore[arg-type]
    y, is_regression = supervised_task.y.ravel(), task == "regression"
    y_test = read_targets(test.frame, supervised_task.target(supervised_task.y, Spec())).ravel()
    schema = infer_schema(training.frame.drop(target), 64)
    X, X_test = _pandas(schema, training.frame), _pandas(schema, test.frame)
    text_columns = [column for column in X if not pd.api.types.is_numeric_dtype(X[column])]
    for frame in (X, X_test):
        frame[text_columns] = (
            frame[text_columns].astype(object).where(frame[text_columns].notna(), "missing").astype(str)
        )

    def boosting() -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
        category_types = {column: pd.CategoricalDtype(sorted(X[column].unique())) for column in text_columns}
        model = kind(random_state=0, categorical_features="from_dtype").fit(X.astype(category_types), y)
        return lambda: _predict(model, X_test.astype(category_types), is_regression)

    def catboost() -> Any:
        from catboost import CatBoostClassifier, CatBoostRegressor

        kind = CatBoostRegressor if is_regression else CatBoostClassifier
        model = kind(cat_features=text_columns, verbose=0, random_seed=0, allow_writing_files=False).fit(X, y)
        return lambda: _predict(model, X_test, is_regression)

    def realmlp() -> Any:
        from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

        kind = RealMLP_TD_Regressor if is_regression else RealMLP_TD_Classifier
        medians = X.median(numeric_only=True)  # it does not accept missing numbers
        model = kind(random_state=0, device="cpu", n_cv=5 if len(y) < FIVE_FOLDS_MAX_ROWS else 1, verbosity=0)
        model.fit(X.fillna(medians), y)
        return lambda: _predict(model, X_test.fillna(medians), is_regression)

    results = {}
    for peer, fit_peer in (("boosting", boosting), ("CatBoost", catboost), ("RealMLP-TD", realmlp)):
        started = time.perf_counter()
        try:
            predictions = fit_peer()()
        except ImportError as error:
            print(f"{peer} is not installed and is skipped: {error}", file=sys.stderr)
            continue
        seconds = time.perf_counter() - started
        if is_regression:
            results[peer] = {"R2": r2_score(y_test, predictions)}, seconds
        else:
            results[peer] = (
                {"AUC": roc_auc_score(y_test, predictions), "accuracy": accuracy_score(y_test, predictions > 0.5)},
                seconds,
            )
    return results


def _predict(model: Any, X: Any, is_regression: bool) -> np.ndarray:
    return np.asarray(model.predict(X)).ravel() if is_regression else np.asarray(model.predict_proba(X))[:, 1]


def measure_searches(names: list[str], folder: Path, seed: int, minutes: float) -> list[dict[str, Any]]:
    """Search on each table and compare; returns a row for each table and score."""
    rows = []
    for name in names:
        training, test = split(name, folder)
        results = {
            "rosenblatt": fit_ours(name, training, test, seed, minutes),
            **fit_search_peers(name, training, test),
        }
        for score in TABLES[name].goals:
            row: dict[str, Any] = {
                "table": name,
                "score": score,
                "goal": SEARCH_GOALS[name] if score != "accuracy" else None,
            }
            row |= {peer: scores[score] for peer, (scores, _) in results.items()}
            row |= {f"{peer} seconds": seconds for peer, (_, seconds) in results.items()}
            rows.append(row)
            summary = ", ".join(
                f"{peer} {scores[score]:.4f} ({seconds:.0f} s)" for peer, (scores, seconds) in results.items()
            )
            print(f"{name:13} {score:9} goal {row['goal'] or '':5}  {summary}", file=sys.stderr, flush=True)
    return rows


def show_ranks(rows: list[dict[str, Any]]) -> None:
    """Print the scores and the mean ranks."""
    peers = [peer for peer in ("rosenblatt", "boosting", "CatBoost", "RealMLP-TD") if all(peer in row for row in rows)]
    print(f"{'table':13} {'score':9} {'goal':>6} " + " ".join(f"{peer:>11}" for peer in peers))
    ranks = []
    for row in rows:
        scores = [row[peer] for peer in peers]
        ranks.append([1 + sum(other_score > score for other_score in scores) for score in scores])
        print(
            f"{row['table']:13} {row['score']:9} {row['goal'] or '':>6} "
            + " ".join(f"{score:11.4f}" for score in scores)
        )
    print(f"{'mean rank':30} " + " ".join(f"{mean:11.2f}" for mean in np.mean(ranks, axis=0)))


def measure(name: str, folder: Path, seed: int) -> list[dict[str, Any]]:
    """Compare one table; returns a row for each score with a goal."""
    training, test = split(name, folder)
    our_scores, our_seconds = fit_ours(name, training, test, seed)
    peers = [fit_sklearn(name, training, test, early_stopping) for early_stopping in (False, True)]
    rows = []
    for score, goal in TABLES[name].goals.items():
        peer = max(scores[score] for scores, _ in peers)
        rows.append(
            {
                "table": name,
                "score": score,
                "rosenblatt": our_scores[score],
                "goal": goal,
                "reached": bool(our_scores[score] >= goal),
                "scikit-learn": peer,
                "seconds": our_seconds,
                "scikit-learn seconds": sum(seconds for _, seconds in peers),
            }
        )
    return rows


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--tables", default=",".join(TABLES), help="names of tables, separated by commas")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with the tables")
    parser.add_argument("--seed", type=int, default=0, help="seed of Rosenblatt's fit")
    parser.add_argument("--minutes", type=float, help="search for this long, and compare with trees and RealMLP-TD")
    arguments = parser.parse_args()
    require_data(arguments.data)
    warnings.filterwarnings("ignore")  # convergence warnings of scikit-learn
    if arguments.minutes:
        rows = measure_searches(arguments.tables.split(","), arguments.data, arguments.seed, arguments.minutes)
        print(json.dumps(rows, indent=2)) if arguments.json else show_ranks(rows)
        return
    rows = []
    head = f"{'table':13} {'score':9} {'rosenblatt':>10} {'goal':>6} {'':7} {'scikit-learn':>12} {'seconds':>8} theirs"
    print(head, file=sys.stderr if arguments.json else sys.stdout)
    for name in arguments.tables.split(","):
        for row in measure(name, arguments.data, arguments.seed):
            rows.append(row)
            line = (
                f"{name:13} {row['score']:9} {row['rosenblatt']:10.4f} {row['goal']:6} "
                f"{'reached' if row['reached'] else 'below':7} {row['scikit-learn']:12.4f} {row['seconds']:8.1f} "
                f"{row['scikit-learn seconds']:7.1f}"
            )
            print(line, file=sys.stderr if arguments.json else sys.stdout, flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
