"""Convert the cells of one field of a request to a column in the type that the schema of the model reads.

The type of a column depends on its field only, never on the cells: the rows of several requests can be joined, and
each is predicted as if it came alone. Images are contents, never names of files.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

import numpy as np
import polars as pl

from rosenblatt.data.media.columns import sequence_column
from rosenblatt.data.media.images import is_image_content
from rosenblatt.data.schema.booleans import Pair
from rosenblatt.data.schema.dates import DateFormat, as_dates, to_local_time
from rosenblatt.errors import TableError

Part = list[Any] | np.ndarray | pl.Series
"""Checked cells of one request: numbers (n,) float64, a column, or a list, which is joined with others in a batch."""

FieldKind = Literal["number", "boolean", "category", "date", "time", "image", "text", "sequence"]
MAX_SHOWN = 40  # characters of a cell in a message
EPOCH = dt.date(1970, 1, 1)
DTYPES: dict[FieldKind, pl.DataType] = {
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "category": pl.String(),
    "date": pl.Datetime("us"),
    "time": pl.Datetime("us"),
    "image": pl.Binary(),
    "text": pl.String(),
}
EXPECTED: dict[FieldKind, str] = {
    "number": "a finite number or null",
    "boolean": "true, false or null",
    "category": "a string or null",
    "date": "a date such as '2026-11-27' or '2026-11-27T08:30:00', or null",
    "time": "a time such as '08:30:00', or null",
    "image": "the content of an image file (PNG, JPEG, GIF, BMP, TIFF, WebP or NumPy), in base64",
    "text": "a string or null",
    "sequence": "a list of numbers, or of steps with equally many numbers each",
}


class CellError(Exception):
    """A cell that its field cannot hold; the position is that in the column, from 0."""

    def __init__(self, position: int, cell: object, expected: str) -> None:
        super().__init__(f"{expected}, but holds {show_cell(cell)}")
        self.position = position


@dataclass(frozen=True)
class Cells:
    """What the cells of a field may hold.

    Attributes:
        kind: of the field.
        pair: how no and yes of a boolean field were written in training, which strings may repeat.
        channels: numbers in each step of a sequence.
        dates: how dates were written in training, to whose time zone times are converted.
    """

    kind: FieldKind
    pair: Pair = ("false", "true")
    channels: int = 1
    dates: DateFormat = field(default_factory=DateFormat)

    @property
    def expected(self) -> str:
        """What a cell must be, in words."""
        if self.kind == "sequence" and self.channels > 1:
            return f"a list of steps with {self.channels} numbers each"
        return EXPECTED[self.kind]

    def check(self, name: str, cells: Sequence[Any]) -> Part:
        """Check cells of JSON, or Python objects of the same meaning, and convert them. Raises CellError."""
        if self.kind == "number":
            return self.to_numbers(cells)
        if self.kind == "sequence":
            rows = [self._convert(k, cell, _to_steps) for k, cell in enumerate(cells)]
            for k, row in enumerate(rows):
                if row.size and row.shape[1] != self.channels:
                    raise CellError(k, cells[k], self.expected)
            return sequence_column(name, rows, self.channels)
        if self.kind in ("category", "text") and {*map(type, cells)} <= {str, type(None)}:
            return list(cells)
        convert = {
            "boolean": self._to_boolean, "category": _to_category, "date": self._to_date, "time": _to_time,
            "image": _to_image, "text": _to_text,
        }[self.kind]  # fmt: skip
        is_optional = self.kind != "image"
        return [
            None if cell is None and is_optional else self._convert(k, cell, convert) for k, cell in enumerate(cells)
        ]

    def join(self, name: str, parts: Sequence[Part]) -> pl.Series:
        """Make one column of the checked cells of several requests."""
        if self.kind == "number":
            return pl.Series(name, np.concatenate(parts), pl.Float64, nan_to_null=True)
        if any(isinstance(part, pl.Series) for part in parts):
            return pl.concat([p if isinstance(p, pl.Series) else pl.Series(name, p, DTYPES[self.kind]) for p in parts])
        return pl.Series(name, [cell for part in parts for cell in part], DTYPES[self.kind])

    def join_cells(self, parts: Sequence[Part]) -> list[Any] | np.ndarray:
        """The cells that `join` makes a column of, for `Model.predict_cells`."""
        if self.kind == "number":
            return np.concatenate(parts)
        return [cell for part in parts for cell in part]

    def to_numbers(self, cells: Sequence[Any]) -> np.ndarray:
        """Convert cells to numbers (n,) float64, NaN if missing. Raises CellError."""
        if len(cells) == 1 and type(cells[0]) is float and isfinite(cells[0]):  # by far the most frequent case
            return np.array(cells)
        if not {*map(type, cells)} <= {int, float, type(None)}:
            position = next(k for k, cell in enumerate(cells) if type(cell) not in (int, float, type(None)))
            raise CellError(position, cells[position], self.expected)
        try:
            numbers = np.array(cells, np.float64)
        except OverflowError:  # an integer beyond the range of floats
            position = next(k for k, cell in enumerate(cells) if _overflows(cell))
            raise CellError(position, cells[position], self.expected) from None
        self.check_finite(numbers)
        return numbers

    def check_finite(self, numbers: np.ndarray) -> None:
        """Raise CellError for infinite numbers."""
        is_infinite = np.isinf(numbers)
        if is_infinite.any():
            position = int(is_infinite.argmax())
            raise CellError(position, float(numbers[position]), self.expected)

    def check_series(self, series: pl.Series) -> Part:
        """Check a column of Arrow, and convert it. Raises CellError."""
        dtype = series.dtype
        if self.kind == "number" and dtype.is_numeric():
            numbers = series.cast(pl.Float64).to_numpy()
            self.check_finite(numbers)
            return numbers
        if self.kind in ("category", "text") and dtype in (pl.String, pl.Categorical, pl.Enum):
            return series.cast(pl.String)
        if self.kind in ("date", "time") and dtype in (pl.Date, pl.Datetime):
            return self._convert(0, series, lambda dates: as_dates(dates, self.dates))
        return self.check(series.name, series.to_list())

    def _convert(self, position: int, cell: object, convert: Callable[[Any], Any]) -> Any:
        try:
            return convert(cell)
        except TableError:
            first = cell[0] if isinstance(cell, pl.Series) else cell
            raise CellError(position, first, "a time without a time zone, in that of training") from None
        except (ValueError, TypeError, OverflowError):
            raise CellError(position, cell, self.expected) from None

    def _to_boolean(self, cell: object) -> bool:
        if isinstance(cell, bool):
            return cell
        if isinstance(cell, str | int) and str(cell).strip().lower() in self.pair:
            return str(cell).strip().lower() == self.pair[1]
        raise TypeError

    def _to_date(self, cell: object) -> dt.datetime:
        """The local time of a date, in the time zone of training if it had one."""
        moment = dt.datetime.fromisoformat(cell.strip()) if isinstance(cell, str) else cell
        if isinstance(moment, dt.datetime):
            return to_local_time(moment, "", self.dates)
        raise TypeError


def _overflows(cell: float | None) -> bool:
    try:
        float(cell or 0)
    except OverflowError:
        return True
    return False


def _to_category(cell: object) -> str:
    if isinstance(cell, str | int) and not isinstance(cell, bool):
        return str(cell)
    raise TypeError


def _to_text(cell: object) -> str:
    if isinstance(cell, str):
        return cell
    raise TypeError


def _to_time(cell: object) -> dt.datetime:
    """A time on the day from which times count."""
    time = dt.time.fromisoformat(cell.strip()) if isinstance(cell, str) else cell
    if isinstance(time, dt.time):
        return dt.datetime.combine(EPOCH, time.replace(tzinfo=None))
    raise TypeError


def _to_image(cell: object) -> bytes:
    if isinstance(cell, str):
        encoded = cell.partition(",")[2] if cell.startswith("data:") else cell
        try:
            cell = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise TypeError from None
    if isinstance(cell, bytes) and is_image_content(cell):
        return cell
    raise TypeError


def _to_steps(cell: object) -> np.ndarray:
    """A sequence (T, channels) float32 of finite numbers; null is an empty one, and null in it a missing number."""
    steps = [] if cell is None else cell
    if not isinstance(steps, list):
        raise TypeError
    are_lists = bool(steps) and all(isinstance(step, list) for step in steps)
    numbers = [number for step in steps for number in step] if are_lists else steps
    if not {*map(type, numbers)} <= {int, float, type(None)}:
        raise TypeError
    with np.errstate(over="ignore"):
        sequence = np.array(steps, np.float64).astype(np.float32)
    if np.isinf(sequence).any():
        raise ValueError
    return sequence.reshape(len(sequence), -1) if sequence.size else np.empty((0, 0), np.float32)


def show_cell(cell: object) -> str:
    """A cell in a message: its value, shortened, as JSON writes it."""
    if isinstance(cell, bytes):
        return f"{len(cell):,} bytes of another kind"
    if cell is None or isinstance(cell, bool):
        return {None: "null", True: "true", False: "false"}[cell]
    if isinstance(cell, dict | list):
        return "an object" if isinstance(cell, dict) else f"a list of {len(cell):,}"
    if isinstance(cell, int) and abs(cell) >= 10**MAX_SHOWN:
        return "an integer of more digits than a number may have"
    text = repr(cell)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
