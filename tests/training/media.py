"""Small members of each kind of deep network, and rows they learn from; shared by the tests of the torch engine."""

from __future__ import annotations

import numpy as np

from rosenblatt.data.media.columns import RaggedSequences
from rosenblatt.data.media.images import ImageDataset, encode_image
from rosenblatt.networks.deep import build_deep
from rosenblatt.networks.dense import build_dense
from rosenblatt.networks.layers import InputSpec
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member, new_member
from rosenblatt.training.rows import DenseRows, MediaRows

N, N_TRAIN = 96, 78
TAGS = 3  # of each step
KINDS = {
    "cnn": {"kind": "cnn", "channels": (4, 6), "block_layers": 2, "color_jitter": 0.1, "rotate": 10, "mixup": 0.2},
    "cnn of sequences": {"kind": "cnn", "channels": (4, 6), "normalization": "group", "dropout": 0.2},
    "depthwise": {"kind": "cnn", "channels": (4, 8), "convolution": "depthwise", "normalization": "layer"},
    "elman": {
        "kind": "rnn",
        "rnn_cell": "elman",
        "recurrent_width": 6,
        "global_pooling": "last",
        "batch_order": "stratified",
    },
    "gru": {
        "kind": "rnn",
        "rnn_cell": "gru",
        "recurrent_width": 6,
        "recurrent_layers": 2,
        "global_pooling": "max",
        "dropout": 0.3,
    },
    "lstm": {"kind": "rnn", "rnn_cell": "lstm", "recurrent_width": 6, "global_pooling": "attention", "ema_decay": 0.9},
    "texts": {
        "kind": "rnn",
        "rnn_cell": "gru",
        "recurrent_width": 6,
        "embedding_size": 5,
        "global_pooling": "mean",
        "bidirectional": False,
        "input_dropout": 0.2,
    },
    "tags": {"kind": "rnn", "rnn_cell": "gru", "recurrent_width": 6, "dropout": 0.1},
    "channel_mlp": {"kind": "channel_mlp", "hidden_sizes": (8, 4), "input_dropout": 0.1},
    "mlp": {"kind": "mlp", "hidden_sizes": (8, 8), "residual": True, "normalization": "layer", "dropout": 0.2},
}


def make_rows(kind: str) -> tuple[DenseRows | MediaRows, tuple[InputSpec, ...]]:
    """Return rows for a kind of network, whose class can be predicted, and the inputs of its towers."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, 3)).astype(np.float32)
    lengths = rng.integers(1, 9, N)
    t, weight = (x[:, :1] > 0).astype(np.float32), rng.uniform(0.5, 1.5, N).astype(np.float32)
    if kind == "mlp":
        return DenseRows(x, t, weight), ()
    if kind in ("cnn", "depthwise", "channel_mlp"):
        cells = [encode_image(pixels) for pixels in rng.integers(0, 255, (N, 8, 8, 3)).astype(np.uint8)]
        images = ImageDataset(cells, 8, 3, "resize", "uint8", (128.0,) * 3, (74.0,) * 3)
        return MediaRows(x, (images,), t, weight), (InputSpec("image", 3, 8, 8),)
    if kind == "texts":
        ragged = RaggedSequences.from_rows(
            [rng.integers(0, 7, length).astype(np.int32) for length in lengths], 8, keep_end=False
        )
        return MediaRows(x, (ragged,), t, weight), (InputSpec("text", 7),)
    steps = [rng.normal(size=(length, 2)).astype(np.float32) for length in lengths]
    ragged = RaggedSequences.from_rows(steps, 8, keep_end=True)
    if kind == "tags":
        t = np.full((N, 8), -1, np.float32)
        for row, values in enumerate(steps):
            t[row, : len(values)] = np.clip(np.round(values[:, 0]), -1, 1) + 1
    return MediaRows(x, (ragged,), t, weight), (InputSpec("sequence", 2),)


def make_member(
    kind: str, seed: int, rows: DenseRows | MediaRows, media: tuple[InputSpec, ...], **changed: object
) -> Member:
    """Return a new member; members of different seeds also have different learning rates."""
    spec = Spec.from_hyperparameters(
        **{"seed": seed, "epochs": 4, "batch_size": 16, "learning_rate": 1e-3 * (1 + seed), **KINDS[kind], **changed}
    )
    spec = resolve_auto(spec, N, 3)
    if media:
        tags = kind == "tags"
        outputs = TAGS if tags else 1
        architecture = build_deep(spec.network, media, 3, outputs, is_per_step=tags, flip_averaging=bool(spec["flip"]))
    else:
        architecture = build_dense(spec.network, 3, 1)
    loss = "cross_entropy" if kind == "tags" else "binary_cross_entropy"
    return new_member(spec, architecture, loss, np.arange(N_TRAIN), np.arange(N_TRAIN, N), (seed, 0), rows)
