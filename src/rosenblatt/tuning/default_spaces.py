"""Default search spaces for each kind of network."""

from __future__ import annotations

from collections.abc import Sequence

from rosenblatt.spec.dimensions import LAYERS, SHAPE, WIDTH, Dimension, choice, integer, log_uniform, uniform
from rosenblatt.spec.fields import Task
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.space import _conditions, _default, _met


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
