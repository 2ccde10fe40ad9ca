"""Encode few rows cell by cell, equal to `Schema.read` and `Encoder.matrix` to the last bit.

Polars takes half a millisecond for a column of words, however few. The feature of a word does not depend on the other
cells, so each word is read by Polars once, and its feature is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.encoding.encoder import CategoryEncoding, Encoder, NumberEncoding
from rosenblatt.data.polars_threads import require_polars
from rosenblatt.data.schema.columns import Column, Schema
from rosenblatt.training.compiled.encoding import MatrixEncoder

MAX_WORDS = 10_000  # number of words of a column whose features are stored
_WORD_TYPES = (pl.String, pl.Categorical, pl.Enum, pl.Null)
Cells = list[Any] | np.ndarray
"""Cells of a column: strings, or booleans of a column of booleans, or None; or numbers (n,) float64, or NaN."""


class _WordEncoder:
    """The features of the words of a column of categories or booleans."""

    def __init__(self, column: Column, encoding: CategoryEncoding) -> None:
        self._column = column
        self._encoding = encoding
        self._features: dict[Any, int] = {}  # of each cell; the width for none

    def cells(self, series: pl.Series) -> list[Any] | None:
        """The cells of a column, or None if they are of another type."""
        is_boolean = self._column.kind == "boolean"
        if series.dtype not in _WORD_TYPES and not (is_boolean and series.dtype == pl.Boolean):
            return None
        cells = series.to_list()
        if is_boolean and series.dtype != pl.Boolean and not {*cells} <= {*self._column.boolean_pair}:
            return None  # other words than in training are read depending on the whole column
        return cells

    def encode(self, cells: list[Any], out: np.ndarray) -> None:
        """Set the features of the cells (n,) in `out` (n, features), which is 0."""
        features, new = self._features, {*cells} - self._features.keys()
        if len(features) + len(new) > MAX_WORDS:
            features, new = {}, {*cells}
        if new:
            features = self._features = features | self._read([*new])
        for row, cell in enumerate(cells):
            if features[cell] < self._encoding.width:
                out[row, features[cell]] = 1

    def _read(self, cells: list[Any]) -> dict[Any, int]:
        """The feature of each cell, as whole columns are read."""
        are_booleans = self._column.kind == "boolean" and {*map(type, cells)} <= {bool, type(None)}
        series = pl.Series(self._column.name, cells, pl.Boolean if are_booleans else pl.String)
        out = np.full((len(cells), self._encoding.width + 1), 0.5, np.float32)  # the last one stands for no feature
        self._encoding.encode(self._column.read(series)[0], out[:, :-1])
        return dict(zip(cells, out.argmax(axis=1).tolist(), strict=True))


class CellEncoder:
    """Encodings of columns of numbers, words and booleans, prepared for few rows."""

    def __init__(self, schema: Schema, encoder: Encoder) -> None:
        columns = {column.name: column for column in schema.input_columns}
        numbers, self._number_features = list[NumberEncoding](), list[int]()
        self._words, start = list[tuple[str, slice, _WordEncoder]](), 0
        self.is_possible = not encoder.n_sparse_columns and len(columns) == len(encoder.encodings)
        for encoding in encoder.encodings:
            column, width = columns.get(encoding.column), getattr(encoding, "width", 0)
            if column is not None and isinstance(encoding, NumberEncoding) and column.is_plain_number:
                numbers.append(encoding)
                self._number_features += range(start, start + width)
            elif column is not None and isinstance(encoding, CategoryEncoding):
                self._words.append((column.name, slice(start, start + width), _WordEncoder(column, encoding)))
            else:  # images, texts, sequences, dates, and numbers with a unit
                self.is_possible = False
            start += width
        self._width, self._numbers = start, [encoding.column for encoding in numbers]
        self._columns = {*columns}
        self._matrix_encoder = MatrixEncoder(numbers) if numbers else None

    def encode(self, frame: pl.DataFrame) -> np.ndarray | None:
        """Encode a frame as read: (n, F) float32, or None if its columns are of other types, or cannot be used."""
        require_polars()
        if not (self.is_possible and self._columns.issubset(frame.columns)):
            return None
        columns: dict[str, Cells] = {}
        for name, _, word_encoder in self._words:
            cells = word_encoder.cells(frame.get_column(name))
            if cells is None:
                return None
            columns[name] = cells
        for name in self._numbers:
            series = frame.get_column(name)
            if not series.dtype.is_numeric():
                return None
            columns[name] = series.cast(pl.Float64).to_numpy()
        return self.encode_cells(columns, frame.height)

    def encode_cells(self, columns: Mapping[str, Cells], n: int) -> np.ndarray | None:
        """Encode the cells of n rows by column: (n, F) float32, or None if a number is infinite.

        Every column must be in `columns`, and `is_possible` be true.
        """
        x = np.zeros((n, self._width), np.float32)
        if self._matrix_encoder:
            matrix = np.column_stack([columns[name] for name in self._numbers])
            if np.isinf(matrix).any():
                return None
            x[:, self._number_features] = self._matrix_encoder.encode(matrix)
        for name, features, word_encoder in self._words:
            word_encoder.encode(columns[name], x[:, features])  # type: ignore[arg-type] # words are lists
        return x
