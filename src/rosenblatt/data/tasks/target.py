"""Encode class indices or values as the targets of a network, and decode its outputs."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from rosenblatt.data.schema.columns import Column
from rosenblatt.errors import SpecError, TableError, format_list
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec

Label = str | int | float | bool
MAX_INT64 = 2**63 - 1
MIN_SKEWNESS = 3.0  # skewness above which `auto` takes the logarithm of a target (docs/defaults.md)
RANGE_MARGIN = 0.1  # predictions are clipped to the range of the training values, extended by this fraction of it

_BINARY_LOSSES = {
    "auto": "binary_cross_entropy",
    "cross_entropy": "binary_cross_entropy",
    "focal": "binary_focal",
    "hinge": "hinge",
    "perceptron": "perceptron",
}
_LOSSES = {
    "binary": _BINARY_LOSSES,
    "multilabel": _BINARY_LOSSES,
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


LOSSES_OF_SUMS = ("hinge", "perceptron")  # losses of weighted sums, which are not probabilities
CLASS_TASKS = ("multiclass", "tagging", "language")  # tasks with an output unit for each class
_LOSSES |= {"tagging": _LOSSES["multiclass"], "language": _LOSSES["multiclass"]}
ONE_VS_REST_RULES = ("adaline", "delta", "voted")  # perceptron rules that train each unit alone


class Target(BaseModel):
    """What a model predicts, and how targets are encoded for its networks; fitted on training rows.

    Targets y are class indices (n,) for binary and multiclass tasks, indicators (n, labels) for multilabel ones, values
    (n, targets) for regression, and class indices (n, T), -1 after the end of a row, for tagging and language modeling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    task: Task
    labels: tuple[Label, ...] = ()  # the classes, by class index
    label_pairs: tuple[tuple[Label, Label], ...] = ()  # for each of several labels, how no and yes are written
    list_column: str = ""  # the column of lists of labels, if labels have no columns of their own
    columns: tuple[Column, ...] = ()  # how the target columns of the training table are written
    output_type: Literal["probabilities", "sums"] = (
        "probabilities"  # what the output units for classes and labels stand for
    )
    loss: str = ""  # what training minimizes, a name of `losses.LOSSES`
    logit_adjustment: tuple[float, ...] = ()  # factors of the class probabilities, if these are adjusted
    log: tuple[bool, ...] = ()  # for each value of a regression: whether log(1 + y) is predicted,
    center: tuple[float, ...] = ()  # what is subtracted,
    scale: tuple[float, ...] = ()  # what it is divided by,
    low: tuple[float, ...] = ()  # and the limits of predictions
    high: tuple[float, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _with_loss(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return fields if fields.get("loss") else fields | {"loss": _LOSSES[fields["task"]]["auto"]}

    def with_loss(self, spec: Spec, y: np.ndarray) -> Target:
        """This target with the loss of the spec, and the logit adjustment for the classes of the training targets y.

        Raises SpecError if the loss does not fit the task, or if logits cannot be adjusted.
        """
        if spec.network.kind == "perceptron":
            if self.task == "regression":
                raise SpecError("A perceptron predicts classes, but the task is regression. Use kind mlp.")
            is_multiclass = self.task == "multiclass" and spec.training.multiclass != "one_vs_rest"
            is_multiclass &= spec.network.perceptron_rule not in ONE_VS_REST_RULES
            return self.model_copy(
                update={"output_type": "sums", "loss": "perceptron_of_classes" if is_multiclass else "perceptron"}
            )
        losses = _LOSSES[self.task]
        if spec.training.loss not in losses:
            raise SpecError(
                f"The loss {spec.training.loss} does not fit the task {self.task}. Choose one of {', '.join(losses)}."
            )
        loss = losses[spec.training.loss]
        output_type = "sums" if spec.training.loss in LOSSES_OF_SUMS else "probabilities"
        logit_adjustment = self._logit_adjustment(spec.training.logit_adjustment, y, output_type)
        return self.model_copy(update={"output_type": output_type, "loss": loss, "logit_adjustment": logit_adjustment})

    def _logit_adjustment(self, strength: float, y: np.ndarray, output_type: str) -> tuple[float, ...]:
        if not strength:
            return ()
        if self.task not in ("binary", "multiclass") or output_type == "sums":
            raise SpecError(
                f"logit_adjustment needs class probabilities, but the task is {self.task} and the outputs are "
                f"{output_type}. Remove it."
            )
        class_fractions = np.bincount(y.astype(int), minlength=len(self.labels)) / len(y)
        return tuple((np.maximum(class_fractions, 1 / len(y)) ** -strength).tolist())

    @classmethod
    def fit_regression(
        cls, names: tuple[str, ...], y: np.ndarray, transform: Literal["auto", "none", "log"], loss: str = "squared"
    ) -> Target:
        """Fit the target of a regression to the training values y (n, K).

        Values are standardized, after log(1 + y) if `transform` is "log", or "auto" and the values are skewed. Counts,
        for the loss poisson, are divided by their mean. Raises SpecError if the values do not allow the transform or
        the loss.
        """
        if loss == "poisson":
            return cls._fit_counts(names, y, transform)
        if transform == "log" and y.min() <= -1:
            raise SpecError(f"target_transform log needs values above -1, but the target goes down to {y.min():g}.")
        log = tuple(_should_log_transform(column, transform) for column in y.T)
        z = np.column_stack([np.log1p(column) if use_log else column for column, use_log in zip(y.T, log, strict=True)])
        spread = z.std(axis=0)
        margin = RANGE_MARGIN * np.ptp(y, axis=0)
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
    def _fit_counts(cls, names: tuple[str, ...], y: np.ndarray, transform: Literal["auto", "none", "log"]) -> Target:
        if y.min() < 0 or transform == "log":
            reason = "target_transform is log" if transform == "log" else f"the target goes down to {y.min():g}"
            raise SpecError(f"The loss poisson needs counts of 0 or more that are not transformed, but {reason}.")
        mean = y.mean(axis=0)
        return cls(
            names=names,
            task="regression",
            loss="poisson",
            log=(False,) * len(names),
            center=(0.0,) * len(names),
            scale=tuple(np.where(mean > 0, mean, 1.0).tolist()),
            low=(0.0,) * len(names),
            high=tuple((y.max(axis=0) * (1 + RANGE_MARGIN)).tolist()),
        )

    def extend(self, y: np.ndarray, n_earlier: int) -> Target:
        """This target of a regression, refitted to its `n_earlier` rows and further ones with values y (n, K).

        Center and scale are those of all rows (Chan, Golub & LeVeque 1983); counts keep theirs. The limits of
        predictions are widened to the new values.
        """
        low, high = np.asarray(self.low), np.asarray(self.high)
        margin = RANGE_MARGIN * (high - low) / (1 + 2 * RANGE_MARGIN)
        if self.loss == "poisson":
            return self.model_copy(
                update={"high": tuple(np.maximum(high, y.max(axis=0) * (1 + RANGE_MARGIN)).tolist())}
            )
        y_min, y_max = np.minimum(low + margin, y.min(axis=0)), np.maximum(high - margin, y.max(axis=0))
        margin, z = RANGE_MARGIN * (y_max - y_min), self._transform(y)
        center, scale = np.asarray(self.center), np.asarray(self.scale)
        fraction, difference = len(y) / (n_earlier + len(y)), z.mean(axis=0) - center
        earlier_variance = np.where(high > low, scale**2, 0.0)  # the scale of equal values is 1
        variance = (
            (1 - fraction) * earlier_variance + fraction * z.var(axis=0) + fraction * (1 - fraction) * difference**2
        )
        fields = {
            "center": center + fraction * difference,
            "scale": np.where(variance > 0, np.sqrt(variance), 1.0),
            "low": y_min - margin,
            "high": y_max + margin,
        }
        return self.model_copy(update={name: tuple(values.tolist()) for name, values in fields.items()})

    def _transform(self, y: np.ndarray) -> np.ndarray:
        """Values (n, K), or log(1 + y). Raises TableError if values have no logarithm, or are no counts."""
        lowest = np.array([-1.0 if log else -np.inf for log in self.log])
        if (y <= lowest).any():
            raise TableError(
                f"The target goes down to {y.min():g}, but the model predicts log(1 + y), as the training values "
                "suggested. Set target_transform to none."
            )
        if self.loss == "poisson" and (y < 0).any():
            raise TableError(f"The loss poisson needs counts of 0 or more, but the target goes down to {y.min():g}.")
        return np.column_stack([np.log1p(v) if log else v for v, log in zip(y.T, self.log, strict=True)])

    @property
    def n_outputs(self) -> int:
        """The number of output units; two classes share one."""
        return len(self.labels) if self.task in CLASS_TASKS else len(self.names)

    @property
    def label_array(self) -> np.ndarray:
        """The classes (k,), in the type that holds all of them; large integers stay exact."""
        is_large = any(isinstance(label, int) and label > MAX_INT64 for label in self.labels)
        return np.asarray(self.labels, np.uint64 if is_large else None)

    @property
    def is_per_step(self) -> bool:
        """Whether each step of a sequence has a target."""
        return self.task in ("tagging", "language")

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Encode targets for training, (n, K) float32: class indices, indicators or standardized values."""
        t = y.reshape(len(y), -1)
        if self.task == "regression":
            t = (self._transform(t) - np.asarray(self.center)) / np.asarray(self.scale)
        return np.ascontiguousarray(t, np.float32)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Decode network outputs (n, K), as float64.

        Returns:
            Probabilities or weighted sums (n, classes or labels), or values (n, K).
        """
        out = outputs.astype(np.float64)
        if self.task == "binary":
            out = np.column_stack([-out if self.output_type == "sums" else 1 - out, out])
            return self._normalize(out * self.logit_adjustment) if self.logit_adjustment else out
        if self.task == "regression":
            out = out * np.asarray(self.scale) + np.asarray(self.center)
            out = np.where(np.asarray(self.log), np.expm1(np.minimum(out, 700.0)), out)
            return np.clip(out, self.low, self.high)
        if self.task in CLASS_TASKS and self.output_type == "probabilities":
            # sums of float32 are only nearly 1
            return self._normalize(out * self.logit_adjustment if self.logit_adjustment else out)
        return out

    @staticmethod
    def _normalize(out: np.ndarray) -> np.ndarray:
        return np.asarray(out / out.sum(axis=-1, keepdims=True))

    def to_predictions(self, decoded: np.ndarray) -> np.ndarray:
        """Turn the result of `decode` into class indices (n,), indicators (n, labels) or values (n, K)."""
        if self.task == "regression":
            return decoded
        if self.task == "multilabel":
            return (decoded > (0.5 if self.output_type == "probabilities" else 0.0)).astype(np.int64)
        return decoded.argmax(axis=-1)

    def to_decision(self, decoded: np.ndarray) -> np.ndarray:
        """Turn the result of `decode` into what scikit-learn calls the decision function.

        Returns:
            Weighted sums, log odds, or log probabilities of more than two classes: (n,) for two classes, or else
            (n, classes or labels). Two classes and labels are predicted by the sign.
        """
        if self.output_type == "sums":
            return decoded[:, 1] if self.task == "binary" else decoded
        scores = np.log(np.maximum(decoded, np.finfo(np.float64).tiny))  # finite, as scorers need them
        if self.task == "multilabel":
            return scores - np.log(np.maximum(1 - decoded, np.finfo(np.float64).tiny))
        return scores[:, 1] - scores[:, 0] if self.task == "binary" else scores


def class_indices(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The index (n,) float64 of each class of y in the sorted `classes`. Raises TableError for other classes."""
    unknown = np.setdiff1d(y, classes)
    if unknown.size:
        raise TableError(
            f"y holds {unknown.tolist()[0]!r}, which is not one of the classes {format_list(classes.tolist())}."
        )
    return np.searchsorted(classes, y).astype(np.float64)


def _should_log_transform(y: np.ndarray, transform: str) -> bool:
    """Whether to predict log(1 + y): for `auto`, if y is not negative, and skewed, and the logarithm much less so."""
    if transform != "auto":
        return transform == "log"
    skewness = _skewness(y)
    return bool(y.min() >= 0 and skewness > MIN_SKEWNESS and abs(_skewness(np.log1p(y))) < skewness / 2)


def _skewness(y: np.ndarray) -> float:
    spread = y.std()
    return float((((y - y.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
