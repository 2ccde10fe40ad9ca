"""Building blocks of the sections of a spec: choices, parsers and the constructor of hyperparameter fields."""

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
MediumKind = Literal["image", "text", "sequence"]  # kinds of inputs that are no numbers or categories
Auto = Literal["auto"]


DEEP_KINDS = ("cnn", "rnn", "channel_mlp")  # kinds of networks for images, sequences and texts
FORECASTING_HYPERPARAMETERS = {"time", "horizon", "window", "series", "known_covariates"}

# Values of `requires`: the kinds of networks for which a hyperparameter has an effect.
FOR_MLP = {"kind": ["mlp", *DEEP_KINDS]}
FOR_DENSE = {"kind": ["mlp"]}
FOR_DEEP = {"kind": [*DEEP_KINDS]}
FOR_CNN_AND_RNN = {"kind": ["cnn", "rnn"]}
FOR_RNN = {"kind": ["rnn"]}
FOR_PERCEPTRON = {"kind": ["perceptron"]}
FOR_IMAGES = {"kind": ["cnn", "channel_mlp"]}


def hyperparameter_field(
    default: Any, help: str, source: str = "", *, requires: Mapping[str, list[str]] | None = None, **limits: Any
) -> Any:
    """Declare a hyperparameter of a section.

    Args:
        default: The default value.
        help: What the hyperparameter does, in one or more full sentences.
        source: The papers it comes from.
        requires: Other hyperparameters, and the values of each for which this one has an effect.
        **limits: Limits of a number, as pydantic names them (ge, gt, le, lt).
    """
    extra: Any = {"source": source, "requires": dict(requires or {})}
    return Field(default, description=help, json_schema_extra=extra, **limits)


def parse_list(value: Any) -> Any:
    """Split a list written as text, such as '64,32'; make a list of a single number; return other values unchanged."""
    if isinstance(value, str) and value != "auto":
        items = [item.strip() for item in value.strip("()[] ").split(",")]
        return items[:-1] if items[-1] == "" else items  # as in Python, a last comma ends the list
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


def parse_class_weights(value: Any) -> Any:
    """Convert class weights, also written as 'yes=3,no=1', to a dictionary whose keys are class labels as text.

    Raises:
        SpecError: If a class has no weight or more than one.
    """
    if isinstance(value, str) and "=" in value:
        items = parse_list(value)
        for item in items:
            if "=" not in item:
                raise SpecError(
                    f"class_weight must give each class a number, such as yes=3,no=1, but {item!r} has none. "
                    f"Write {item or 'no'}=1, or remove it. If its name has a comma, set it in a TOML file."
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
        raise SpecError(f"class_weight must name each class once, but {duplicate!r} occurs twice. Remove one of them.")
    return weights


def class_label_text(label: Any) -> str:
    """Return a class label as text; 1 and 1.0 give the same text."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


class SpecSection(BaseModel):
    """Base class of the sections: frozen, and without fields of other names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
