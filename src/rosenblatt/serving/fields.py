"""The fields of the rows that a model predicts, derived from its schema: types, categories, ranges, and their check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.encoding.encoder import CategoryEncoding, NumberEncoding
from rosenblatt.data.encoding.media_encodings import SequenceEncoding
from rosenblatt.data.schema.columns import Column
from rosenblatt.data.schema.date_patterns import TIME
from rosenblatt.errors import did_you_mean, format_list
from rosenblatt.models.model import Model
from rosenblatt.serving.bodies import parse_json
from rosenblatt.serving.cells import CellError, Cells, FieldKind, Part
from rosenblatt.web.errors import RequestError, unprocessable

FAR = 0.5  # distance from the range of the training values, as a fraction of its width, that is reported
EXAMPLE_DATE, EXAMPLE_TIME = "2026-01-31", "08:30:00"
EXAMPLE_IMAGE = (  # a grey pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True)
class Field:
    """One field of a row: what its cells may hold, and what the training rows held."""

    name: str
    cells: Cells
    categories: tuple[str, ...] = ()  # frequent ones of the training rows
    has_other: bool = False  # whether training rows had rare categories, too
    typical: float | None = None  # median of the training rows
    range: tuple[float, float] | None = None  # of the training rows, if the model holds it
    column: Column | None = None

    @property
    def kind(self) -> FieldKind:
        """Kind of the cells."""
        return self.cells.kind

    @cached_property
    def example(self) -> Any:
        """A cell that the field may hold."""
        if self.kind == "number":
            return 0.0 if self.typical is None else float(f"{self.typical:.6g}")
        return {
            "boolean": True, "category": next(iter(self.categories), "a"), "date": EXAMPLE_DATE, "time": EXAMPLE_TIME,
            "image": EXAMPLE_IMAGE, "text": "a text",
            "sequence": [[0.0] * self.cells.channels] * 3 if self.cells.channels > 1 else [0.0, 1.0, 0.5],
        }[self.kind]  # fmt: skip

    def notes(self, cells: Part) -> list[str]:
        """What is unusual about checked cells."""
        if self._far_limits and isinstance(cells, np.ndarray):
            return self._far_numbers(cells, *self._far_limits)
        if self.kind != "category" or self.has_other or self.column is None:
            return []
        if self._categories.issuperset(cells):
            return []
        unread = sorted({*cells} - self._categories)  # as written; spaces and words for missing cells do not count
        unseen = {*self.column.read(pl.Series(self.name, unread, pl.String))[0].drop_nulls()} - self._categories
        if not unseen:
            return []
        return [f"{self.name}: categories not seen in training ({format_list(sorted(unseen), 3)})"]

    def _far_numbers(self, numbers: np.ndarray, low: float, high: float) -> list[str]:
        if len(numbers) == 1:
            number = numbers.item()
            if low <= number <= high or number != number:  # noqa: PLR0124 - NaN
                return []
        is_far = (numbers < low) | (numbers > high)
        if not is_far.any() or self.range is None:
            return []
        example = f"{numbers[is_far.argmax()]:g}; {self.range[0]:g} to {self.range[1]:g} in training"
        return [f"{self.name}: numbers far outside the range in training ({example})"]

    @cached_property
    def _far_limits(self) -> tuple[float, float] | None:
        """Numbers from which the distance from the training values is reported."""
        if self.range is None:
            return None
        margin = FAR * (self.range[1] - self.range[0])
        return self.range[0] - margin, self.range[1] + margin

    @cached_property
    def _categories(self) -> frozenset[str | None]:
        return frozenset((*self.categories, None))


@dataclass(frozen=True)
class CheckedRows:
    """Rows of a request that fit the model."""

    fields: InputFields
    parts: tuple[Part, ...]  # the cells of each field
    height: int  # number of rows
    notes: tuple[str, ...] = ()

    @cached_property
    def values(self) -> pl.DataFrame | np.ndarray:
        """The rows as the model reads them."""
        return self.fields.join([self])


@dataclass(frozen=True)
class InputFields:
    """The fields of the rows of a model, in order.

    Attributes:
        fields: those that the model uses.
        ignored: other columns of the training table, which rows may have without a note.
        is_matrix: whether rows become a matrix of numbers.
    """

    fields: tuple[Field, ...]
    ignored: frozenset[str]
    is_matrix: bool

    @property
    def names(self) -> list[str]:
        """Names of the fields."""
        return [field.name for field in self.fields]

    def check_rows(self, rows: Sequence[Mapping[str, Any]]) -> CheckedRows:
        """Check rows that are objects with a value for each field. Raises RequestError."""
        columns = list[list[Any]]()
        for field in self.fields:
            try:
                columns.append([row[field.name] for row in rows])
            except KeyError:
                number = next(k for k, row in enumerate(rows, 1) if field.name not in row)
                raise self._missing_field(field, rows[number - 1], row=number) from None
        if len(rows) == 1:  # the names of one row, in its order
            return self._check(columns, rows[0])
        return self._check(columns, dict.fromkeys(name for row in rows for name in row))

    def check_columns(self, columns: Mapping[str, list[Any]]) -> CheckedRows:
        """Check rows that are given as an array for each field. Raises RequestError."""
        lengths = {name: len(cells) for name, cells in columns.items()}
        if len({*lengths.values()}) > 1:
            (first, n), (other, m) = next(
                (pair, item) for pair in lengths.items() for item in lengths.items() if pair[1] != item[1]
            )
            raise unprocessable(
                f"All columns must have equally many cells, but {first!r} has {n:,} and {other!r} has {m:,}.",
                field=other,
            )
        return self._check([self._column(columns, field) for field in self.fields], columns)

    def check_frame(self, frame: pl.DataFrame) -> CheckedRows:
        """Check rows that are a frame, as Arrow gives it. Raises RequestError."""
        columns = {series.name: series for series in frame}
        return self._check([self._column(columns, field) for field in self.fields], columns)

    def check_form(self, parts: Mapping[str, str | bytes]) -> CheckedRows:
        """Check a row that is given as a form: files as bytes, everything else as text. Raises RequestError."""
        fields = {field.name: field for field in self.fields}
        row = {name: _form_cell(fields[name], part) if name in fields else part for name, part in parts.items()}
        return self.check_rows([row])

    def _column(self, columns: Mapping[str, Any], field: Field) -> Any:
        if field.name not in columns:
            raise self._missing_field(field, columns)
        return columns[field.name]

    def _missing_field(self, field: Field, names: Mapping[str, Any], **place: int) -> Exception:
        subject = f"Row {place['row']} lacks" if place else "The columns lack"
        others = [name for name in names if name not in self._names]
        hint = did_you_mean(field.name, others) or (" Give null if it is unknown." if field.kind != "image" else "")
        return unprocessable(
            f"{subject} the field {field.name!r}, which must be {field.cells.expected}.{hint}",
            field=field.name,
            **place,
        )

    def _check(self, columns: Sequence[Any], names: Mapping[str, Any]) -> CheckedRows:
        """Check the columns of the fields; `names` are those of all fields that were given."""
        parts = tuple([_check_cells(field, column) for field, column in zip(self.fields, columns, strict=True)])
        notes = [note for field, part in zip(self.fields, parts, strict=True) for note in field.notes(part)]
        unused = [name for name in names if name not in self._names]
        if unused:
            notes.append(f"fields that the model does not use: {format_list(unused)}")
        return CheckedRows(self, parts, len(parts[0]) if parts else 0, tuple(notes))

    def join(self, requests: Sequence[CheckedRows]) -> pl.DataFrame | np.ndarray:
        """The rows of several requests as the model reads them: a matrix of plain numbers, or else a frame."""
        columns = zip(*(rows.parts for rows in requests), strict=True)
        if self.is_matrix:
            return np.column_stack([np.concatenate(parts) for parts in columns])
        return pl.DataFrame([f.cells.join(f.name, parts) for f, parts in zip(self.fields, columns, strict=True)])

    def join_cells(self, requests: Sequence[CheckedRows]) -> dict[str, list[Any] | np.ndarray]:
        """The cells of the rows of several requests by field, for `Model.predict_cells`."""
        columns = zip(*(rows.parts for rows in requests), strict=True)
        return {f.name: f.cells.join_cells(parts) for f, parts in zip(self.fields, columns, strict=True)}

    @cached_property
    def are_cells(self) -> bool:
        """Whether `Model.predict_cells` may take the rows, which are no matrix and have cells of plain types."""
        return not self.is_matrix and {field.kind for field in self.fields} <= {"number", "boolean", "category"}

    @cached_property
    def _names(self) -> frozenset[str]:
        return self.ignored | {*self.names}


def _check_cells(field: Field, column: Any) -> Part:
    """Check the cells of a field. Raises RequestError."""
    try:
        if isinstance(column, pl.Series):
            return field.cells.check_series(column)
        return field.cells.check(field.name, column)
    except CellError as error:
        row = error.position + 1
        raise unprocessable(f"Row {row}: {field.name!r} must be {error}.", row=row, field=field.name) from None


def _form_cell(field: Field, part: str | bytes) -> Any:
    """A cell from a part of a form: a file, or text, which is JSON for all kinds that JSON does not write as text."""
    if isinstance(part, bytes) or field.kind not in ("number", "boolean", "sequence"):
        return part
    try:
        return parse_json(part.encode()) if part.strip() else None
    except RequestError:
        return part  # refused as other text is


def make_fields(model: Model) -> InputFields:
    """The fields of the rows of a model; none for language models."""
    if model.task == "language":
        return InputFields((), frozenset(), is_matrix=False)
    if windows := model.metadata.windows:
        covariates = (*windows.past_covariates, *windows.known_covariates)
        fields = [_plain_field(windows.time), _plain_field(windows.value), *map(_plain_field, covariates)]
        if windows.series:
            fields.insert(0, Field(windows.series, Cells("category")))
        return InputFields(tuple(fields), frozenset(), is_matrix=False)
    encodings = {encoding.column: encoding for encoding in model.encoder.encodings}
    fields = [_field(column, encodings.get(column.name)) for column in model.schema.input_columns]
    spec = model.spec.data
    ignored = {*model.target.names, model.target.list_column, spec.groups, spec.order, spec.weight}
    ignored.update(column.name for column in model.schema.columns)
    return InputFields(tuple(fields), frozenset(ignored), is_matrix=model.schema.is_numeric)


def _plain_field(column: Column) -> Field:
    """A field of time series."""
    if column.kind not in ("number", "boolean", "date"):
        return Field(column.name, Cells("number" if column.is_numeric else "category"))
    return _field(column, None)


def _field(column: Column, encoding: object) -> Field:
    kind: FieldKind = column.kind  # type: ignore[assignment] # input columns are of these kinds
    if kind == "date":
        is_time = TIME in column.date_format.layouts
        return Field(column.name, Cells("time" if is_time else "date", dates=column.date_format), column=column)
    if kind == "boolean":
        return Field(column.name, Cells("boolean", pair=column.boolean_pair), column=column)
    if isinstance(encoding, CategoryEncoding):
        return Field(
            column.name, Cells("category"), categories=encoding.categories, has_other=encoding.has_other, column=column,
        )  # fmt: skip
    if isinstance(encoding, NumberEncoding):
        factor = 100 if column.number_format.plain_is_percent else 1  # typed numbers are fractions
        limits = encoding.range and (encoding.range[0] * factor, encoding.range[1] * factor)
        return Field(
            column.name, Cells("number"), typical=encoding.fill_value * factor, range=limits or None, column=column,
        )  # fmt: skip
    channels = len(encoding.center) if isinstance(encoding, SequenceEncoding) else 1
    return Field(column.name, Cells(kind, channels=channels), column=column)
