"""Small members of each kind of deep network, and rows they learn from; shared by the tests of the torch engine."""

from __future__ import annotations

import numpy as np

from rosenblatt.data.media.columns import Ragged
from rosenblatt.data.media.images import Pictures, as_cell
from rosenblatt.networks.deep import build_deep
from rosenblatt.networks.dense import build
from rosenblatt.networks.layers import Medium
from rosenblatt.spec.defaults import resolve
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member, new_member
from rosenblatt.training.rows import MediaRows, Rows

N, LEARNT = 96, 78
TAGS = 3  # of each step
KINDS = {
    "cnn": {"kind": "cnn", "channels": (4, 6), "block_layers": 2, "color_jitter": 0.1, "rotate": 10, "mixup": 0.2},
    "cnn of sequences": {"kind": "cnn", "channels": (4, 6), "normalization": "group", "dropout": 0.2},
    "depthwise": {"kind": "cnn", "channels": (4, 8), "convolution": "depthwise", "normalization": "layer"},
    "elman": {"kind": "rnn", "cell": "elman", "recurrent_width": 6, "summary": "last", "batches": "stratified"},
    "gru": {
        "kind": "rnn",
        "cell": "gru",
        "recurrent_width": 6,
        "recurrent_layers": 2,
        "summary": "max",
        "dropout": 0.3,
    },
    "lstm": {"kind": "rnn", "cell": "lstm", "recurrent_width": 6, "summary": "attention", "averaging": 0.9},
    "texts": {
        "kind": "rnn",
        "cell": "gru",
        "recurrent_width": 6,
        "embedding_size": 5,
        "summary": "mean",
        "bidirectional": False,
        "input_dropout": 0.2,
    },
    "tags": {"kind": "rnn", "cell": "gru", "recurrent_width": 6, "dropout": 0.1},
    "channel_mlp": {"kind": "channel_mlp", "hidden_sizes": (8, 4), "input_dropout": 0.1},
    "mlp": {"kind": "mlp", "hidden_sizes": (8, 8), "residual": True, "normalization": "layer", "dropout": 0.2},
}


def rows_of(kind: str) -> tuple[Rows | MediaRows, tuple[Medium, ...]]:
    """Rows of a kind of network, whose class can be learnt, and what its towers are given."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, 3)).astype(np.float32)
    lengths = rng.integers(1, 9, N)
    t, weight = (x[:, :1] > 0).astype(np.float32), rng.uniform(0.5, 1.5, N).astype(np.float32)
    if kind == "mlp":
        return Rows(x, t, weight), ()
    if kind in ("cnn", "depthwise", "channel_mlp"):
        cells = [as_cell(one) for one in rng.integers(0, 255, (N, 8, 8, 3)).astype(np.uint8)]
        pictures = Pictures(cells, 8, 3, "resize", "uint8", (128.0,) * 3, (1 / 74,) * 3)
        return MediaRows(x, (pictures,), t, weight), (Medium("image", 3, 8, 8),)
    if kind == "texts":
        ragged = Ragged.of([rng.integers(0, 7, many).astype(np.int32) for many in lengths], 8, keep_end=False)
        return MediaRows(x, (ragged,), t, weight), (Medium("tokens", 7),)
    steps = [rng.normal(size=(many, 2)).astype(np.float32) for many in lengths]
    ragged = Ragged.of(steps, 8, keep_end=True)
    if kind == "tags":
        t = np.full((N, 8), -1, np.float32)
        for row, one in enumerate(steps):
            t[row, : len(one)] = np.clip(np.round(one[:, 0]), -1, 1) + 1
    return MediaRows(x, (ragged,), t, weight), (Medium("steps", 2),)


def member_of(kind: str, seed: int, rows: Rows | MediaRows, media: tuple[Medium, ...], **changed: object) -> Member:
    """A new member; members of different seeds also have different learning rates."""
    spec = Spec.of(
        **{"seed": seed, "epochs": 4, "batch_size": 16, "learning_rate": 1e-3 * (1 + seed), **KINDS[kind], **changed}
    )
    spec = resolve(spec, N, 3)
    if media:
        tags = kind == "tags"
        outputs = TAGS if tags else 1
        architecture = build_deep(spec.network, media, 3, outputs, each_step=tags, mirrored=bool(spec["flip"]))
    else:
        architecture = build(spec.network, 3, 1)
    loss = "cross_entropy" if kind == "tags" else "binary_cross_entropy"
    return new_member(spec, architecture, loss, np.arange(LEARNT), np.arange(LEARNT, N), (seed, 0), rows)
