"""The column `split` of a volume, which decides on its training, validation and test samples if it names them."""

from __future__ import annotations

from collections.abc import Mapping

from rosenblatt.data.volumes.query.conditions import Place
from rosenblatt.data.volumes.query.options import PARTS, Split
from rosenblatt.data.volumes.sources.source import SPLIT
from rosenblatt.errors import format_count, format_list, join_names

_NAMES = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip


def choose_part(split: Split, place: Place, counts: Mapping[str | None, int]) -> tuple[list[str] | None, str]:
    """Choose the values of the column `split` that name the part of a query.

    Args:
        split: the part of a query.
        place: of the part in the query.
        counts: number of samples of each value of the column.

    Returns:
        The values, or None if identities are hashed instead; and what to say of it.

    Raises QueryError if the column names other parts only.
    """
    parts = {part: [value for value in counts if value and _part_of(value) == part] for part in PARTS}
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
    return values, f"{note}; {format_count(others, 'sample')} in no part." if others else f"{note}."


def _part_of(value: str) -> str | None:
    return _NAMES.get(value.strip().lower())
