"""In: a spec in which some values are "auto", and how large the table is. Out: the spec with all values chosen.

The choices and the measurements behind them are told in docs/defaults.md.
"""

from __future__ import annotations

from typing import Any, TypeVar

from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec

Value = TypeVar("Value")

ENCODED_NUMBERS = 2**28  # most numbers of an encoded table: 1 GiB
BATCHES = ((2_800, 32), (6_400, 128), (32_000, 256), (200_000, 512))
LARGEST_BATCH = 1024
HIDDEN_SIZES = ((150, (128, 128)), (500, (256, 256)), (10_000, (512, 512)))
LARGE_HIDDEN_SIZES = (256, 256)
MEMBERS = ((2_000, 16), (50_000, 8), (300_000, 4))
LEAST_MEMBERS = 2
BINS = ((5_000, 16),)
MOST_BINS = 48
EPOCHS = ((20_000, 60), (100_000, 30))
SMALL = 2_000  # sequences below which networks are small
RECURRENT_EPOCHS = ((SMALL, 80), (20_000, 24))
TEXT_EPOCHS = ((SMALL, 80), (20_000, 40))
FEWEST_EPOCHS = 15
ENOUGH_FOR_BATCHES = 1_000  # rows from which on a deep network takes batches of 64
WORTH_CORES = 4_096  # units of a layer times rows of a batch from which on several cores are faster than one
DEEP = ("cnn", "rnn", "channel_mlp")
BY_MACHINE = ("cores", "precision")  # hyperparameters that are chosen by what the machine has
PLAIN = {
    "input_dropout": 0.0,
    "normalization": "none",
    "schedule": "constant",
    "label_smoothing": 0.0,
    "residual": False,
}
MEANINGLESS: dict[str, Any] = {  # beside other kinds of networks or data
    "cores": 1, "precision": "float32",
    "image_size": "auto", "max_length": "auto", "window": "auto", "flip": False, "crop": 0.0, "cutout": 0.0,
    "channels": (), "block_layers": 1, "pooling": "max", "summary": "mean", "recurrent_width": 1, "embedding_size": 1,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"channels": (16, 32), "block_layers": 1, "residual": False},
    "small": {"channels": (24, 48, 96, 192), "block_layers": 2},
    "medium": {"channels": (48, 96, 192, 384), "block_layers": 2},
    "resnet18": {"channels": (64, 128, 256, 512), "block_layers": 4, "pooling": "stride"},
}
"""What a preset stands for, where nothing else is asked for; resnet18 is the shape of He et al. 2016, table 1, with a
first layer for small images."""
FEW = 20  # training rows below which none is spared for validation


def resolve(spec: Spec, rows: int, columns: int, *, of_texts: bool = False) -> Spec:
    """Choose all that is "auto", for a number of training rows and of numeric columns; `of_texts` where something is
    told of texts."""
    kind = spec.network.kind
    if kind in DEEP:
        return _deep(spec, rows, of_texts and kind == "rnn")
    if kind == "perceptron":
        chosen = _for_perceptron(spec.network.rule, columns)
    else:
        chosen = {
            "hidden_sizes": _by_rows(HIDDEN_SIZES, rows, LARGE_HIDDEN_SIZES),
            "members": _by_rows(MEMBERS, rows, LEAST_MEMBERS),
            "learning_rate": 1e-3,
            "epochs": 200,
            "patience": 16,
            "weight_decay": 0.01 if spec.training.optimizer == "adamw" else 0.0,
            "dropout": 0.1,
            "numbers": "piecewise",
        }
    chosen["batch_size"] = _by_rows(BATCHES, rows, LARGEST_BATCH)
    chosen["bins"] = max(8, min(_by_rows(BINS, rows, MOST_BINS), ENCODED_NUMBERS // max(rows * columns, 1)))
    chosen["folds"] = 1 if rows < FEW else 16 if rows < 2_000 else 8
    return _filled(spec, MEANINGLESS | PLAIN | chosen)


def _filled(spec: Spec, chosen: dict[str, Any]) -> Spec:
    """The spec with these values where it has "auto"."""
    return spec.replace(**{name: value for name, value in chosen.items() if spec[name] == "auto"})


def _deep(spec: Spec, rows: int, of_texts: bool) -> Spec:
    """Towers of convolutions or recurrent layers."""
    network, kind = spec.network, spec.network.kind
    if kind == "cnn" and network.preset != "none":
        whole = {
            name: value
            for name, value in PRESETS[network.preset].items()
            if spec[name] == HYPERPARAMETERS[name].default
        }
        spec = spec.replace(**whole)
    epochs = TEXT_EPOCHS if of_texts else RECURRENT_EPOCHS if kind == "rnn" else EPOCHS
    chosen = MEANINGLESS | {
        "bins": MOST_BINS,
        "numbers": "robust",
        "folds": 1,  # none is spared: the last epoch of a cycle is kept
        "summary": "max" if kind == "rnn" else "mean",
        "channels": (32, 64, 128, 256),
        "block_layers": 2,
        "pooling": "max",
        "embedding_size": 64,
        "recurrent_width": 256 if rows >= SMALL else 64,
        "hidden_sizes": (),
        "normalization": "batch" if kind == "cnn" else "none",
        "residual": kind == "cnn",
        "schedule": "one_cycle",
        "members": 2 if kind == "cnn" else 4 if rows >= SMALL else 8,
        "learning_rate": 2e-3,
        "epochs": _by_rows(epochs, rows, FEWEST_EPOCHS),
        "batch_size": 64 if rows >= ENOUGH_FOR_BATCHES else 16,
        "weight_decay": 0.05,
        "dropout": 0.0 if kind == "cnn" else 0.1 if of_texts else 0.4,
        "input_dropout": 0.3 if of_texts else 0.0,
        "label_smoothing": 0.1 if kind == "cnn" else 0.0,
        "flip": kind == "cnn",
        "crop": 0.125 if kind == "cnn" else 0.0,
        "cutout": 0.25 if kind == "cnn" else 0.0,
    }
    if kind == "channel_mlp":
        chosen |= {"hidden_sizes": (128, 64), "learning_rate": 1e-3, "dropout": 0.2, "members": 2}
    chosen["patience"] = spec["epochs"] if spec["epochs"] != "auto" else chosen["epochs"]
    return _filled(spec, chosen)


def cores_for(chosen: Spec, rows: int, many: int) -> int:
    """Of so many cores, those each network is trained on: they are shared out, but for products too small to be."""
    kind, asked = chosen.network.kind, chosen["batch_size"]
    batch = rows if asked == "full" else min(asked, rows)
    work = {"rnn": chosen["recurrent_width"] * batch, "cnn": 256 * chosen["channels"][0]}
    return max(1, many // chosen["members"]) if work.get(kind, WORTH_CORES) >= WORTH_CORES else 1


def _by_rows(steps: tuple[tuple[int, Value], ...], rows: int, beyond: Value) -> Value:
    """The value of the first step that has more rows than these."""
    return next((value for most, value in steps if rows < most), beyond)


def _for_perceptron(rule: str, columns: int) -> dict[str, Any]:
    """Rules that go by the size of the error need small steps: the delta rule smaller ones the longer the rows are."""
    return {
        "hidden_sizes": (),
        "members": 1,
        "learning_rate": {"adaline": 0.1, "delta": min(0.01, 0.3 / (columns + 1))}.get(rule, 1.0),
        "epochs": 100,
        "patience": 100,
        "weight_decay": 0.0,
        "dropout": 0.0,
        "numbers": "standard",
    }
