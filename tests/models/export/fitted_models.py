"""Models of every kind with random parameters, and rows for them: what exporters must reproduce."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.media.columns import sequence_column, to_media_column
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import Architecture, DenseArchitecture
from rosenblatt.networks.layers import InputSpec
from rosenblatt.spec.spec import Spec

N_ROWS = 60
CLASSES = Target(names=("y",), task="multiclass", labels=("a", "b", "c"))
BINARY = Target(names=("y",), task="binary", labels=(0, 1))
TAGS = Target(names=("tags",), task="tagging", labels=("A", "B", "C"))
VALUES = Target.fit_regression(
    ("u", "v"), np.random.default_rng(3).lognormal(3, 2, (200, 2)) * [1.0, 1e6], "auto"
)  # the second is in millions
COUNTS = Target.fit_regression(("n",), np.random.default_rng(3).poisson(5, (200, 1)).astype(float), "none", "poisson")

DENSE: dict[str, tuple[dict[str, Any], Target]] = {
    "linear": ({"hidden": ()}, BINARY),
    "relu": ({"hidden": (8, 8)}, CLASSES),
    "residual batch norm": ({"hidden": (8, 8), "residual": True, "normalization": "batch"}, CLASSES),
    "layer norm, parametric, scaled": (
        {"hidden": (8,), "normalization": "layer", "parametric_activation": True, "scaling_layer": True}, VALUES,
    ),
    "counts": ({"hidden": (8,)}, COUNTS),
    "hinge": ({"hidden": (8,)}, BINARY.model_copy(update={"loss": "hinge", "output_type": "sums"})),
    "adjusted logits": ({"hidden": (8,)}, BINARY.model_copy(update={"logit_adjustment": (0.3, 2.0)})),
    "adjusted classes": ({"hidden": (8,)}, CLASSES.model_copy(update={"logit_adjustment": (0.3, 2.0, 1.0)})),
    "multilabel": ({"hidden": (8,)}, Target(names=("p", "q"), task="multilabel", label_pairs=((0, 1), (0, 1)))),
    **{
        activation: ({"hidden": (8,), "activation": activation}, CLASSES)
        for activation in (
            "identity", "step", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus",
        )
    },
    "perceptron": ({"kind": "perceptron", "activation": "step", "hidden": ()}, CLASSES.model_copy(
        update={"loss": "perceptron_of_classes", "output_type": "sums"})),
    "voted perceptron": ({"kind": "perceptron", "activation": "step", "hidden": (6,)}, BINARY.model_copy(
        update={"loss": "perceptron", "output_type": "sums"})),
    "rbf perceptron": ({"kind": "perceptron", "activation": "rbf", "hidden": (6,), "gamma": 0.1}, BINARY.model_copy(
        update={"loss": "perceptron", "output_type": "sums"})),
    "polynomial perceptron": (
        {"kind": "perceptron", "activation": "polynomial", "hidden": (6,), "gamma": 0.1, "degree": 3},
        BINARY.model_copy(update={"loss": "perceptron", "output_type": "sums"}),
    ),
}  # fmt: skip
ENCODINGS = ("none", "standard", "robust", "quantile", "piecewise")
_CONVOLUTIONS = {"kind": "cnn", "channels": (4, 6), "block_layers": 2, "kernel_size": 3, "normalization": "batch"}
_RECURRENT = {"kind": "rnn", "recurrent_width": 5, "recurrent_layers": 2, "global_pooling": "max"}
DEEP: dict[str, tuple[tuple[str, ...], dict[str, Any], Target]] = {
    "cnn": (("image",), _CONVOLUTIONS, CLASSES),
    "cnn with table": (("image", "age", "city"), _CONVOLUTIONS | {"hidden_sizes": (5,)}, VALUES),
    "cnn residual, group norm, strides, flips": (
        ("image",),
        _CONVOLUTIONS | {"residual": True, "normalization": "group", "pooling": "stride", "flip_averaging": True},
        CLASSES,
    ),
    "cnn depthwise, layer norm, even kernel, flatten": (
        ("image",),
        _CONVOLUTIONS | {"convolution": "depthwise", "normalization": "layer", "kernel_size": 4,
                         "global_pooling": "flatten", "pooling": "average"},
        CLASSES,
    ),
    "cnn dilated, no norm, max": (
        ("image",), _CONVOLUTIONS | {"dilation": 2, "normalization": "none", "global_pooling": "max", "stride": 2},
        BINARY,
    ),
    "cnn of texts": (("text",), _CONVOLUTIONS | {"embedding_size": 4, "global_pooling": "max"}, CLASSES),
    "cnn of sequences": (("steps",), _CONVOLUTIONS, BINARY),
    "lstm both ways": (("steps",), _RECURRENT | {"rnn_cell": "lstm", "bidirectional": True}, CLASSES),
    "gru, last": (
        ("steps",), _RECURRENT | {"rnn_cell": "gru", "bidirectional": True, "global_pooling": "last"}, CLASSES
    ),
    "elman, mean, layer norm": (
        ("steps", "age"),
        _RECURRENT | {"rnn_cell": "elman", "global_pooling": "mean", "normalization": "layer"},
        VALUES,
    ),
    "texts, attention": (
        ("text",), _RECURRENT | {"rnn_cell": "lstm", "global_pooling": "attention", "embedding_size": 4}, CLASSES
    ),
    "text, image and table": (
        ("text", "image", "age", "city"),
        {"kind": "rnn", "recurrent_width": 5, "embedding_size": 4, "channels": (4,), "global_pooling": "mean"},
        CLASSES,
    ),
    "tagger": (("text",), _RECURRENT | {"embedding_size": 4, "bidirectional": True, "is_per_step": True}, TAGS),
    "channel_mlp": (("image",), {"kind": "channel_mlp", "hidden_sizes": (7, 5)}, CLASSES),
}  # fmt: skip


def typed_rows(seed: int = 0, n: int = N_ROWS) -> pl.DataFrame:
    """Rows of every type, with missing cells, ties, outliers, and large numbers."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, n)
    age[::7] = np.nan
    words = np.array(["red", "green", "blue", "rarely", "ünï"])
    texts = [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(n)]
    steps = [rng.normal(5, 2, (rng.integers(1, 9), 2)).astype(np.float32) for _ in range(n)]
    steps[0][0, 0] = np.nan
    images = [(rng.random((9, 8, 3)) * 255).astype(np.uint8) for _ in range(n)]
    return pl.DataFrame(
        [
            pl.Series("age", age, nan_to_null=True),
            pl.Series("ties", np.where(rng.random(n) < 0.6, 0.0, rng.lognormal(0, 2, n))),
            pl.Series("time", 1.7e9 + 86_400.0 * np.arange(n)),
            pl.Series("constant", np.full(n, 3.0)),
            pl.Series("city", [None if rng.random() < 0.1 else str(word) for word in rng.choice(words, n)]),
            to_media_column(pl.Series("text", texts), "text"),
            sequence_column("steps", steps, 2),
            to_media_column(pl.Series("image", [encode_png(image) for image in images]), "image"),
        ]
    )


