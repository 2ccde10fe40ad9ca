"""Read the tables a command names, and report what was inferred about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rosenblatt.data.table import Table


def read(path: str, header: bool | None, encoding: str | None, say: Callable[[str], None]) -> Table:
    """The table of a file; what was read leniently is said. Raises TableError."""
    from rosenblatt.data.readers.read import read_table

    table = read_table(path, header=header, encoding=encoding)
    say(f"{path}: {table.frame.height:,} rows, {table.frame.width} columns")
    for note in table.notes:
        say(f"  {note}")
    return table


def columns(asked: Sequence[str], table: Table) -> list[str]:
    """Columns given one by one, or several with commas between them."""
    names: list[str] = []
    for word in asked:
        parts = [part for part in word.split(",") if part.strip()]
        while parts:  # a name may hold commas: the longest that there is
            ends = range(len(parts), 1, -1)
            taken = next((end for end in ends if ",".join(parts[:end]).strip() in table.frame.columns), 1)
            names.append(",".join(parts[:taken]).strip())
            parts = parts[taken:]
    return names
