"""Read the tables of a command, and report what was detected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rosenblatt.errors import Notify, SpecError, TableError, format_count

if TYPE_CHECKING:
    from rosenblatt.data.table import Table, TableFormat


def read_and_report(
    path: str, format: TableFormat, notify: Notify, *, allow_empty: bool = False, query: str = ""
) -> Table:
    """Read a table, or what a query selects of a version of a volume, and pass on its size and what was detected.

    Raises:
        TableError: if the table cannot be read, or has no rows, unless `allow_empty` is set.
        VolumeError: if the version does not exist; QueryError if the query is invalid.
        SpecError: if a query is given for a table that is no volume.
    """
    from rosenblatt.data.readers.read import read_formatted
    from rosenblatt.data.volumes.locations import is_volume
    from rosenblatt.workflows.volume_inputs import read_volume

    is_version = is_volume(path)
    if query and not is_version:
        raise SpecError(f"--query selects samples of a volume, but {path!r} is none. Add it to one, or omit it.")
    table = read_volume(path, query) if is_version else read_formatted(path, format)
    name = table.source if is_version else path
    rows, columns = format_count(table.frame.height, "row"), format_count(table.frame.width, "column")
    if not table.frame.height and not allow_empty:
        raise TableError(f"{name!r} has no rows, only the names of {columns}. Give a table with rows.")
    notify(f"{name}: {rows}, {columns}")
    for note in table.notes:
        notify(f"  {note}")
    return table


def split_column_names(arguments: Sequence[str], table: Table) -> list[str]:
    """Split arguments that name several columns, separated by commas; a name may hold commas itself."""
    names: list[str] = []
    for argument in arguments:
        parts = [part for part in argument.split(",") if part.strip()]
        while parts:  # the longest existing name comes first
            ends = range(len(parts), 1, -1)
            n_parts = next((end for end in ends if ",".join(parts[:end]).strip() in table.frame.columns), 1)
            names.append(",".join(parts[:n_parts]).strip())
            parts = parts[n_parts:]
    return names


def check_group_columns(names: Sequence[str], tables: Sequence[Table | None], series: str | None) -> None:
    """Check that columns to group errors by exist in all tables and hold categories, numbers or dates.

    `series` is the series column of a forecast. Raises TableError.
    """
    from rosenblatt.data.tasks.task import resolve_column_name
    from rosenblatt.inspection.groups import check_groups

    for name in names:
        for table in filter(None, tables):
            check_groups(table.frame[resolve_column_name(table.frame, name)])
        if series is not None and name != series:
            column = f"its series column, {series!r}" if series else "a series column, but this one has none"
            raise TableError(f"The errors of a forecast can only be grouped by {column}, not by {name!r}.")


def check_can_group(names: Sequence[str], *, is_per_step: bool, has_test: bool = True) -> None:
    """Check that a model predicts rows, and that there are test rows, to group its errors by columns of these names.

    Raises TableError.
    """
    if names and (is_per_step or not has_test):
        reason = "this model predicts each step" if is_per_step else "no rows are held out for a test"
        raise TableError(f"Errors cannot be grouped by {names[0]!r}: {reason}. Remove --by.")
