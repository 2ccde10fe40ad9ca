"""The paths of a server, as an ASGI application of Starlette."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from rosenblatt.serving.bodies import (
    ARROW_FILE,
    ARROW_STREAM,
    CONTENT_TYPES,
    FORM,
    JSON,
    media_type,
    parse_arrow,
    parse_form,
    parse_json,
    write_arrow,
)
from rosenblatt.serving.fields import CheckedRows, InputFields
from rosenblatt.serving.gateway import Gateway, problem_response
from rosenblatt.serving.generation import GenerationOptions
from rosenblatt.serving.log import Log
from rosenblatt.serving.metrics import Metrics
from rosenblatt.serving.models import ServedModels
from rosenblatt.serving.openapi import make_openapi
from rosenblatt.serving.predictions import to_json
from rosenblatt.serving.served_model import ServedModel
from rosenblatt.serving.settings import Limits
from rosenblatt.web.access import Access
from rosenblatt.web.errors import RequestError, unprocessable

SMALL_BODY = 1 << 16  # bytes up to which a body is parsed by the event loop, which is faster than another thread
MAX_NOTES_HEADER = 2000  # characters of notes in the header of an Arrow answer
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_FILES = {"/": ("index.html", "text/html"), "/page.js": ("page.js", "text/javascript"),
              "/page.css": ("page.css", "text/css")}  # fmt: skip
Endpoint = Callable[[Request], Awaitable[Response]]


class Application:
    """The endpoints of a server.

    Args:
        models: that it serves.
        limits: of requests.
        access: who may use it.
        metrics: of its requests.
        log: of its requests.
    """

    def __init__(self, models: ServedModels, limits: Limits, access: Access, metrics: Metrics, log: Log) -> None:
        self._models, self._limits, self._access, self._metrics = models, limits, access, metrics
        self.is_stopping = False
        self._openapi: tuple[tuple[str, ...], bytes] = (), b""
        post = [
            ("/predict", self._predict),
            ("/v1/models/{name}/predict", self._predict),
            ("/v1/models/{name}/explain", self._explain),
            ("/v1/models/{name}/generate", self._generate),
        ]
        get = [
            ("/healthz", self._health),
            ("/readyz", self._ready),
            ("/metrics", self._show_metrics),
            ("/openapi.json", self._describe_api),
            ("/v1/models", self._list_models),
            ("/v1/models/{name}", self._describe_model),
            *((path, _page_endpoint(*file)) for path, file in PAGE_FILES.items()),
        ]
        routes = [Route(path, endpoint, methods=["POST"]) for path, endpoint in post]
        routes += [Route(path, endpoint, methods=["GET"]) for path, endpoint in get]
        handlers: Any = {RequestError: _on_request_error, HTTPException: _on_http_error, Exception: _on_failure}
        self.asgi = Gateway(Starlette(routes=routes, exception_handlers=handlers), limits, access, metrics, log)

    def _find(self, request: Request) -> ServedModel:
        name = request.path_params.get("name")
        model = self._models.single if name is None else self._models.find(name)
        request.scope["rosenblatt"].model = model.name
        return model

    async def _predict(self, request: Request) -> Response:
        model = self._find(request)
        if model.is_language:
            raise _other_path(model, "generate")
        content_type = _content_type(request, CONTENT_TYPES)
        with model.batcher.receiving():
            body = await self._read_body(request)
            parse = _make_parser(model.fields, content_type, request.headers["content-type"], self._limits.body_bytes)
            rows, by_column = await asyncio.to_thread(parse, body) if len(body) > SMALL_BODY else parse(body)
        request.scope["rosenblatt"].rows = rows.height
        answer_type = _answer_type(request, content_type)
        if answer_type == JSON:
            return Response(await self._wait(model.predict_json(rows, by_column=by_column)), media_type=JSON)
        frame, notes = await self._wait(model.predict(rows, lambda frame, notes: (frame, notes)))
        headers = {"X-Model-Version": model.version, "X-Notes": json.dumps(list(notes))[:MAX_NOTES_HEADER]}
        return Response(
            await asyncio.to_thread(write_arrow, frame, answer_type), headers=headers, media_type=answer_type
        )

    async def _explain(self, request: Request) -> Response:
        model = self._find(request)
        if model.is_language:
            raise _other_path(model, "generate")
        _content_type(request, (JSON,))
        value = parse_json(await self._read_body(request))
        if not isinstance(value, dict) or not isinstance(value.get("rows"), list) or len(value["rows"]) != 1:
            raise unprocessable('The body must be {"rows": [ROW]} with one row, and may have "answer".')
        if not isinstance(value.get("answer"), str | None) or not value.keys() <= {"rows", "answer"}:
            raise unprocessable('The body may hold "rows" and "answer", the name of a class, label or target.')
        if not model.can_explain:
            raise unprocessable(f"{model.name!r} predicts several steps for each row, which are not explained.")
        rows = model.fields.check_rows(_check_objects(value["rows"]))
        return _json(await self._wait(model.explain(rows, value.get("answer"))))

    async def _generate(self, request: Request) -> Response:
        model = self._find(request)
        if not model.is_language:
            raise _other_path(model, "predict")
        _content_type(request, (JSON,))
        options = GenerationOptions.parse(parse_json(await self._read_body(request)))
        return _json(await self._wait(model.generate(options)))

    async def _wait(self, answer: Awaitable[Any]) -> Any:
        """Wait for an answer. Raises RequestError if it takes too long."""
        try:
            async with asyncio.timeout(self._limits.answer_timeout_s):
                return await answer
        except TimeoutError:
            detail = f"The prediction took longer than {self._limits.answer_timeout_s:g} s. Send fewer rows at a time."
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "1"}) from None

    async def _read_body(self, request: Request) -> bytes:
        """The body of a request. Raises RequestError if it is too large or too slow."""
        limit, chunks, size = self._limits.body_bytes, list[bytes](), 0
        too_large = RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body must have at most {limit:,} bytes. Send fewer rows at a time.",
        )
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:19]) > limit:
            raise too_large
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limit:
                        raise too_large
                    chunks.append(chunk)
        except TimeoutError:
            detail = f"The body did not arrive within {self._limits.body_timeout_s:g} s."
            raise RequestError(HTTPStatus.REQUEST_TIMEOUT, detail) from None
        except ClientDisconnect:
            raise RequestError(HTTPStatus.BAD_REQUEST, "The client closed the connection.") from None
        return b"".join(chunks)

    async def _health(self, _: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def _ready(self, _: Request) -> Response:
        if self.is_stopping:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "The server is stopping.")
        return Response("ready\n", media_type="text/plain")

    async def _show_metrics(self, _: Request) -> Response:
        return Response(self._metrics.to_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _describe_api(self, _: Request) -> Response:
        versions, body = self._openapi
        if versions != self._models.versions:
            body = to_json(make_openapi(self._models, has_token=bool(self._access.token)))
            self._openapi = self._models.versions, body
        return Response(body, media_type=JSON)

    async def _list_models(self, _: Request) -> Response:
        models = [
            {key: model.describe()[key] for key in ("name", "version", "task", "targets")} for model in self._models
        ]
        return _json({"models": models})

    async def _describe_model(self, request: Request) -> Response:
        model = self._find(request)
        return _json(model.describe() | {"reload_error": self._models.reload_errors.get(model.name)})


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type=JSON)


def _other_path(model: ServedModel, operation: str) -> RequestError:
    """An error for a path that models of this task do not have."""
    path = f"/v1/models/{quote(model.name, safe='')}/{operation}"
    return RequestError(HTTPStatus.NOT_FOUND, f"The task of {model.name!r} is {model.model.task}. Use {path}.")


def _page_endpoint(name: str, media_type: str) -> Endpoint:
    content = (files("rosenblatt.serving") / "page" / name).read_bytes()

    async def endpoint(_: Request) -> Response:
        return Response(content, media_type=media_type, headers={"Content-Security-Policy": PAGE_POLICY})

    return endpoint


def _content_type(request: Request, allowed: tuple[str, ...]) -> str:
    """The type of the body. Raises RequestError for others than those that are allowed."""
    content_type = media_type(request.headers.get("content-type", ""))
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        detail = f"The Content-Encoding must be identity, but is {encoding[:80]}. Send the body uncompressed."
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    if content_type not in allowed:
        expected, given = " or ".join(allowed), content_type[:80] or "missing"
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The Content-Type must be {expected}, but is {given}.")
    return content_type


def _answer_type(request: Request, content_type: str) -> str:
    """The type of the answer: Arrow if the client accepts nothing else, or sent Arrow and accepts it; else JSON."""
    accepted = [media_type(part) for part in request.headers.get("accept", "*/*").split(",")]
    for arrow_type in (ARROW_STREAM, ARROW_FILE):
        if arrow_type in accepted or (arrow_type == content_type and "*/*" in accepted):
            return arrow_type
    return JSON


def _make_parser(
    fields: InputFields, content_type: str, header: str, max_bytes: int
) -> Callable[[bytes], tuple[CheckedRows, bool]]:
    """How a body becomes rows, and whether these were given by column."""

    def parse(body: bytes) -> tuple[CheckedRows, bool]:
        if content_type == JSON:
            return _parse_rows(fields, parse_json(body))
        if content_type == FORM:
            return fields.check_form(parse_form(body, header)), False
        rows = fields.check_frame(parse_arrow(body, content_type, max_bytes))
        _require_rows(rows.height)
        return rows, True

    return parse


def _parse_rows(fields: InputFields, value: Any) -> tuple[CheckedRows, bool]:
    """Check rows that are given as {"rows": [...]} or {"columns": {...}}. Raises RequestError."""
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= {"rows", "columns"}:
        raise unprocessable('The body must be {"rows": [ROW, ...]}, or {"columns": {FIELD: [CELL, ...], ...}}.')
    if "rows" in value:
        rows = _check_objects(value["rows"])
        _require_rows(len(rows))
        return fields.check_rows(rows), False
    columns = value["columns"]
    if not isinstance(columns, dict) or not all(isinstance(cells, list) for cells in columns.values()):
        raise unprocessable('"columns" must be an object with an array of cells for each field.')
    checked = fields.check_columns(columns)
    _require_rows(checked.height)
    return checked, True


def _check_objects(rows: Any) -> list[dict[str, Any]]:
    if not isinstance(rows, list):
        raise unprocessable('"rows" must be an array of objects.')
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise unprocessable(f"Row {number} must be an object with a value for each field.", row=number)
    return rows


def _require_rows(n: int) -> None:
    if not n:
        raise unprocessable("There are no rows. Send one at least.")


async def _on_request_error(request: Request, error: RequestError) -> Response:
    return problem_response(error, request.scope["rosenblatt"].request_id)


async def _on_failure(request: Request, _: Exception) -> Response:
    """Faults of the server, which the gateway logs."""
    detail = "The server failed. Its log has the details, under the id of the request."
    error = RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, detail)
    return problem_response(error, request.scope["rosenblatt"].request_id)


async def _on_http_error(request: Request, error: HTTPException) -> Response:
    """Errors of Starlette's router: unknown paths and methods."""
    status = HTTPStatus(error.status_code)
    details = {
        HTTPStatus.NOT_FOUND: "There is no such path. All paths are in /openapi.json.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"The path has other methods than {request.method[:20]}.",
    }
    headers = dict(error.headers or {})
    return problem_response(
        RequestError(status, details.get(status, error.detail), headers), request.scope["rosenblatt"].request_id
    )
