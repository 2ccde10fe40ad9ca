"""In: a spec in which some values are "auto", and how large the table is. Out: the spec with all values chosen.

The choices and the measurements behind them are told in docs/defaults.md.
"""

from __future__ import annotations

from rosenblatt.spec import Spec

ENCODED_NUMBERS = 2**28  # most numbers of an encoded table: 1 GiB
BATCHES = ((2_800, 32), (4_500, 64), (6_400, 128), (32_000, 256), (200_000, 512))
LARGEST_BATCH = 1024
FEW = 20  # training rows below which none is spared for validation


def resolve(spec: Spec, rows: int, columns: int) -> Spec:
    """Choose all that is "auto", for a number of training rows and of numeric columns."""
    if spec.network.kind == "perceptron":
        chosen = _for_perceptron()
    else:
        chosen = {
            "hidden_sizes": (256, 256),
            "members": 8 if rows < 50_000 else 4 if rows < 300_000 else 2,
            "learning_rate": 1e-3,
            "epochs": 200,
            "patience": 16,
            "weight_decay": 0.0,
            "dropout": 0.1,
            "numbers": "piecewise",
        }
    chosen["batch_size"] = next((size for most, size in BATCHES if rows < most), LARGEST_BATCH)
    chosen["bins"] = max(8, min(48, ENCODED_NUMBERS // max(rows * columns, 1)))
    chosen["folds"] = 1 if rows < FEW else 8
    auto = {name: value for name, value in chosen.items() if spec[name] == "auto"}
    return spec.replace(**auto)


def _for_perceptron() -> dict[str, object]:
    return {
        "hidden_sizes": (),
        "members": 1,
        "learning_rate": 1.0,
        "epochs": 100,
        "patience": 100,
        "weight_decay": 0.0,
        "dropout": 0.0,
        "numbers": "standard",
    }
