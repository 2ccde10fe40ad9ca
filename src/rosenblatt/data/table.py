"""A table as read from a file, folder or archive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.errors import TableError


class TableFormat(BaseModel):
    """How a table is written: as the user says, and else as its reader detects it; None is not decided yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: bool | None = None  # whether the first line names the columns
    encoding: str | None = None  # such as "utf-8" or "cp1252"
    separator: str | None = None  # between cells: a character, or "blanks" for any run of spaces and tabs
    decimal: Literal[".", ","] | None = None  # decimal mark
    thousands: str | None = None  # thousands separator; "" if there is none
    day_first: bool | None = None  # whether dates such as 03/04/2021 start with the day, if their column allows both
    missing: tuple[str, ...] | None = None  # further cells that stand for missing values; () for empty cells only
    is_typed: bool = False  # whether the source has types: then a string that is not null is not missing


def is_name_pattern(name: str) -> bool:
    """Whether Polars reads a name as a pattern of names: `*`, or a regular expression between ^ and $.

    Even methods of a single series do so, so that columns with such names cannot be used.
    """
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def check_column_names(names: Iterable[str]) -> None:
    """Raise TableError if a name is a pattern of names."""
    for name in filter(is_name_pattern, names):
        raise TableError(f"Column {name!r} has a name that would be read as a pattern of names. Rename it.")


DETECT_FORMAT = TableFormat()  # nothing is given, all is detected


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
    format: TableFormat = DETECT_FORMAT

    @property
    def all_rows(self) -> pl.DataFrame:
        """All rows; test rows come last."""
        return pl.concat([self.frame, self.test.frame]) if self.test else self.frame

    @property
    def evaluation_rows(self) -> Table:
        """The test rows, or else all rows."""
        return self.test or self
