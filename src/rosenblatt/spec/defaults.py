"""Resolve hyperparameters set to "auto", by the size of the training table, the target and the machine.

docs/defaults.md gives the values and the measurements behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec

Value = TypeVar("Value")

MAX_ENCODED_VALUES = 2**28  # maximum number of float32 values of an encoded table: 1 GiB
# Pairs (rows, value): the value applies to tables with fewer training rows than that.
BATCH_SIZES = ((2_800, 32), (6_400, 128), (32_000, 256), (200_000, 512))
MAX_BATCH_SIZE = 1024
HIDDEN_SIZES = ((150, (128, 128)), (500, (256, 256)), (10_000, (512, 512)))
LARGE_HIDDEN_SIZES = (256, 256)
WIDE_UNITS = ((300, 256), (2_000, 128))  # pairs (columns, maximum units of a hidden layer) for wide tables
MIN_WIDE_UNITS = 64
MEMBERS = ((2_000, 16), (50_000, 8), (300_000, 4))
MIN_MEMBERS = 2
BINS = ((5_000, 16),)
MAX_BINS = 48
MAX_NARROW_COLUMNS = 100  # of numbers; bins multiply the inputs, and hardly improve the scores of wider tables
EPOCHS = ((20_000, 60), (100_000, 30))
MIN_ROWS_FOR_LARGE_RNN = 2_000  # fewer training sequences get small networks
RECURRENT_EPOCHS = ((MIN_ROWS_FOR_LARGE_RNN, 80), (20_000, 24))
TEXT_EPOCHS = ((MIN_ROWS_FOR_LARGE_RNN, 80), (20_000, 40))
MIN_EPOCHS = 15
MIN_ROWS_FOR_LARGE_BATCHES = 1_000  # training rows from which deep networks use batches of 64
MIN_WORK_FOR_MORE_CORES = 4_096  # units of a layer x rows of a batch from which several cores are faster than one
MACHINE_DEPENDENT = ("cores", "precision")  # hyperparameters whose "auto" depends on the machine
NEUTRAL_VALUES = {
    "input_dropout": 0.0,
    "normalization": "none",
    "schedule": "constant",
    "label_smoothing": 0.0,
    "residual": False,
}
INAPPLICABLE_VALUES: dict[str, Any] = {  # of hyperparameters without effect for a kind of network or data
    "cores": 1, "precision": "float32",
    "image_size": "auto", "max_length": "auto", "window": "auto", "flip": False, "crop": 0.0, "cutout": 0.0,
    "channels": (), "block_layers": 1, "pooling": "max", "global_pooling": "mean", "recurrent_width": 1,
    "embedding_size": 1, "patience_factor": 0.0,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"channels": (16, 32), "block_layers": 1, "residual": False},
    "small": {"channels": (24, 48, 96, 192), "block_layers": 2},
    "medium": {"channels": (48, 96, 192, 384), "block_layers": 2},
    "resnet18": {"channels": (64, 128, 256, 512), "block_layers": 4, "pooling": "stride"},
}
"""Hyperparameters set by each preset; resnet18 follows He et al. 2016, table 1, with a first layer for small images."""
MIN_ROWS_FOR_VALIDATION = 20  # tables with fewer training rows have no validation rows


def resolve_auto(
    spec: Spec,
    n_rows: int,
    n_columns: int,
    *,
    has_text: bool = False,
    loss: str = "cross_entropy",
    available_cores: int = 1,
    cpu_precision: Callable[[], str] = lambda: "float32",
) -> Spec:
    """Replace every "auto" that depends on the table, the target or the machine.

    Args:
        spec: The spec as the user set it.
        n_rows, n_columns: Numbers of training rows and of numeric columns.
        has_text: Whether the rows hold texts.
        loss: The loss of the target, as `Target.loss`.
        available_cores: Cores that the networks of the spec share.
        cpu_precision: Returns the fastest precision of this machine; called only if a network can use it.
    """
    kind, training = spec.network.kind, spec.training
    resolved = _resolve_by_size(spec, n_rows, n_columns, has_text=has_text)
    other_values: dict[str, Any] = {}
    if kind in DEEP_KINDS and training.cores == "auto":
        other_values["cores"] = cores_per_network(resolved, n_rows, available_cores)
    has_half_precision = kind == "cnn" or (kind == "rnn" and resolved.network.rnn_cell == "lstm")
    if has_half_precision and training.device == "cpu" and training.precision == "auto":
        other_values["precision"] = cpu_precision()
    if training.label_smoothing == "auto" and "cross_entropy" not in loss:
        other_values["label_smoothing"] = 0.0
    return resolved.replace(**other_values)


def _resolve_by_size(spec: Spec, n_rows: int, n_columns: int, *, has_text: bool) -> Spec:
    """Replace every "auto" by its default for this kind of network and size of table."""
    kind = spec.network.kind
    if kind in DEEP_KINDS:
        return _for_deep_network(spec, n_rows, has_text and kind == "rnn")
    if kind == "perceptron":
        values = _for_perceptron(spec.network.perceptron_rule, n_columns)
    else:
        is_wide = n_columns > MAX_NARROW_COLUMNS
        has_bins = not is_wide or spec.data.bins != "auto"
        values = {
            "hidden_sizes": _hidden_sizes(n_rows, n_columns),
            "members": _lookup(MEMBERS, n_rows, MIN_MEMBERS),
            "learning_rate": 1e-3,
            "epochs": 200,
            "patience": 16,
            "patience_factor": 2.0 if is_wide and spec.training.patience == "auto" else 0.0,
            "weight_decay": 0.01 if spec.training.optimizer == "adamw" else 0.0,
            "dropout": 0.1,
            "numeric_encoding": "piecewise" if has_bins else "robust",
        }
    values["batch_size"] = _lookup(BATCH_SIZES, n_rows, MAX_BATCH_SIZE)
    values["bins"] = max(8, min(_lookup(BINS, n_rows, MAX_BINS), MAX_ENCODED_VALUES // max(n_rows * n_columns, 1)))
    values["folds"] = default_folds(kind, n_rows)
    return _fill_auto(spec, INAPPLICABLE_VALUES | NEUTRAL_VALUES | values)


def _hidden_sizes(n_rows: int, n_columns: int) -> tuple[int, ...]:
    """Return the default sizes by rows, with fewer units for wide tables, so that a step costs about as much."""
    sizes = _lookup(HIDDEN_SIZES, n_rows, LARGE_HIDDEN_SIZES)
    if n_columns <= MAX_NARROW_COLUMNS:
        return sizes
    max_units = _lookup(WIDE_UNITS, n_columns, MIN_WIDE_UNITS)
    return tuple(min(size, max_units) for size in sizes)


def default_folds(kind: str, n_rows: int) -> int:
    """Return the default number of folds of a kind of network; 1 means no validation rows.

    Deep networks need none, as they keep the last epoch of their learning rate cycle.
    """
    if kind in DEEP_KINDS or n_rows < MIN_ROWS_FOR_VALIDATION:
        return 1
    return 16 if n_rows < 2_000 else 8


def _fill_auto(spec: Spec, values: dict[str, Any]) -> Spec:
    """Return the spec with these values in place of "auto"."""
    return spec.replace(**{name: value for name, value in values.items() if spec[name] == "auto"})


def _for_deep_network(spec: Spec, n_rows: int, is_text: bool) -> Spec:
    """Resolve "auto" for convolutional, recurrent and per-channel networks."""
    network, kind = spec.network, spec.network.kind
    if kind == "cnn" and network.preset != "none":
        preset_values = {
            name: value
            for name, value in PRESETS[network.preset].items()
            if spec[name] == HYPERPARAMETERS[name].default
        }
        spec = spec.replace(**preset_values)
    epochs = TEXT_EPOCHS if is_text else RECURRENT_EPOCHS if kind == "rnn" else EPOCHS
    values = INAPPLICABLE_VALUES | {
        "bins": MAX_BINS,
        "numeric_encoding": "robust",
        "folds": default_folds(kind, n_rows),
        "global_pooling": "max" if kind == "rnn" else "mean",
        "channels": (32, 64, 128, 256),
        "block_layers": 2,
        "pooling": "max",
        "embedding_size": 64,
        "recurrent_width": 256 if n_rows >= MIN_ROWS_FOR_LARGE_RNN else 64,
        "hidden_sizes": (),
        "normalization": "batch" if kind == "cnn" else "none",
        "residual": kind == "cnn",
        "schedule": "one_cycle",
        "members": 2 if kind == "cnn" else 4 if n_rows >= MIN_ROWS_FOR_LARGE_RNN else 8,
        "learning_rate": 2e-3,
        "epochs": _lookup(epochs, n_rows, MIN_EPOCHS),
        "batch_size": 64 if n_rows >= MIN_ROWS_FOR_LARGE_BATCHES else 16,
        "weight_decay": 0.05,
        "dropout": 0.0 if kind == "cnn" else 0.1 if is_text else 0.4,
        "input_dropout": 0.3 if is_text else 0.0,
        "label_smoothing": 0.1 if kind == "cnn" else 0.0,
        "flip": kind == "cnn",
        "crop": 0.125 if kind == "cnn" else 0.0,
        "cutout": 0.25 if kind == "cnn" else 0.0,
    }
    if kind == "channel_mlp":
        values |= {"hidden_sizes": (128, 64), "learning_rate": 1e-3, "dropout": 0.2, "members": 2}
    values["patience"] = spec["epochs"] if spec["epochs"] != "auto" else values["epochs"]
    return _fill_auto(spec, values)


def cores_per_network(spec: Spec, n_rows: int, available_cores: int) -> int:
    """Return the number of cores per network: all cores divided among the networks, or 1 if products are small."""
    kind, batch_size = spec.network.kind, spec["batch_size"]
    batch = n_rows if batch_size == "full" else min(batch_size, n_rows)
    work = {"rnn": spec["recurrent_width"] * batch, "cnn": 256 * spec["channels"][0]}
    return (
        max(1, available_cores // spec["members"])
        if work.get(kind, MIN_WORK_FOR_MORE_CORES) >= MIN_WORK_FOR_MORE_CORES
        else 1
    )


def _lookup(table: tuple[tuple[int, Value], ...], n: int, default: Value) -> Value:
    """Return the value of the first pair whose number is more than n, else the default."""
    return next((value for limit, value in table if n < limit), default)


def _for_perceptron(rule: str, n_columns: int) -> dict[str, Any]:
    """Return the defaults of a perceptron; the step of the delta rule shrinks with the number of columns."""
    return {
        "hidden_sizes": (),
        "members": 1,
        "learning_rate": {"adaline": 0.1, "delta": min(0.01, 0.3 / (n_columns + 1))}.get(rule, 1.0),
        "epochs": 100,
        "patience": 100,
        "weight_decay": 0.0,
        "dropout": 0.0,
        "numeric_encoding": "standard",
    }
