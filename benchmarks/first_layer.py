"""Compare epochs of default networks that use the structure of piecewise-linear inputs with those that do not.

    python benchmarks/first_layer.py [--shapes 1000x30 6000x30] [--json]

Networks and encodings are the default ones for generated tables of numbers, and are trained on one core. Without the
structure, the first layer is a product of matrices. Printed are milliseconds of processor time of an epoch, the best
of --rounds, and the largest relative difference of the validation losses.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from common import make_parser, make_table
from rich.console import Console

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.encoding import MatrixEncoder
from rosenblatt.training.member import new_member
from rosenblatt.training.population import train
from rosenblatt.training.rows import NO_SPANS, DenseRows

SHAPES = ("1000x8", "1000x20", "1000x30", "1000x50", "1000x100", "6000x30", "20000x30")
MIN_ROWS = 3_000  # rows of the epochs that are measured at a time


def time_epoch(spec: Spec, rows: DenseRows) -> tuple[float, list[float]]:
    """Milliseconds of an epoch, and the validation loss of each."""
    n, n_features = rows.x.shape
    member = new_member(
        spec, build_dense(spec.network, n_features, 1), "binary_cross_entropy", np.arange(n // 8, n),
        np.arange(n // 8), (0,), rows,
    )  # fmt: skip
    started = time.process_time()
    list(train([member], rows, threads=1))
    return 1000 * (time.process_time() - started) / spec["epochs"], [record.score for record in member.history]


def measure(shape: str, rounds: int) -> dict[str, Any]:
    """Time epochs with and without structure, alternately."""
    n, n_columns = map(int, shape.split("x"))
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n, n_columns))
    t = (values[:, :1] + values[:, 1:2] * values[:, 2:3] + rng.normal(size=(n, 1)) > 0).astype(np.float32)
    epochs = MIN_ROWS // n + 1
    spec = resolve_auto(Spec.from_hyperparameters(epochs=epochs, patience=epochs), n, n_columns)
    encoder = Encoder.fit(values, spec.data)
    dense = DenseRows(MatrixEncoder(encoder.encodings).encode(values), t, np.ones(n, np.float32), NO_SPANS)
    time_epoch(spec, dense)  # compiles
    times = [[time_epoch(spec, rows) for rows in (dense, dense._replace(spans=encoder.spans))] for _ in range(rounds)]
    without, structured = (min(pair[i][0] for pair in times) for i in (0, 1))
    losses = [np.array(result[1]) for result in times[0]]
    return {"table": shape, "inputs": encoder.width, "units": spec.network.hidden_sizes[0], "batch": spec["batch_size"],
            "ms, matrices": without, "ms, structure": structured, "less": 1 - structured / without,
            "difference": float(np.max(np.abs(losses[1] / losses[0] - 1)))}  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="rows x columns")
    parser.add_argument("--rounds", type=int, default=5, help="number of measurements of each")
    arguments = parser.parse_args()
    results = [measure(shape, arguments.rounds) for shape in arguments.shapes]
    if arguments.json:
        print(json.dumps(results))
        return
    table = make_table("epochs of default networks on one core", *results[0])
    for result in results:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in result.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
