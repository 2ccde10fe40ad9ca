"""Rows of the next version that replace those of the version before, sorted outside of memory if there are many."""

from __future__ import annotations

import polars as pl

from rosenblatt.data.volumes.storage.temporary import FrameFile

RUN_ROWS = 1 << 18  # that are sorted at a time, and stay in memory if there are no more
BLOCK_ROWS = 1 << 11  # of a run that are read at a time


class ChangedRows:
    """Rows that are added in any order, and taken in the order of a column of positions.

    Args:
        position: the column.
        schema: of the rows.
    """

    def __init__(self, position: str, schema: pl.Schema) -> None:
        self._position, self._empty = position, pl.DataFrame(schema=schema)
        self._pending, self._blocks, self._runs = list[pl.DataFrame](), FrameFile(), list[_Run]()
        self.n_rows = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows, before any are taken. Raises StorageError if a temporary file cannot be written."""
        if not rows.height:
            return
        self.n_rows += rows.height
        self._pending.append(rows)
        if sum(frame.height for frame in self._pending) >= RUN_ROWS:
            first = len(self._blocks)
            for block in self._sort_pending().iter_slices(BLOCK_ROWS):
                self._blocks.append(block)
            self._runs.append(_Run(range(first, len(self._blocks)), self._empty))

    def _sort_pending(self) -> pl.DataFrame:
        pending, self._pending = self._pending, []
        return pl.concat(pending).sort(self._position)

    def take(self, stop: int) -> pl.DataFrame:
        """The rows at positions below `stop` that were not taken yet, in order."""
        if self._pending:
            self._runs.append(_Run(range(0), self._sort_pending()))
        parts = [self._empty]
        for run in self._runs:
            while True:
                n_rows = int(run.rows[self._position].search_sorted(stop))
                parts.append(run.rows[:n_rows])
                run.rows = run.rows[n_rows:]
                if run.rows.height or not run.blocks:
                    break
                run.rows, run.blocks = self._blocks.read(run.blocks[0]), run.blocks[1:]
        return pl.concat(parts).sort(self._position)


class _Run:
    """Rows in order, of which the first ones that are left are in memory."""

    def __init__(self, blocks: range, rows: pl.DataFrame) -> None:
        self.blocks, self.rows = blocks, rows
