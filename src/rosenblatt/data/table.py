"""A table as read from a file, folder or archive."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Table:
    """A table as read, and what its reader detected."""

    frame: pl.DataFrame
    source: str
    notes: tuple[str, ...] = ()  # what was guessed or dropped, for the user
    target: str = ""  # the column to predict, if the source names it, as a folder for each class does
    test: Table | None = None  # test rows, if the source has a test folder
    texts: tuple[str, ...] = ()  # columns of texts, however short these are
    excluded_columns: tuple[str, ...] = ()  # columns that are inputs only on request
    id_column: str = ""  # the column that identifies rows, if they are files or texts

    @property
    def all_rows(self) -> pl.DataFrame:
        """All rows; test rows come last."""
        return pl.concat([self.frame, self.test.frame]) if self.test else self.frame

    @property
    def evaluation_rows(self) -> Table:
        """The test rows, or else all rows."""
        return self.test or self
