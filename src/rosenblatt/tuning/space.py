"""In: a spec with a space. Out: which hyperparameters there are to propose, and the spec that proposed values make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rosenblatt.errors import SpecError, listed, nearest
from rosenblatt.spec.dimensions import (
    LAYERS,
    SHAPE,
    WIDTH,
    Choice,
    Dimension,
    Integer,
    Uniform,
    choice,
    integer,
    log_uniform,
    uniform,
)
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import HYPERPARAMETERS, Spec, in_words

DEFAULT_WIDTH, DEFAULT_LAYERS = 256, 2
LIVE = (
    "learning_rate", "weight_decay", "dropout", "input_dropout", "label_smoothing", "l1", "clip_norm", "max_norm",
    "beta1", "beta2", "bias_rate", "front_scale_rate", "parametric_rate",
)  # fmt: skip
"""Hyperparameters that can change while a network learns."""


@dataclass(frozen=True)
class Space:
    """The dimensions to search, those that conditions speak of before those that have them, round a fixed spec."""

    base: Spec
    dimensions: dict[str, Dimension]

    @classmethod
    def of(cls, spec: Spec) -> Space:
        """The space of a spec. Raises SpecError for conditions that never hold, or that go round in a circle."""
        ordered: dict[str, Dimension] = {}
        waiting = dict(spec.space)
        for name, dimension in waiting.items():
            for other, values in _conditions(name, dimension).items():
                _check_condition(spec, name, other, values)
        while waiting:
            free = [name for name, d in waiting.items() if not (_conditions(name, d).keys() & waiting.keys() - {name})]
            if not free:
                raise SpecError(f"The conditions of {listed(waiting)} go round in a circle. Take one of them away.")
            ordered |= {name: waiting.pop(name) for name in free}
        space = cls(spec.without_search(), ordered)
        for name, dimension in ordered.items():  # values out of their limits are refused before the search
            for value in dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high):
                if name in SHAPE:
                    space.base.replace(hidden_sizes=(value,) * (name == WIDTH) or (1,) * max(int(value), 0))
                else:
                    space.base.replace(**{name: value})
        return space

    def holds(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a dimension means something beside the values of those before it."""
        conditions = _conditions(name, self.dimensions[name])
        return all(
            _met(values[other] if other in values else _default(self.base, other), allowed)
            for other, allowed in conditions.items()
            if other not in self.dimensions or other in values
        ) and all(other in values for other in conditions if other in self.dimensions)

    def spec(self, values: Mapping[str, Any]) -> Spec:
        """The spec of a trial; what is fixed but means nothing beside these values is left out. Raises SpecError."""
        plain = {name: value for name, value in values.items() if name not in SHAPE}
        if SHAPE.keys() & values.keys():
            plain["hidden_sizes"] = (values.get(WIDTH, DEFAULT_WIDTH),) * values.get(LAYERS, DEFAULT_LAYERS)
        spec = self.base.replace(**plain)
        idle = {
            known.name: known.default
            for known in HYPERPARAMETERS.values()
            if spec[known.name] != known.default
            and any(not _met(spec[name], allowed) for name, allowed in known.only.items())
        }
        return spec.replace(**idle) if idle else spec

    def values_of(self, spec: Spec) -> dict[str, Any]:
        """The values of a resolved spec in the dimensions of the space, which may be outside of it."""
        values: dict[str, Any] = {}
        for name in self.dimensions:
            if self.holds(name, values):
                values[name] = _default(spec, name)
        return values

    def contains(self, values: Mapping[str, Any]) -> bool:
        """Whether all values are in their dimensions."""
        for name, value in values.items():
            dimension = self.dimensions[name]
            if isinstance(dimension, Choice):
                if not _met(value, dimension.values):
                    return False
            elif not isinstance(value, int | float) or not dimension.low <= value <= dimension.high:
                return False
        return True


def _conditions(name: str, dimension: Dimension) -> dict[str, tuple[Any, ...]]:
    """What a dimension asks for, and what its hyperparameter asks for anyway."""
    known = HYPERPARAMETERS.get(name)
    only = (
        {"kind": ("mlp", "cnn", "rnn", "channel_mlp")}
        if known is None
        else {key: tuple(values) for key, values in known.only.items()}
    )
    return only | dimension.when


