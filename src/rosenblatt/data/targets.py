"""In: what is to be predicted, as class numbers or values. Out: what the network is taught, and back again."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from rosenblatt.errors import SpecError, TableError, listed
from rosenblatt.spec import Task

Label = str | int | float | bool
SKEWED = 3.0  # skewness from which on a target is transformed (docs/defaults.md)
MARGIN = 0.1  # predictions may leave the range of the training values by this share of it


class Target(BaseModel):
    """What a model predicts, and how it was put to the network.

    y is (n,) class numbers for binary and multiclass, (n, K) zeros and ones for multilabel, (n, K) values for
    regression.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    task: Task
    labels: tuple[Label, ...] = ()  # the classes, by class number
    words: tuple[tuple[Label, Label], ...] = ()  # of several labels, how it is written that one does not hold, or does
    lists: str = ""  # the column with lists of labels, where they stand in one
    answers: Literal["probabilities", "steps"] = "probabilities"  # what the units for classes and labels give
    log: tuple[bool, ...] = ()
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def of_values(cls, names: tuple[str, ...], y: np.ndarray, transform: Literal["auto", "none", "log"]) -> Target:
        """One or more values; how they are spread is learnt from the training rows y (n, K)."""
        if transform == "log" and y.min() <= -1:
            raise SpecError(f"target_transform log needs values above -1, but the target goes down to {y.min():g}.")
        log = tuple(_takes_log(column, transform) for column in y.T)
        z = np.column_stack([np.log1p(column) if logs else column for column, logs in zip(y.T, log, strict=True)])
        spread = z.std(axis=0)
        margin = MARGIN * np.ptp(y, axis=0)
        return cls(
            names=names,
            task="regression",
            log=log,
            center=tuple(z.mean(axis=0).tolist()),
            scale=tuple(np.where(spread > 0, spread, 1.0).tolist()),
            low=tuple((y.min(axis=0) - margin).tolist()),
            high=tuple((y.max(axis=0) + margin).tolist()),
        )

    @property
    def n_outputs(self) -> int:
        """Units of the network's last layer: one decides between two classes."""
        return len(self.labels) if self.task == "multiclass" else len(self.names)

    @property
    def loss(self) -> str:
        """What training minimizes."""
        if self.answers == "steps":
            return "perceptron_classes" if self.task == "multiclass" else "perceptron"
        return {"multiclass": "cross_entropy", "regression": "squared"}.get(self.task, "binary_cross_entropy")

    def encode(self, y: np.ndarray) -> np.ndarray:
        """What the network is taught: (n, 1) class numbers or (n, K), float32."""
        t = y.reshape(len(y), -1)
        if self.task == "regression":
            t = np.column_stack([np.log1p(v) if log else v for v, log in zip(t.T, self.log, strict=True)])
            t = (t - np.asarray(self.center)) / np.asarray(self.scale)
        return np.ascontiguousarray(t, np.float32)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """What the network's outputs (n, K) say, float64: for classes and labels their probabilities, or the weighted
        sums of step units, (n, classes or labels); else the values (n, K)."""
        out = outputs.astype(np.float64)
        if self.task == "binary":
            return np.column_stack([-out if self.answers == "steps" else 1 - out, out])
        if self.task == "regression":
            out = out * np.asarray(self.scale) + np.asarray(self.center)
            out = np.where(np.asarray(self.log), np.expm1(np.minimum(out, 700.0)), out)
            return np.clip(out, self.low, self.high)
        if self.task == "multiclass" and self.answers == "probabilities":
            return out / out.sum(axis=1, keepdims=True)  # in float32 they add up to 1 only nearly
        return out

    def decide(self, decoded: np.ndarray) -> np.ndarray:
        """From what `decode` gives: class numbers (n,), zeros and ones (n, labels), or the values (n, K)."""
        if self.task == "regression":
            return decoded
        if self.task == "multilabel":
            return (decoded > (0.5 if self.answers == "probabilities" else 0.0)).astype(np.int64)
        return decoded.argmax(axis=1)


def class_numbers(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The number of each row's class among the sorted `classes`, (n,) float64. Raises TableError for others."""
    unknown = np.setdiff1d(y, classes)
    if unknown.size:
        raise TableError(f"y holds {unknown.tolist()[0]!r}, which is not among the classes {listed(classes.tolist())}.")
    return np.searchsorted(classes, y).astype(np.float64)


def _takes_log(y: np.ndarray, transform: str) -> bool:
    """Whether log(1 + y) is taught instead of y: in `auto`, for a target that is not negative, skewed, and much less so
    after it."""
    if transform != "auto":
        return transform == "log"
    before = _skewness(y)
    return bool(y.min() >= 0 and before > SKEWED and abs(_skewness(np.log1p(y))) < before / 2)


def _skewness(y: np.ndarray) -> float:
    spread = y.std()
    return float((((y - y.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
