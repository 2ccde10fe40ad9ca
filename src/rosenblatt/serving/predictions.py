"""Answer the requests of a batch: predict all of their rows in one call, and write the result of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.table import Table
from rosenblatt.errors import RosenblattError, TableError
from rosenblatt.models.model import MAX_CELL_ROWS, Model
from rosenblatt.models.prediction_columns import make_prediction_columns
from rosenblatt.serving.fields import CheckedRows
from rosenblatt.web.errors import RequestError, unprocessable


@dataclass(frozen=True)
class PredictRequest:
    """Rows to predict, and how their predictions are written."""

    rows: CheckedRows
    write: Callable[[pl.DataFrame, Sequence[str]], Any]  # called with the predictions and notes


@dataclass(frozen=True)
class CallRequest:
    """Anything else that the inference thread does, such as an explanation."""

    function: Callable[[], Any]


class Answerer:
    """Answers batches of requests with one model.

    Args:
        model: the model.
        threads: of the prediction of many rows; None for one per core.
    """

    def __init__(self, model: Model, threads: int | None = None) -> None:
        self._model, self._threads = model, threads

    def answer(self, requests: Sequence[PredictRequest | CallRequest]) -> list[Any]:
        """Answer requests: the result of each, or the error that it gets. One bad request does not affect others."""
        joined = [request for request in requests if isinstance(request, PredictRequest)]
        if len(joined) < 2 or self._model.metadata.windows:
            return [self._answer_alone(request) for request in requests]
        try:
            frame = self._predict_rows([request.rows for request in joined], 1)
        except (RosenblattError, RequestError):
            return [self._answer_alone(request) for request in requests]
        ends = np.cumsum([request.rows.height for request in joined]).tolist()
        slices = {
            id(request): frame.slice(end - request.rows.height, request.rows.height)
            for request, end in zip(joined, ends, strict=True)
        }
        return [
            request.write(slices[id(request)], request.rows.notes)
            if isinstance(request, PredictRequest)
            else self._answer_alone(request)
            for request in requests
        ]

    def _answer_alone(self, request: PredictRequest | CallRequest) -> Any:
        try:
            if isinstance(request, CallRequest):
                return request.function()
            notes = list(request.rows.notes)
            if self._model.metadata.windows:
                return request.write(self._forecast(request.rows, notes), notes)
            return request.write(self._predict_or_locate(request.rows), notes)
        except RequestError as error:
            return error
        except RosenblattError as error:
            return unprocessable(str(error))

    def _forecast(self, rows: CheckedRows, notes: list[str]) -> pl.DataFrame:
        from rosenblatt.workflows.predict import forecast

        frame = pl.DataFrame(rows.values) if isinstance(rows.values, np.ndarray) else rows.values
        return forecast(self._model, Table(frame, "request"), notes.append, self._threads)

    def _predict_or_locate(self, rows: CheckedRows) -> pl.DataFrame:
        """Predict rows; an error names the first row that causes it."""
        try:
            return self._predict_rows([rows], self._threads)
        except TableError as error:
            raise unprocessable(f"Row {(row := self._first_bad_row(rows.values))}: {error}", row=row) from None

    def _first_bad_row(self, values: pl.DataFrame | np.ndarray) -> int:
        """The number, from 1, of the first row that cannot be predicted, by bisection."""
        first, last = 0, len(values)
        while last - first > 1:
            middle = (first + last) // 2
            try:
                self._predict_values(values[first:middle], self._threads)
                first = middle
            except TableError:
                last = middle
        return first + 1

    def _predict_rows(self, requests: Sequence[CheckedRows], threads: int | None) -> pl.DataFrame:
        """Predict the rows of requests as `Model.predict` does, few rows without making a frame of them.

        Raises RosenblattError, or RequestError if a row has no prediction.
        """
        fields, n = requests[0].fields, sum(rows.height for rows in requests)
        if n <= MAX_CELL_ROWS and fields.are_cells:
            with np.errstate(all="ignore"):  # what is not finite is refused below
                raw = self._model.predict_cells(fields.join_cells(requests), n, threads)
            if raw is not None:
                require_finite(raw)
                return make_prediction_columns(self._model, None, raw)
        return self._predict_values(fields.join(requests) if len(requests) > 1 else requests[0].values, threads)

    def _predict_values(self, values: pl.DataFrame | np.ndarray, threads: int | None) -> pl.DataFrame:
        """Predict a table of rows. Raises as `_predict_rows`."""
        model, typed = self._model, None
        with np.errstate(all="ignore"):  # what is not finite is refused below
            if isinstance(values, pl.DataFrame) and model.encoder.media_encodings:
                typed = model.schema.read(values)
                raw = model.predict_typed(typed, threads)
            else:
                raw = model.predict_raw(values, threads)
        require_finite(raw)
        return make_prediction_columns(model, typed, raw)


def require_finite(raw: np.ndarray) -> None:
    """Raise RequestError for the first row whose prediction, as of `Model.predict_raw`, is not finite."""
    is_finite = np.isfinite(raw.reshape(len(raw), -1)).all(axis=1)
    if not is_finite.all():
        row = int(is_finite.argmin()) + 1
        detail = f"Row {row} has no finite prediction, because its numbers are too far from those of the training."
        raise unprocessable(detail, row=row)


def write_rows(frame: pl.DataFrame, notes: Sequence[str], head: dict[str, str]) -> bytes:
    """Write predictions as JSON, an object for each row."""
    names = frame.columns
    rows = [dict(zip(names, row, strict=True)) for row in _json_frame(frame).rows()]
    return to_json({**head, "predictions": rows, "notes": list(notes)})


def write_columns(frame: pl.DataFrame, notes: Sequence[str], head: dict[str, str]) -> bytes:
    """Write predictions as JSON, an array for each column."""
    return to_json({**head, "predictions": _json_frame(frame).to_dict(as_series=False), "notes": list(notes)})


def _json_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame of the types that JSON has: dates and times become text."""
    if not any(dtype.is_temporal() or dtype.is_decimal() for dtype in frame.dtypes):
        return frame
    return frame.with_columns(pl.selectors.temporal().cast(pl.String), pl.selectors.decimal().cast(pl.Float64))


def to_json(value: Any) -> bytes:
    """Write JSON; numbers keep all of their bits."""
    return dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
