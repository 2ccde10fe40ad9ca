"""The column `split` of a volume, which decides on its training, validation and test samples if it names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

import polars as pl

from rosenblatt.data.volumes.query.conditions import ColumnName, InValues, QueryPlace, Value
from rosenblatt.data.volumes.query.options import PARTS, SplitOption
from rosenblatt.data.volumes.sources.source import SPLIT
from rosenblatt.errors import format_count, format_list, join_names

MAX_EXACT_CHARACTERS = 32  # of a text in statistics; longer ones may be shortened
_NAMES = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip


def part_condition(
    split: SplitOption, place: QueryPlace, counts: Mapping[str | None, int]
) -> tuple[InValues | None, str]:
    """The condition on the column `split` that selects the part of a query.

    Args:
        split: the part of a query.
        place: of the part in the query.
        counts: number of samples of each value of the column.

    Returns:
        The condition, or None if identities are hashed instead; and what to say of it.

    Raises QueryError if the column names other parts only.
    """
    parts = {part: [value for value in counts if value and _parse_part(value) == part] for part in PARTS}
    sizes = {part: sum(counts[value] for value in values) for part, values in parts.items() if values}
    if not sizes:
        return None, f"The column {SPLIT!r} names neither train, validation nor test, so @split hashes identities."
    if split.shares:
        return None, f"@split with shares hashes identities; the column {SPLIT!r} is ignored."
    values = parts[split.part]
    if not values:
        raise place.error(
            f"Expected a part that the column {SPLIT!r} names, {format_list(sizes)}, or shares of parts such as "
            f"@split={split.part}:80/10/10, but got {split.part!r}"
        )
    others = sum(counts.values()) - sum(sizes.values())
    named = [f"{n:,} {part}" for part, n in sizes.items()]
    note = f"@split uses the column {SPLIT!r}: {join_names(named)}"
    note = f"{note}; {format_count(others, 'sample')} in no part." if others else f"{note}."
    return InValues(ColumnName(SPLIT, place), tuple(Value(value, place) for value in values)), note


def count_parts(files: pl.DataFrame, read: Callable[[int], pl.Series], pool: Executor) -> Counter[str | None]:
    """Count the values of the column `split`: by the statistics of a file if it holds only one value, or by reading it.

    Args:
        files: a row for each metadata file, as for `prune`.
        read: reads the column of a file.
        pool: in which it is called.
    """
    names = [f"{statistic}.{SPLIT}" for statistic in ("min", "max", "null_count")]
    bounds = files.select("rows", *(pl.col(name) if name in files else pl.lit(None).alias(name) for name in names))
    counts, unknown = Counter[str | None](), list[int]()
    for position, (n_rows, low, high, n_nulls) in enumerate(bounds.rows()):
        if low is not None and low == high and len(low) < MAX_EXACT_CHARACTERS and n_nulls is not None:
            counts.update({low: n_rows - n_nulls, None: n_nulls})
        else:
            unknown.append(position)
    for file_counts in pool.map(lambda position: read(position).value_counts(), unknown):
        counts.update(dict(file_counts.rows()))
    return counts


def _parse_part(value: str) -> str | None:
    return _NAMES.get(value.strip().lower())