def _met(value: Any, allowed: tuple[Any, ...] | list[str]) -> bool:
    return in_words(value) in {in_words(each) for each in allowed}


def _default(spec: Spec, name: str) -> Any:
    sizes: Any = spec.network.hidden_sizes
    if name in SHAPE:
        return len(sizes) if name == LAYERS else sizes[0] if sizes else 0
    return spec[name]


def _check_condition(spec: Spec, name: str, other: str, allowed: tuple[Any, ...]) -> None:
    if other not in HYPERPARAMETERS and other not in SHAPE:
        raise SpecError(
            f"{name} has a condition on {other!r}, which is no hyperparameter.{nearest(other, HYPERPARAMETERS)}"
        )
    dimension = spec.space.get(other)
    words = " or ".join(in_words(value) for value in allowed)
    if dimension is None and other in SHAPE:
        raise SpecError(f"{name} has a condition on {other}, which is not in the space. Add it, or take it away.")
    if dimension is None and not _met(spec[other], allowed):
        raise SpecError(
            f"{name} means something only with {other} {words}, but {other} is {in_words(spec[other])} in all trials. "
            f"Leave {name} out of the space, or change {other}."
        )
    if isinstance(dimension, Choice) and not any(_met(value, allowed) for value in dimension.values):
        raise SpecError(
            f"{name} means something only with {other} {words}, but {other} is {dimension}. Leave {name} out of the "
            f"space, or add {words} to {other}."
        )
    if isinstance(dimension, Integer) and not any(
        isinstance(value, int) and dimension.low <= value <= dimension.high for value in allowed
    ):
        raise SpecError(f"{name} means something only with {other} {words}, but {other} is {dimension}.")
    if dimension is not None and not isinstance(dimension, Choice | Integer):
        raise SpecError(f"{name} has a condition on {other}, which is a range of numbers. Make that a choice.")


def default_space(spec: Spec, task: Task, rows: int, media: Sequence[str] = ()) -> dict[str, Dimension]:
    """What is worth searching for a kind of network, a task and such media (image, text, sequence), but for what `spec`
    fixes (docs/search.md)."""
    found = {
        "perceptron": lambda: _of_perceptrons(task),
        "cnn": lambda: _of_convolutions(media),
        "rnn": lambda: _of_sequences(rows, media),
        "channel_mlp": _of_channels,
    }.get(spec.network.kind, lambda: _of_mlps(rows))()
    fixed = {name for name, known in HYPERPARAMETERS.items() if spec[name] != known.default}
    if "hidden_sizes" in fixed:
        fixed |= set(SHAPE)
    if task == "regression" or spec.training.loss not in ("auto", "cross_entropy"):
        found.pop("label_smoothing", None)
    kept = {name: dimension for name, dimension in found.items() if name not in fixed}
    return {
        name: dimension
        for name, dimension in kept.items()
        if all(
            other in kept or _met(_default(spec, other), allowed)
            for other, allowed in _conditions(name, dimension).items()
        )
    }


def _of_mlps(rows: int) -> dict[str, Dimension]:
    widths = (64, 128, 256, 512) if rows >= 500 else (32, 64, 128, 256)
    batches = (32, 64, 128) if rows < 5000 else (128, 256, 512) if rows < 50_000 else (256, 512, 1024)
    return {
        LAYERS: integer(1, 4),
        WIDTH: choice(*widths),
        "activation": choice("relu", "silu", "gelu", "mish", "selu", ("relu", "silu")),
        "learning_rate": log_uniform(2e-4, 1e-2),
        "schedule": choice("constant", "flat_cosine", "cosine"),
        "batch_size": choice(*batches),
        "dropout": uniform(0.0, 0.5),
        "input_dropout": uniform(0.0, 0.2),
        "weight_decay": log_uniform(1e-5, 0.3),
        "normalization": choice("none", "layer", "batch"),
        "residual": choice(False, True),
        "front_scale": choice(False, True),
        "parametric": choice(False, True),
        "averaging": choice(0.0, 0.99),
        "initializer": choice("he_normal", "lecun_normal", "glorot_uniform"),
        "numbers": choice("piecewise", "robust", "quantile"),
        "bins": choice(*((8, 16, 32) if rows < 5000 else (16, 48, 96)), when={"numbers": ["piecewise"]}),
    }


