"""In: what was predicted and what is true. Out: the usual scores, beside those of a trivial baseline.

The formulas are those of scikit-learn's metrics, and tested against them; importing these takes a second, which a
command on a small table does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rosenblatt.data.tasks.target import Target


@dataclass(frozen=True)
class Score:
    """One score of a model, and of the baseline on the same rows."""

    name: str
    model: float
    baseline: float
    higher_is_better: bool


def of_steps(target: Target, y: np.ndarray, decoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers (n, T) and what is said (n, T, K) of steps as rows (steps,) and (steps, K); others as they are."""
    if not target.each_step or y.ndim == 1:
        return y, decoded
    steps = min(y.shape[1], decoded.shape[1])
    inside = y[:, :steps] >= 0
    return y[:, :steps][inside], decoded[:, :steps][inside]


def forecast_scores(truth: np.ndarray, said: np.ndarray, trivial: np.ndarray) -> list[Score]:
    """The scores of forecasts (n, horizon), beside trivial ones."""

    def measures(one: np.ndarray) -> dict[str, float]:
        error = truth - one
        found = {"mean absolute error": np.abs(error).mean(), "root mean squared error": np.sqrt((error**2).mean())}
        ends = {} if truth.shape[1] == 1 else {"mean absolute error of the last step": np.abs(error[:, -1]).mean()}
        return {name: float(value) for name, value in (found | ends).items()}

    base = measures(trivial)
    return [Score(name, value, base[name], higher_is_better=False) for name, value in measures(said).items()]


def baseline(target: Target, y: np.ndarray) -> list[float]:
    """What is known without looking at a row: the classes' or labels' shares, or the values' means, in `y`."""
    if target.each_step:
        y = y[y >= 0]
    if target.labels:
        return (np.bincount(y.astype(int), minlength=len(target.labels)) / len(y)).tolist()
    return y.mean(axis=0).tolist()


def scores(target: Target, y: np.ndarray, decoded: np.ndarray, base: list[float]) -> list[Score]:
    """Compare predictions (see `Model.decoded`) with the truth y (see `Question.y`); `base` as `baseline` gives it."""
    y, decoded = of_steps(target, y, decoded)
    ours = _measures(target, y, decoded)
    trivial = _measures(target, y, np.tile(np.asarray(base), (len(y), 1)))
    return [Score(name, value, trivial[name], not name.startswith(_LOWER_IS_BETTER)) for name, value in ours.items()]


_LOWER_IS_BETTER = ("log loss", "perplexity", "root mean squared error", "mean absolute error")


def _measures(target: Target, y: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    if target.task == "regression":
        found: dict[str, float] = {}
        for k, name in enumerate(target.names):
            of = f" of {name}" if len(target.names) > 1 else ""
            truth, said = y[:, k], decoded[:, k]
            found[f"R2{of}"] = r2(truth, said)
            found[f"root mean squared error{of}"] = float(np.sqrt(np.mean((truth - said) ** 2)))
            found[f"mean absolute error{of}"] = float(np.mean(np.abs(truth - said)))
        return _finite(found)
    decided = target.decide(decoded)
    if target.task == "multilabel":
        return _finite(
            {
                "all labels right": float((y == decided).all(axis=1).mean()),
                "labels right": float((y == decided).mean()),
                "F1 (mean of labels)": float(np.mean([f1(t, d) for t, d in zip(y.T, decided.T, strict=True)])),
                "AUC (mean of labels)": _auc(y, decoded),
            }
        )
    if target.task == "language":
        right = decoded[np.arange(len(y)), y.astype(int)]
        lost = float(-np.log(np.maximum(right, np.finfo(float).eps)).mean())
        return {"accuracy": float((y == decided).mean()), "log loss": lost, "perplexity": float(np.exp(lost))}
    classes = np.arange(len(target.labels))
    recalls = [float((decided[y == k] == k).mean()) for k in classes if (y == k).any()]
    found = {
        "accuracy": float((y == decided).mean()),
        "balanced accuracy": float(np.mean(recalls)),
    }
    if target.task == "binary":
        found["AUC"] = _auc(y, decoded[:, 1])
        found[f"F1 of {target.labels[1]}"] = f1(y, decided)
    else:
        found["AUC (one against rest)"] = _mean_auc(y, decoded)
        met = [k for k in classes if (y == k).any() or (decided == k).any()]
        found["F1 (mean of classes)"] = float(np.mean([f1(y == k, decided == k) for k in met]))
    if target.answers == "probabilities":
        right = decoded[np.arange(len(y)), y.astype(int)]
        found["log loss"] = float(-np.log(np.maximum(right, np.finfo(float).eps)).mean())
    return _finite(found)


def auc(truth: np.ndarray, said: np.ndarray) -> float:
    """The area under the ROC curve: how often a row where `truth` (n,) holds is ranked above one where it does not,
    ties counting half (Hanley & McNeil 1982)."""
    _, place, counts = np.unique(said, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
    n = float(truth.sum())
    return float((rank[truth == 1].sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


def f1(truth: np.ndarray, decided: np.ndarray) -> float:
    """The harmonic mean of precision and recall; 0 where nothing holds and nothing is said to."""
    both = float(((truth == 1) & (decided == 1)).sum())
    total = float((truth == 1).sum() + (decided == 1).sum())
    return 2 * both / total if total else 0.0


def r2(truth: np.ndarray, said: np.ndarray) -> float:
    """The share of the variance that is explained; NaN where there is none."""
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - said) ** 2).sum()) / spread if spread > 0 else float("nan")


def _auc(y: np.ndarray, decoded: np.ndarray) -> float:
    columns = zip(y.reshape(len(y), -1).T, decoded.reshape(len(y), -1).T, strict=True)
    areas = [auc(t, p) for t, p in columns if 0 < t.sum() < len(t)]
    return float(np.mean(areas)) if areas else float("nan")


def _mean_auc(y: np.ndarray, decoded: np.ndarray) -> float:
    return _auc((y[:, None] == np.arange(decoded.shape[1])).astype(float), decoded)


def _finite(found: dict[str, float]) -> dict[str, float]:
    """Without the scores that these rows cannot tell, such as an AUC where there is one class only."""
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def to_json(found: Sequence[Score]) -> dict[str, Any]:
    """`{score: {"model": value, "baseline": value}}`."""
    return {score.name: {"model": score.model, "baseline": score.baseline} for score in found}
