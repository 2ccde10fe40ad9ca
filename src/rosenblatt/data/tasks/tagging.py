"""In: typed rows, and the tags of their steps. Out: how texts are cut so that each token has its tag, or which has not.

Steps of a sequence of numbers are what they are; of a text they are words, or else characters.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import polars as pl

from rosenblatt.data.encoding.vocabulary import Unit, Vocabulary
from rosenblatt.data.media.columns import medium_of, steps_of
from rosenblatt.errors import SpecError, TableError

UNITS: tuple[Unit, ...] = ("words", "characters")


def unit_of_tags(frame: pl.DataFrame, y: np.ndarray, asked: str) -> str:
    """The tokens by which each tag of y (n, T), -1 after a row's end, belongs to a step; `asked` is a unit, or auto.

    Raises:
        TableError: where a row has other numbers of tags and of steps.
        SpecError: for subwords.
    """
    if asked == "subwords":
        raise SpecError("Subwords have no tags of their own. Use tokens words or characters.")
    tags, series = (y >= 0).sum(axis=1), _steps(frame)
    if medium_of(series.dtype) == "sequence":
        check_tags(tags, step_counts(frame, asked), "steps")
        return asked
    units = UNITS if asked == "auto" else (asked,)
    counts = {unit: step_counts(frame, unit) for unit in units}
    fitting = next((unit for unit, many in counts.items() if (many == tags).all()), None)
    if fitting is None:
        check_tags(tags, counts[units[0]], units[0], series.struct.field("text").to_list())
    return str(fitting)


def step_counts(frame: pl.DataFrame, unit: str) -> np.ndarray:
    """(n,) steps of the rows' sequence, or tokens of their text. Raises TableError where they have several, or none."""
    series = _steps(frame)
    if medium_of(series.dtype) == "sequence":
        return np.array([len(row) for row in steps_of(series)], np.int64)
    spans = Vocabulary(unit=cast("Unit", unit), tokens=()).spans
    return np.array([len(spans(text)) for text in series.struct.field("text")], np.int64)


def _steps(frame: pl.DataFrame) -> pl.Series:
    media = [series for series in frame if medium_of(series.dtype) in ("text", "sequence")]
    if len(media) != 1:
        raise TableError(
            f"Tags are of the steps of one text or sequence, but the rows hold {len(media)}. Leave out all but one."
        )
    return media[0]


def check_tags(tags: np.ndarray, steps: np.ndarray, what: str, texts: list[str] | None = None) -> None:
    """Raise TableError for the first row that has other numbers (n,) of tags and of steps."""
    odd = np.flatnonzero(tags != steps)
    if odd.size:
        row = int(odd[0])
        shown = "" if texts is None else f" ({texts[row][:40]!r})"
        hint = " Signs count as words too; --tokens characters tags each character." if what == "words" else ""
        raise TableError(
            f"Row {row + 1} has {tags[row]} tags, but {steps[row]} {what}{shown}. Give each step its tag.{hint}"
        )