def _of_convolutions(media: Sequence[str]) -> dict[str, Dimension]:
    of_images = {
        "crop": uniform(0.05, 0.2),
        "color_jitter": uniform(0.0, 0.2),
        "cutout": uniform(0.1, 0.5),
    }
    of_steps = {"kernel_size": choice(3, 5, 7)}
    return {
        "channels": choice((24, 48, 96, 192), (32, 64, 128, 256), (48, 96, 192)),
        "activation": choice("relu", "silu", "gelu"),
        "learning_rate": log_uniform(1e-3, 5e-3),
        "weight_decay": log_uniform(1e-2, 0.2),
        "dropout": uniform(0.0, 0.3),
        "label_smoothing": uniform(0.0, 0.2),
        "residual": choice(True, False),
        **(of_images if "image" in media else of_steps),
    }


def _of_sequences(rows: int, media: Sequence[str]) -> dict[str, Dimension]:
    of_texts = {"input_dropout": uniform(0.0, 0.4)}
    return {
        "cell": choice("gru", "lstm"),
        "bidirectional": choice(True, False),
        "recurrent_layers": integer(1, 2),
        "recurrent_width": choice(*((64, 128, 256) if rows >= 1000 else (32, 64, 128))),
        "summary": choice("last", "mean", "max", "attention"),
        "learning_rate": log_uniform(5e-4, 1e-2),
        "weight_decay": log_uniform(1e-3, 0.3),
        "dropout": uniform(0.0, 0.5),
        "normalization": choice("none", "layer"),
        **(of_texts if "text" in media else {}),
    }


def _of_channels() -> dict[str, Dimension]:
    return {
        "hidden_sizes": choice((64, 32), (128, 64), (256, 128)),
        "learning_rate": log_uniform(2e-4, 5e-3),
        "weight_decay": log_uniform(1e-3, 0.3),
        "dropout": uniform(0.0, 0.5),
        "activation": choice("relu", "silu", "gelu"),
    }


def _of_perceptrons(task: Task) -> dict[str, Dimension]:
    found: dict[str, Dimension] = {
        "rule": choice(
            "rosenblatt", "averaged", "voted", "pocket", "margin", "passive_aggressive_1", "adaline", "delta"
        ),
        "learning_rate": log_uniform(1e-3, 1.0, when={"rule": ["margin", "adaline", "delta"]}),
        "margin": log_uniform(0.01, 10.0),
        "aggressiveness": log_uniform(1e-3, 10.0),
        "numbers": choice("standard", "robust", "quantile", "piecewise"),
    }
    if task == "multiclass":
        found["multiclass"] = choice(
            "kesler", "crammer_singer", "one_vs_rest", when={"rule": ["rosenblatt", "averaged"]}
        )
    return found


def perturbed(space: Space, values: Mapping[str, Any], rng: Any) -> dict[str, Any]:
    """Values with those that can change while a network learns times 0.8 or 1.25, or one in four drawn anew.

    Jaderberg et al. 2017, appendix A. Numbers stay in their ranges.
    """
    new = dict(values)
    for name, value in values.items():
        dimension = space.dimensions[name]
        if name not in LIVE:
            continue
        if isinstance(dimension, Choice):
            if rng.random() < 0.25:
                new[name] = dimension.values[int(rng.integers(len(dimension.values)))]
        elif rng.random() < 0.25:
            share = rng.random()
            if isinstance(dimension, Uniform | Integer):
                new[name] = dimension.low + share * (dimension.high - dimension.low)
            else:
                new[name] = dimension.low * (dimension.high / dimension.low) ** share
        else:
            new[name] = min(max(value * (1.25 if rng.random() < 0.5 else 0.8), dimension.low), dimension.high)
        if isinstance(dimension, Integer):
            new[name] = round(new[name])
    return new
