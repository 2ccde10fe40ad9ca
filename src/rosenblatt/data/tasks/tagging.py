"""Match the tags of a row with its steps: the steps of a sequence, or the words or characters of a text."""

from __future__ import annotations

from typing import cast

import numpy as np
import polars as pl

from rosenblatt.data.encoding.vocabulary import TokenUnit, Vocabulary
from rosenblatt.data.media.columns import medium_kind, sequences_from_column
from rosenblatt.errors import SpecError, TableError, format_count

AUTO_UNITS: tuple[TokenUnit, ...] = ("words", "characters")


def token_unit_for_tags(frame: pl.DataFrame, y: np.ndarray, unit_option: str) -> str:
    """Choose the token unit by which each tag of a row belongs to a token; sequences keep `unit_option`.

    Args:
        frame: the typed rows.
        y: tags (n, T), -1 after the end of a row.
        unit_option: a token unit, or "auto" for words if they fit, or else characters.

    Raises:
        TableError: if the numbers of tags and steps of a row differ.
        SpecError: for subwords.
    """
    if unit_option == "subwords":
        raise SpecError("tokens subwords cannot be tagged. Use words or characters.")
    tags, series = (y >= 0).sum(axis=1), _step_column(frame)
    if medium_kind(series.dtype) == "sequence":
        check_tags(tags, step_counts(frame, unit_option), "steps")
        return unit_option
    units = AUTO_UNITS if unit_option == "auto" else (unit_option,)
    counts = {unit: step_counts(frame, unit) for unit in units}
    matching_unit = next((unit for unit, n_steps in counts.items() if (n_steps == tags).all()), None)
    if matching_unit is None:
        check_tags(tags, counts[units[0]], units[0], series.struct.field("text").to_list())
    return str(matching_unit)


def step_counts(frame: pl.DataFrame, unit: str) -> np.ndarray:
    """The number of steps or tokens (n,) of each row. Raises TableError unless the rows have one text or sequence."""
    series = _step_column(frame)
    if medium_kind(series.dtype) == "sequence":
        return np.array([len(row) for row in sequences_from_column(series)], np.int64)
    spans = Vocabulary(unit=cast("TokenUnit", unit), tokens=()).spans
    return np.array([len(spans(text)) for text in series.struct.field("text")], np.int64)


def _step_column(frame: pl.DataFrame) -> pl.Series:
    media = [series for series in frame if medium_kind(series.dtype) in ("text", "sequence")]
    if len(media) != 1:
        raise TableError(
            f"Tagging needs one column of texts or sequences, but the rows have {len(media)}. Ignore the others."
        )
    return media[0]


def check_tags(tags: np.ndarray, steps: np.ndarray, unit: str, texts: list[str] | None = None) -> None:
    """Raise TableError for the first row whose numbers (n,) of tags and of steps differ."""
    mismatched_rows = np.flatnonzero(tags != steps)
    if mismatched_rows.size:
        row = int(mismatched_rows[0])
        excerpt = "" if texts is None else f" ({texts[row][:40]!r})"
        hint = " Punctuation marks are words too; use --tokens characters to tag characters." if unit == "words" else ""
        raise TableError(
            f"Row {row + 1} has {format_count(tags[row], 'tag')}, but {format_count(steps[row], unit.rstrip('s'))}"
            f"{excerpt}. Give each step one tag.{hint}"
        )
