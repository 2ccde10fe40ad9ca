"""Match the tags of a row with its steps: choose the token unit, and report rows whose counts differ.

Steps of a sequence of numbers are what they are; of a text they are words, or else characters.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import polars as pl

from rosenblatt.data.encoding.vocabulary import TokenUnit, Vocabulary
from rosenblatt.data.media.columns import medium_kind, sequences_from_column
from rosenblatt.errors import SpecError, TableError

AUTO_UNITS: tuple[TokenUnit, ...] = ("words", "characters")


def token_unit_for_tags(frame: pl.DataFrame, y: np.ndarray, unit_option: str) -> str:
    """The tokens by which each tag of y (n, T), -1 after a row's end, belongs to a step; `unit_option` is a unit
    or auto.

    Raises:
        TableError: where a row has other numbers of tags and of steps.
        SpecError: for subwords.
    """
    if unit_option == "subwords":
        raise SpecError("Subwords have no tags of their own. Use tokens words or characters.")
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
    """(n,) steps of the rows' sequence, or tokens of their text. Raises TableError where they have several, or none."""
    series = _step_column(frame)
    if medium_kind(series.dtype) == "sequence":
        return np.array([len(row) for row in sequences_from_column(series)], np.int64)
    spans = Vocabulary(unit=cast("TokenUnit", unit), tokens=()).spans
    return np.array([len(spans(text)) for text in series.struct.field("text")], np.int64)


def _step_column(frame: pl.DataFrame) -> pl.Series:
    media = [series for series in frame if medium_kind(series.dtype) in ("text", "sequence")]
    if len(media) != 1:
        raise TableError(
            f"Tags are of the steps of one text or sequence, but the rows hold {len(media)}. Leave out all but one."
        )
    return media[0]


def check_tags(tags: np.ndarray, steps: np.ndarray, unit: str, texts: list[str] | None = None) -> None:
    """Raise TableError for the first row that has other numbers (n,) of tags and of steps."""
    mismatched_rows = np.flatnonzero(tags != steps)
    if mismatched_rows.size:
        row = int(mismatched_rows[0])
        excerpt = "" if texts is None else f" ({texts[row][:40]!r})"
        hint = " Signs count as words too; --tokens characters tags each character." if unit == "words" else ""
        raise TableError(
            f"Row {row + 1} has {tags[row]} tags, but {steps[row]} {unit}{excerpt}. Give each step its tag.{hint}"
        )
