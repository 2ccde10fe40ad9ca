"""Actor of a machine: items come in, results go out with what was printed for their item."""

import sys
from dataclasses import replace

import numpy as np

from rosenblatt.tuning.node_worker import NodeWorker
from rosenblatt.tuning.packing import ItemPacker, unpack_results
from tests.tuning.work_items import make_items


class LoudScorer:
    """Scores each epoch alike, and says so."""

    def __init__(self, trial: int) -> None:
        self.trial = trial

    def __call__(self, outputs: np.ndarray, rows: np.ndarray) -> float:
        print(f"trial {self.trial}: {len(rows)} rows", file=sys.stderr)
        return 0.5


def collect(worker, n):
    results = []
    while len(results) < n:
        collection = worker.collect(0.2)
        assert collection.error is None
        results += unpack_results(collection.content) if collection.content else []
    return results


def test_results_have_what_was_printed_for_their_item():
    items = [replace(item, scorer=LoudScorer(item.trial.number)) for item in make_items()]
    worker, packer = NodeWorker(2, "cpu"), ItemPacker()
    try:
        packed = [packer.pack(item, number) for number, item in enumerate(items)]
        shared = packer.take_new()
        worker.load([], [entry.key for entry in shared], *(entry.content for entry in shared))
        worker.submit([item.attempt for item in packed], [item.content for item in packed])
        results = collect(worker, len(items))
    finally:
        worker.close()
    assert len(results) == len(items)
    for result in results:
        number = result.result.trial
        rows = next(item.fold.validation.size for item in items if item.key == (number, result.result.fold))
        assert result.result.output == f"trial {number}: {rows} rows\n" * 3  # epochs
