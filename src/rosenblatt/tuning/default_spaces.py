"""Default search spaces for each kind of network."""

from __future__ import annotations

from collections.abc import Sequence

from rosenblatt.spec.dimensions import (
    HIDDEN_LAYERS,
    HIDDEN_WIDTH,
    SHAPE_DIMENSIONS,
    Dimension,
    choice,
    integer,
    log_uniform,
    uniform,
)
from rosenblatt.spec.fields import Task
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.space import conditions, is_satisfied, spec_value


def default_space(
    spec: Spec, task: Task, rows: int, media: Sequence[str] = (), *, is_wide: bool = False
) -> dict[str, Dimension]:
    """The default space of a kind of network, without the hyperparameters that `spec` sets (docs/search.md).

    Args:
        rows: number of training rows, which determines the ranges of sizes.
        media: kinds of media columns: image, text or sequence.
        is_wide: whether there are so many columns of numbers that bins would cost too much time.
    """
    space = {
        "perceptron": lambda: _perceptron_space(task),
        "cnn": lambda: _cnn_space(media),
        "rnn": lambda: _rnn_space(rows, media),
        "channel_mlp": _channel_mlp_space,
    }.get(spec.network.kind, lambda: _mlp_space(rows, is_wide))()
    fixed = {name for name, hyperparameter in HYPERPARAMETERS.items() if spec[name] != hyperparameter.default}
    if "hidden_sizes" in fixed:
        fixed |= set(SHAPE_DIMENSIONS)
    if task == "regression" or spec.training.loss not in ("auto", "cross_entropy"):
        space.pop("label_smoothing", None)
    free_dimensions = {name: dimension for name, dimension in space.items() if name not in fixed}
    return {
        name: dimension
        for name, dimension in free_dimensions.items()
        if all(
            parent in free_dimensions or is_satisfied(spec_value(spec, parent), allowed)
            for parent, allowed in conditions(name, dimension).items()
        )
    }


def _mlp_space(rows: int, is_wide: bool) -> dict[str, Dimension]:
    widths = (64, 128, 256, 512) if rows >= 500 else (32, 64, 128, 256)
    batches = (32, 64, 128) if rows < 5000 else (128, 256, 512) if rows < 50_000 else (256, 512, 1024)
    bins = (8, 16, 32) if rows < 5000 else (16, 48, 96)
    piecewise: dict[str, Dimension] = {
        "numeric_encoding": choice("piecewise", "robust", "quantile"),
        "bins": choice(*bins, when={"numeric_encoding": ["piecewise"]}),
    }
    return {
        HIDDEN_LAYERS: integer(1, 4),
        HIDDEN_WIDTH: choice(*widths),
        "activation": choice("relu", "silu", "gelu", "mish", "selu", ("relu", "silu")),
        "learning_rate": log_uniform(2e-4, 1e-2),
        "schedule": choice("constant", "flat_cosine", "cosine"),
        "batch_size": choice(*batches),
        "dropout": uniform(0.0, 0.5),
        "input_dropout": uniform(0.0, 0.2),
        "weight_decay": log_uniform(1e-5, 0.3),
        "normalization": choice("none", "layer", "batch"),
        "residual": choice(False, True),
        "scaling_layer": choice(False, True),
        "parametric_activation": choice(False, True),
        "ema_decay": choice(0.0, 0.99),
        "initializer": choice("he_normal", "lecun_normal", "glorot_uniform"),
        **({"numeric_encoding": choice("robust", "quantile")} if is_wide else piecewise),
    }


def _cnn_space(media: Sequence[str]) -> dict[str, Dimension]:
    image_dimensions = {"crop": uniform(0.05, 0.2), "color_jitter": uniform(0.0, 0.2), "cutout": uniform(0.1, 0.5)}
    sequence_dimensions = {"kernel_size": choice(3, 5, 7)}
    return {
        "channels": choice((24, 48, 96, 192), (32, 64, 128, 256), (48, 96, 192)),
        "activation": choice("relu", "silu", "gelu"),
        "learning_rate": log_uniform(1e-3, 5e-3),
        "weight_decay": log_uniform(1e-2, 0.2),
        "dropout": uniform(0.0, 0.3),
        "label_smoothing": uniform(0.0, 0.2),
        "residual": choice(True, False),
        **(image_dimensions if "image" in media else sequence_dimensions),
    }


def _rnn_space(rows: int, media: Sequence[str]) -> dict[str, Dimension]:
    text_dimensions = {"input_dropout": uniform(0.0, 0.4)}
    return {
        "rnn_cell": choice("gru", "lstm"),
        "bidirectional": choice(True, False),
        "recurrent_layers": integer(1, 2),
        "recurrent_width": choice(*((64, 128, 256) if rows >= 1000 else (32, 64, 128))),
        "global_pooling": choice("last", "mean", "max", "attention"),
        "learning_rate": log_uniform(5e-4, 1e-2),
        "weight_decay": log_uniform(1e-3, 0.3),
        "dropout": uniform(0.0, 0.5),
        "normalization": choice("none", "layer"),
        **(text_dimensions if "text" in media else {}),
    }


def _channel_mlp_space() -> dict[str, Dimension]:
    return {
        "hidden_sizes": choice((64, 32), (128, 64), (256, 128)),
        "learning_rate": log_uniform(2e-4, 5e-3),
        "weight_decay": log_uniform(1e-3, 0.3),
        "dropout": uniform(0.0, 0.5),
        "activation": choice("relu", "silu", "gelu"),
    }


def _perceptron_space(task: Task) -> dict[str, Dimension]:
    space: dict[str, Dimension] = {
        "perceptron_rule": choice(
            "rosenblatt", "averaged", "voted", "pocket", "margin", "passive_aggressive_1", "adaline", "delta"
        ),
        "learning_rate": log_uniform(1e-3, 1.0, when={"perceptron_rule": ["margin", "adaline", "delta"]}),
        "margin": log_uniform(0.01, 10.0),
        "aggressiveness": log_uniform(1e-3, 10.0),
        "numeric_encoding": choice("standard", "robust", "quantile", "piecewise"),
    }
    if task == "multiclass":
        space["multiclass"] = choice(
            "kesler", "crammer_singer", "one_vs_rest", when={"perceptron_rule": ["rosenblatt", "averaged"]}
        )
    return space
