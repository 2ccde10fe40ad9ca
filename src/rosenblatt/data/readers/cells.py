"""Recognize numbers, dates and missing values in the first rows of text, where columns have no types yet."""

from __future__ import annotations

import re

from rosenblatt.data.schema.missing import ALL_MARKERS

_NUMBER = re.compile(
    r"[-+(\u2212$€£¥\s]*(\d[\d.,'\u00a0\u202f]*|\.\d+)([eE][-+]?\d+)?[\s%)$€£¥]*|[-+]?inf(inity)?", re.IGNORECASE
)
_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([ T]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2}.*)?( ?[AaPp]\.?[Mm]\.?)?"
)


def is_number(cell: str) -> bool:
    """Whether a cell looks like a number, such as 1.5, 1,234, -3e5, 45% or $5."""
    return _NUMBER.fullmatch(cell) is not None


def is_date(cell: str) -> bool:
    """Whether a cell looks like a date or time of digits."""
    return _DATE.fullmatch(cell) is not None and not is_number(cell)


def is_missing(cell: str) -> bool:
    """Whether a cell is empty or a marker of a missing value."""
    return not cell or cell.lower() in ALL_MARKERS
