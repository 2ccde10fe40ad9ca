"""In: what is to be predicted, as class numbers or values. Out: what the network is taught, and back again."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from rosenblatt.errors import SpecError, TableError, listed
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec

Label = str | int | float | bool
SKEWED = 3.0  # skewness from which on a target is transformed (docs/defaults.md)
MARGIN = 0.1  # predictions may leave the range of the training values by this share of it

_OF_UNITS = {
    "auto": "binary_cross_entropy",
    "cross_entropy": "binary_cross_entropy",
    "focal": "binary_focal",
    "hinge": "hinge",
    "perceptron": "perceptron",
}
_LOSSES = {
    "binary": _OF_UNITS,
    "multilabel": _OF_UNITS,
    "multiclass": {
        "auto": "cross_entropy",
        "cross_entropy": "cross_entropy",
        "focal": "focal",
        "hinge": "hinge_of_classes",
        "perceptron": "perceptron_of_classes",
    },
    "regression": {"auto": "squared"}
    | {name: name for name in ("squared", "absolute", "huber", "quantile", "poisson")},
}


OF_CLASSES = ("multiclass", "tagging", "language")  # tasks with a unit for each class
_LOSSES |= {"tagging": _LOSSES["multiclass"], "language": _LOSSES["multiclass"]}
ALONE = ("adaline", "delta", "voted")  # rules by which each unit learns for itself


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
    answers: Literal["probabilities", "sums"] = "probabilities"  # what the units for classes and labels give
    loss: str = ""  # what training minimizes, as `losses.LOSSES` names it
    balance: tuple[float, ...] = ()  # by which probabilities of classes are multiplied, if they are
    log: tuple[bool, ...] = ()
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _with_loss(cls, given: dict[str, Any]) -> dict[str, Any]:
        return given if given.get("loss") else given | {"loss": _LOSSES[given["task"]]["auto"]}

    def taught_by(self, spec: Spec, y: np.ndarray) -> Target:
        """This target, with the loss that is asked for, and the balance of classes among the training rows y.

        Raises SpecError where that loss cannot teach it, or where there are no classes to balance.
        """
        if spec.network.kind == "perceptron":
            if self.task == "regression":
                raise SpecError("A perceptron answers 0 or 1, but the task is regression. Use kind mlp.")
            of_classes = self.task == "multiclass" and spec.training.multiclass != "one_vs_rest"
            of_classes &= spec.network.rule not in ALONE
            return self.model_copy(
                update={"answers": "sums", "loss": "perceptron_of_classes" if of_classes else "perceptron"}
            )
        losses = _LOSSES[self.task]
        if spec.training.loss not in losses:
            raise SpecError(
                f"The loss {spec.training.loss} does not fit the task, which is {self.task}. Choose one of "
                f"{', '.join(losses)}."
            )
        loss = losses[spec.training.loss]
        answers = "sums" if loss.startswith(("hinge", "perceptron")) else "probabilities"
        balance = self._balance(spec.training.class_balance, y, answers)
        return self.model_copy(update={"answers": answers, "loss": loss, "balance": balance})

    def _balance(self, how_far: float, y: np.ndarray, answers: str) -> tuple[float, ...]:
        if not how_far:
            return ()
        if self.task not in ("binary", "multiclass") or answers == "sums":
            raise SpecError(
                f"class_balance is for probabilities of classes, but the task is {self.task}, and the networks give "
                f"{answers}. Leave it out."
            )
        shares = np.bincount(y.astype(int), minlength=len(self.labels)) / len(y)
        return tuple((np.maximum(shares, 1 / len(y)) ** -how_far).tolist())

    @classmethod
    def of_values(
        cls, names: tuple[str, ...], y: np.ndarray, transform: Literal["auto", "none", "log"], loss: str = "squared"
    ) -> Target:
        """One or more values; how they are spread is learnt from the training rows y (n, K).

        Counts, for the loss poisson, are put to the network as multiples of their mean. Raises SpecError where the
        values do not allow the transformation or the loss.
        """
        if loss == "poisson":
            return cls._of_counts(names, y, transform)
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

    @classmethod
    def _of_counts(cls, names: tuple[str, ...], y: np.ndarray, transform: Literal["auto", "none", "log"]) -> Target:
        if y.min() < 0 or transform == "log":
            came = "target_transform is log" if transform == "log" else f"the target goes down to {y.min():g}"
            raise SpecError(f"The loss poisson is for counts, 0 or more, as they are; but {came}.")
        mean = y.mean(axis=0)
        return cls(
            names=names,
            task="regression",
            loss="poisson",
            log=(False,) * len(names),
            center=(0.0,) * len(names),
            scale=tuple(np.where(mean > 0, mean, 1.0).tolist()),
            low=(0.0,) * len(names),
            high=tuple((y.max(axis=0) * (1 + MARGIN)).tolist()),
        )

    @property
    def n_outputs(self) -> int:
        """Units of the network's last layer: one decides between two classes."""
        return len(self.labels) if self.task in OF_CLASSES else len(self.names)

    @property
    def each_step(self) -> bool:
        """Whether each step of a sequence has its answer."""
        return self.task in ("tagging", "language")

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
            out = np.column_stack([-out if self.answers == "sums" else 1 - out, out])
            return self._shared(out * self.balance) if self.balance else out
        if self.task == "regression":
            out = out * np.asarray(self.scale) + np.asarray(self.center)
            out = np.where(np.asarray(self.log), np.expm1(np.minimum(out, 700.0)), out)
            return np.clip(out, self.low, self.high)
        if self.task in OF_CLASSES and self.answers == "probabilities":
            return self._shared(out * self.balance if self.balance else out)  # in float32 their sum is 1 only nearly
        return out

    @staticmethod
    def _shared(out: np.ndarray) -> np.ndarray:
        return np.asarray(out / out.sum(axis=-1, keepdims=True))

    def decide(self, decoded: np.ndarray) -> np.ndarray:
        """From what `decode` gives: class numbers (n,), zeros and ones (n, labels), or the values (n, K)."""
        if self.task == "regression":
            return decoded
        if self.task == "multilabel":
            return (decoded > (0.5 if self.answers == "probabilities" else 0.0)).astype(np.int64)
        return decoded.argmax(axis=-1)


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
