"""A table as read, with what is known of where it came from."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Table:
    """A table as it was read, and what its reader found out on the way."""

    frame: pl.DataFrame
    source: str
    notes: tuple[str, ...] = ()
    target: str = ""  # the column to predict, where what was read says so, as folders for the classes do
    test: Table | None = None  # rows to test on that were beside it
    texts: tuple[str, ...] = ()  # columns that hold texts, however short
    excluded_columns: tuple[str, ...] = ()  # columns that are learnt from only if asked for
    id_column: str = ""  # the column that tells rows apart, where they are files or texts

    @property
    def all_rows(self) -> pl.DataFrame:
        """All rows, those to test on last."""
        return pl.concat([self.frame, self.test.frame]) if self.test else self.frame

    @property
    def evaluation_rows(self) -> Table:
        """The rows to test on, where there are such; else all."""
        return self.test or self