def encode_png(pixels: np.ndarray) -> bytes:
    """An image (height, width, 3) as the content of a file."""
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def make_dense_model(name: str, numeric_encoding: str = "robust", *, n_networks: int = 2, seed: int = 0) -> Model:
    """A model of dense layers on numbers and categories."""
    options, target = DENSE[name]
    hidden, columns = options["hidden"], ("age", "ties", "time", "constant", "city")

    def build(encoder: Encoder) -> Architecture:
        sizes = (encoder.width, *hidden, target.n_outputs)
        other = {key: value for key, value in options.items() if key != "hidden"}
        return DenseArchitecture(**{"kind": "mlp", "activation": "relu"} | other, sizes=sizes)

    return _make_model(columns, target, build, numeric_encoding, n_networks, seed)


def make_deep_model(name: str, *, n_networks: int = 2, seed: int = 0) -> Model:
    """A model of convolutions or recurrent layers."""
    columns, options, target = DEEP[name]
    defaults = {"activation": "relu", "normalization": "none", "residual": False, "hidden_sizes": ()}

    def build(encoder: Encoder) -> Architecture:
        media = tuple(InputSpec(*encoding.input_shape) for encoding in encoder.media_encodings)
        return DeepArchitecture(
            media=media, n_tabular_inputs=encoder.width, n_outputs=target.n_outputs, **defaults | options
        )

    return _make_model(columns, target, build, "robust", n_networks, seed)


def make_ensemble() -> Model:
    """An ensemble of two trials with different encodings and categories."""
    first = make_dense_model("relu", "piecewise")
    second = make_dense_model("residual batch norm", "quantile", seed=10)
    trials = replace(first.trials[0], weight=0.7), replace(second.trials[0], weight=0.3)
    return replace(first, trials=trials)


def _make_model(
    columns: tuple[str, ...],
    target: Target,
    build: Callable[[Encoder], Architecture],
    numeric_encoding: str,
    n_networks: int,
    seed: int,
) -> Model:
    spec = Spec.from_hyperparameters(
        numeric_encoding=numeric_encoding, bins=8, min_category_rows=3 + seed, image_size=8, dropout=0.1, max_length=6
    )
    rows = typed_rows(seed).select(columns)
    encoder = Encoder.fit(rows, spec.data, never_truncate=target.is_per_step)
    networks = []
    for k in range(n_networks):
        architecture, rng = build(encoder), np.random.default_rng(100 * seed + k)
        theta = rng.normal(0, 0.3, architecture.n_parameters).astype(np.float32)
        for (_, name), values in architecture.parameters_by_name(theta).items():
            if name in ("gain", "variance", "scale", "blend"):
                values[:] = rng.uniform(0.5, 1.5, values.shape)
        networks.append(TrainedNetwork(architecture, theta, 1, (1.0,), ()))
    trial = TrainedTrial(spec, encoder, target, tuple(networks))
    kinds = {"city": "category", "text": "text", "steps": "sequence", "image": "image"}
    schema = Schema(columns=tuple(Column(name=name, kind=kinds.get(name, "number"), include=True) for name in columns))
    return Model(spec, schema, (trial,))
