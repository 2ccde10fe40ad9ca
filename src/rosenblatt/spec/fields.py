"""Building blocks of the hyperparameter sections: choices, parsers and the field constructor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rosenblatt.errors import SpecError

Activation = Literal[
    "identity", "step", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus"
]
Initializer = Literal[
    "zeros", "constant", "uniform", "normal", "he_normal", "he_uniform", "glorot_normal", "glorot_uniform",
    "lecun_normal", "lecun_uniform", "orthogonal", "data_dependent",
]  # fmt: skip
Rule = Literal[
    "rosenblatt", "averaged", "voted", "pocket", "margin", "passive_aggressive", "passive_aggressive_1",
    "passive_aggressive_2", "adaline", "delta", "kernel",
]  # fmt: skip
Loss = Literal[
    "auto", "cross_entropy", "focal", "hinge", "perceptron", "squared", "absolute", "huber", "quantile", "poisson"
]
Optimizer = Literal["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw", "nadam"]
Schedule = Literal[
    "constant", "step", "exponential", "cosine", "flat_cosine", "log_cosine", "warmup_cosine", "one_cycle"
]
Task = Literal["binary", "multiclass", "multilabel", "regression", "tagging", "language"]
Auto = Literal["auto"]


DEEP_KINDS = ("cnn", "rnn", "channel_mlp")  # kinds of networks for images, sequences and texts
FOR_MLP = {"kind": ["mlp", *DEEP_KINDS]}
FOR_DENSE = {"kind": ["mlp"]}
FOR_CNN = {"kind": ["cnn", "rnn"]}
FOR_RNN = {"kind": ["rnn"]}
FOR_PERCEPTRON = {"kind": ["perceptron"]}
FOR_IMAGES = {"kind": ["cnn", "channel_mlp"]}


def hyperparameter_field(
    default: Any, help: str, source: str = "", *, requires: Mapping[str, list[str]] | None = None, **limits: Any
) -> Any:
    """A hyperparameter; `requires` names those, and their values, without which it means nothing."""
    extra: Any = {"source": source, "requires": dict(requires or {})}
    return Field(default, description=help, json_schema_extra=extra, **limits)


def parse_list(value: Any) -> Any:
    """Lists written as text, as on the command line: '64,32'; a single number is a list of one."""
    if isinstance(value, str) and value != "auto":
        items = [item.strip() for item in value.strip("()[] ").split(",")]
        return items[:-1] if items[-1] == "" else items  # as in Python, a last comma ends the list
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


def parse_class_weights(value: Any) -> Any:
    """Weights of classes, also written as text: 'yes=3,no=1'. A class is named by its text, as in a table.

    Raises:
        SpecError: for a class without a weight, or with two.
    """
    if isinstance(value, str) and "=" in value:
        items = parse_list(value)
        for item in items:
            if "=" not in item:
                raise SpecError(
                    f"class_weight must give each class a number, such as yes=3,no=1, but {item!r} has none. "
                    f"Write {item or 'no'}=1, or remove it. A name that holds a comma can be set in a TOML file."
                )
        value = [tuple(item.rsplit("=", 1)) for item in items]
    elif isinstance(value, Mapping):
        value = list(value.items())
    else:
        return value
    weights = {class_label_text(label): weight for label, weight in value}
    if len(weights) < len(value):
        labels = [class_label_text(label) for label, _ in value]
        duplicate = next(label for label in labels if labels.count(label) > 1)
        raise SpecError(f"class_weight must name each class once, but {duplicate!r} comes twice. Remove one of them.")
    return weights


def class_label_text(label: Any) -> str:
    """A class as text, in which 1 and 1.0 are the same."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


class SpecSection(BaseModel):
    """What all sections share: they are frozen, and know no other names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


FORECASTING_HYPERPARAMETERS = {
    "time",
    "horizon",
    "window",
    "series",
    "known_covariates",
}  # hyperparameters of forecasts
