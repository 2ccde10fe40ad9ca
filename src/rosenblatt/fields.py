"""In: nothing. Out: what the descriptions of hyperparameters are made of: names that may be chosen, limits, helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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


DEEP = ["cnn", "rnn", "channel_mlp"]  # kinds that take images, sequences and texts
MLP = {"kind": ["mlp", *DEEP]}
DENSE = {"kind": ["mlp"]}
CNN = {"kind": ["cnn", "rnn"]}
RNN = {"kind": ["rnn"]}
PERCEPTRON = {"kind": ["perceptron"]}
IMAGES = {"kind": ["cnn", "channel_mlp"]}


def described(
    default: Any, help: str, source: str = "", *, only: Mapping[str, list[str]] | None = None, **limits: Any
) -> Any:
    """A hyperparameter; `only` names those, and their values, without which it means nothing."""
    extra: Any = {"source": source, "only": dict(only or {})}
    return Field(default, description=help, json_schema_extra=extra, **limits)


def split(value: Any) -> Any:
    """Lists written as text, as on the command line: '64,32'; a single number is a list of one."""
    if isinstance(value, str) and value != "auto":
        return [part.strip() for part in value.strip("()[] ").split(",") if part.strip()]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


def pairs(value: Any) -> Any:
    """Weights by class, also written as text: 'yes=3,no=1'. A class goes by its text, as in a table."""
    if isinstance(value, str) and "=" in value:
        value = dict(pair.rsplit("=", 1) for pair in value.split(",") if "=" in pair)
    return {class_name(key): weight for key, weight in value.items()} if isinstance(value, Mapping) else value


def class_name(label: Any) -> str:
    """A class as text, in which 1 and 1.0 are the same."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


class Section(BaseModel):
    """What all sections share: they are frozen, and know no other names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
