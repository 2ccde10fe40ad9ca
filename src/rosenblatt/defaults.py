"""In: a spec in which some values are "auto", and how large the table is. Out: the spec with all values chosen.

The choices and the measurements behind them are told in docs/defaults.md.
"""

from __future__ import annotations

from typing import Any, TypeVar

from rosenblatt.spec import Spec

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
FEW = 20  # training rows below which none is spared for validation


def resolve(spec: Spec, rows: int, columns: int) -> Spec:
    """Choose all that is "auto", for a number of training rows and of numeric columns."""
    if spec.network.kind == "perceptron":
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
    auto = {name: value for name, value in chosen.items() if spec[name] == "auto"}
    return spec.replace(**auto)


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
