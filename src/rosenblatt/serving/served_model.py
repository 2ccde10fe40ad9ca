"""A model that is served: its fields, its description, and the thread that answers its requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl

from rosenblatt.errors import ModelFileError, RosenblattError
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import load_model
from rosenblatt.models.prediction_columns import probability_names
from rosenblatt.serving.batches import Batcher
from rosenblatt.serving.explanations import explain
from rosenblatt.serving.fields import CheckedRows, Field, make_fields
from rosenblatt.serving.generation import GenerationOptions, generate
from rosenblatt.serving.metrics import Metrics
from rosenblatt.serving.predictions import Answerer, CallRequest, PredictRequest, write_columns, write_rows
from rosenblatt.serving.settings import Limits
from rosenblatt.web.errors import RequestError


class ServedModel:
    """One version of a model, ready to answer.

    Args:
        name: by which requests address the model.
        model: the model.
        version: hash of its file.
        limits: of batches, and the number of threads.
        metrics: count batches and rows.
    """

    def __init__(self, name: str, model: Model, version: str, limits: Limits, metrics: Metrics) -> None:
        self.name, self.model, self.version = name, model, version
        self.fields = make_fields(model)
        self._answerer = Answerer(model, limits.threads)
        self._batch_requests = metrics.batch_requests.labels(name)
        self._batch_rows, self._rows = metrics.batch_rows.labels(name), metrics.rows.labels(name)
        self.batcher = Batcher(self._answer, limits.batch_rows)

    @classmethod
    def load(cls, name: str, path: Path, limits: Limits, metrics: Metrics) -> ServedModel:
        """Load a model file, and predict an example row so that all code is compiled. Raises ModelFileError."""
        try:
            version = hashlib.blake2b(path.read_bytes(), digest_size=6).hexdigest()
        except OSError as error:
            raise ModelFileError(f"{str(path)!r} cannot be read ({error.strerror}).") from None
        served = cls(name, load_model(path), version, limits, metrics)
        if served.model.task not in ("language", "forecasting"):
            with suppress(RosenblattError, RequestError):  # an example may be unusable, such as an image of one pixel
                rows = served.fields.check_rows([served.example])
                served._answerer.answer([PredictRequest(rows, lambda _, __: None)])
        return served

    @property
    def is_language(self) -> bool:
        """Whether the model continues texts, instead of predicting rows."""
        return self.model.task == "language"

    @property
    def can_explain(self) -> bool:
        """Whether the prediction for a row can be explained."""
        return not (self.model.target.is_per_step or self.model.metadata.windows)

    @cached_property
    def example(self) -> dict[str, Any]:
        """A row that the model can predict."""
        return {field.name: field.example for field in self.fields.fields}

    @cached_property
    def head(self) -> dict[str, str]:
        """What all answers begin with."""
        return {"model": self.name, "version": self.version}

    async def predict(self, rows: CheckedRows, write: Callable[[pl.DataFrame, Sequence[str]], Any]) -> Any:
        """Predict rows in the thread of the model, and return what `write` makes of it. Raises RequestError."""
        return await self.batcher.submit(PredictRequest(rows, write), rows.height)

    async def predict_json(self, rows: CheckedRows, *, by_column: bool) -> bytes:
        """Predict rows, as JSON with an object for each row, or an array for each column. Raises RequestError."""
        return bytes(await self.predict(rows, partial(write_columns if by_column else write_rows, head=self.head)))

    async def explain(self, rows: CheckedRows, answer: str | None) -> dict[str, Any]:
        """Explain the prediction for one row. Raises RequestError."""
        call = CallRequest(lambda: explain(self.model, rows, answer))
        return {**self.head, **await self.batcher.submit(call, 1)}

    async def generate(self, options: GenerationOptions) -> dict[str, Any]:
        """Continue a prompt. Raises RequestError."""
        call = CallRequest(lambda: generate(self.model, options))
        return {**self.head, "text": await self.batcher.submit(call, 1)}

    def close(self) -> None:
        """End the thread when all that waits is answered."""
        self.batcher.close()

    def describe(self) -> dict[str, Any]:
        """What users of the model need to know."""
        model = self.model
        return {
            "name": self.name,
            "version": self.version,
            "task": model.task,
            "targets": list(model.target.names),
            "classes": [str(label) for label in model.target.labels] if not self.is_language else [],
            "fields": [_describe_field(field) for field in self.fields.fields],
            "predictions": self._prediction_names(),
            "can_explain": self.can_explain,
            "example": self.example,
            "rows": model.metadata.rows,
            "created": model.metadata.created,
        }

    def _prediction_names(self) -> list[str]:
        windows, target = self.model.metadata.windows, self.model.target
        if windows:
            return [*([windows.series] if windows.series else []), "step", windows.target]
        if self.is_language:
            return []
        return list(target.names) if target.is_per_step else [*target.names, *probability_names(target)]

    def _answer(self, requests: Sequence[Any]) -> list[Any]:
        n_rows = sum(request.rows.height for request in requests if isinstance(request, PredictRequest))
        self._batch_requests.observe(len(requests))
        self._batch_rows.observe(n_rows)
        self._rows.inc(n_rows)
        return self._answerer.answer(requests)


def _describe_field(field: Field) -> dict[str, Any]:
    description: dict[str, Any] = {"name": field.name, "kind": field.kind, "expected": field.cells.expected}
    if field.kind == "boolean":
        description["written"] = list(field.cells.pair)
    if field.categories:
        description["categories"] = list(field.categories)
    if field.range:
        description["range"] = list(field.range)
    return description | {"example": field.example}
