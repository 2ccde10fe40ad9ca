"""Print volumes, versions and their differences on the terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rosenblatt.cli.console.tables import make_console, print_table
from rosenblatt.errors import format_count

if TYPE_CHECKING:
    from rosenblatt.data.volumes.add import AddResult
    from rosenblatt.data.volumes.diff import VolumeDiff
    from rosenblatt.data.volumes.listing import ListedVersion, ListedVolume, VersionDescription
    from rosenblatt.data.volumes.query.result import QueryResult

MAX_SHOWN_IDS = 5
MAX_VALUE_CHARACTERS = 24
_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")


def format_bytes(n_bytes: int) -> str:
    """Format a number of bytes, such as 1.3 GB."""
    value, unit = float(n_bytes), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    is_whole = not unit or value >= 999.5  # of which three digits would be written as 1e+03
    return f"{value:,.0f} {_UNITS[unit]}" if is_whole else f"{value:.3g} {_UNITS[unit]}"


def print_added(result: AddResult) -> None:
    """Print the version that was committed."""
    console, commit = make_console(), result.commit
    name = f"{result.address.name}@{commit.version}"
    if not result.is_new:
        console.print(f"{name} holds the same already; no version was added")
        return
    size = f", {format_bytes(commit.n_bytes)}" if commit.n_bytes else ""
    console.print(f"{name}: {format_count(commit.n_samples, 'sample')} ({commit.kind}){size}, root {commit.root[:12]}")
    console.print(
        f"  {commit.added:,} added, {commit.changed:,} changed, {commit.removed:,} removed; "
        f"{format_bytes(result.bytes_written)} written in {result.seconds:.1f} s"
    )
    if commit.removed:
        console.print("  removed samples stay in earlier versions; --append keeps them in new ones")


def print_volumes(volumes: list[ListedVolume]) -> None:
    """Print a table of volumes."""
    if not volumes:
        make_console().print("no volumes yet: `rosenblatt data add NAME SOURCE` makes one")
        return
    rows = [
        (item.name, item.commit.version, item.commit.kind, item.commit.n_samples, _size(item.commit.n_bytes),
         _date(item.commit.created), item.root)
        for item in volumes
    ]  # fmt: skip
    titles = ("volume", "versions", "kind", "samples", "size", "last added", "root")
    print_table(make_console(), titles, rows, right=("size",))


def print_log(history: list[ListedVersion]) -> None:
    """Print a table of versions."""
    rows = [
        (item.commit.version, ", ".join(item.tags), _date(item.commit.created), item.commit.who,
         item.commit.n_samples, item.commit.added, item.commit.changed, item.commit.removed, item.commit.root[:12],
         item.commit.message)
        for item in history
    ]  # fmt: skip
    titles = ("version", "tags", "time", "by", "samples", "added", "changed", "removed", "root", "message")
    print_table(make_console(), titles, rows)


def print_version(description: VersionDescription) -> None:
    """Print a version and its columns."""
    console, opened = make_console(), description.volume
    commit = opened.commit
    tags = f" ({', '.join(description.tags)})" if description.tags else ""
    size = f", {format_bytes(commit.n_bytes)}" if commit.n_bytes else ""
    console.print(f"{opened.name}{tags}: {format_count(commit.n_samples, 'sample')} ({commit.kind}){size}")
    console.print(f"  root      {commit.root}")
    console.print(f"  address   {opened.uri}")
    console.print(f"  added     {_date(commit.created)} by {commit.who} from {commit.source}")
    if commit.message:
        console.print(f"  message   {commit.message}")
    console.print()
    rows = []
    for column in description.columns:
        values = ", ".join(f"{value} ({n:,})" for value, n in list(column.values.items())[:MAX_SHOWN_IDS])
        more = len(column.values) - MAX_SHOWN_IDS
        content = values + (f" and {more} more" if more > 0 else "")
        if not content and column.minimum:
            content = f"{_cut(column.minimum)} to {_cut(column.maximum)}"
        rows.append((column.name, column.type, column.missing, column.unique or None, content))
    print_table(console, ("column", "type", "missing", "unique", "values"), rows)


def print_diff(difference: VolumeDiff) -> None:
    """Print what differs between two versions."""
    console = make_console()
    parts = [("added", difference.added["id"]), ("removed", difference.removed["id"])]
    for title, ids in [*parts, ("changed", difference.changed["id"])]:
        names = ", ".join(_cut(str(value)) for value in ids.head(MAX_SHOWN_IDS))
        more = f" and {len(ids) - MAX_SHOWN_IDS:,} more" if len(ids) > MAX_SHOWN_IDS else ""
        console.print(f"{title:<9}{len(ids):,}{': ' if names else ''}{names}{more}")
    for name, n in difference.changed_cells.items():
        console.print(f"  {name}: {format_count(n, 'sample')}")
    for name, dtype in difference.new_columns.items():
        console.print(f"new column {name} ({dtype})")
    for name, dtype in difference.dropped_columns.items():
        console.print(f"dropped column {name} ({dtype})")
    for name, (old, new) in difference.retyped_columns.items():
        console.print(f"column {name}: {old} before, {new} now")


def print_selection(result: QueryResult) -> None:
    """Print how many samples a query selects, and the first ones."""
    console, commit = make_console(), result.volume.commit
    share = f" ({_percentage(result.n_samples / commit.n_samples)})" if commit.n_samples else ""
    size = f", {format_bytes(result.n_bytes)} of {format_bytes(commit.n_bytes)}" if commit.n_bytes else ""
    samples = format_count(commit.n_samples, "sample")
    console.print(f"{result.volume.name}: {result.n_samples:,} of {samples}{share}{size}")
    for note in result.notes:
        console.print(f"  {note}")
    if not result.n_samples or not result.first.height:
        return
    console.print()
    names = result.volume.metadata_columns
    rows = [(str(id_), *map(_cell, cells)) for id_, *cells in result.first.select(names).iter_rows()]
    print_table(console, names, rows)
    if n_more := result.n_samples - result.first.height:
        more = format_count(n_more, "more sample", "more samples")
        console.print(f"and {more}; --rows shows more of them, --out writes all")


def _cell(value: object) -> str | float | None:
    if value is None or isinstance(value, int | float):
        return value
    return _cut(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _percentage(share: float) -> str:
    return "under 0.01 %" if 0 < share < 1e-4 else f"{100 * share:.3g} %"


def _size(n_bytes: int) -> str:
    return format_bytes(n_bytes) if n_bytes else ""


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[: MAX_VALUE_CHARACTERS - 1]}…"
