"""Endpoints of the dashboard: a checked request, a function that uses the store in another thread, and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rosenblatt.web.errors import RequestError

PROBLEM, JSON, BINARY = "application/problem+json", "application/json", "application/octet-stream"
MAX_BODY_BYTES = 1 << 20
Endpoint = Callable[[Request], Awaitable[Response]]
Model = TypeVar("Model", bound=BaseModel)


class ApiRequest(BaseModel):
    """Parameters or a body; names that it does not have are refused."""

    model_config = ConfigDict(extra="forbid")


class NoParameters(ApiRequest):
    """A request without parameters."""


class EndpointModels(NamedTuple):
    """What an endpoint takes and gives."""

    request: type[BaseModel]
    answer: type[Any]  # a model, or bytes


def find_models(endpoint: Endpoint) -> EndpointModels | None:
    """What an endpoint takes and gives; None for one that was made otherwise than by the functions below."""
    if "models" not in vars(endpoint):
        return None
    request, act = vars(endpoint)["models"]
    while isinstance(act, partial):
        act = act.func
    return EndpointModels(request, get_type_hints(act)["return"])


def get_endpoint(query_class: type[Model], load: Callable[[Model], BaseModel]) -> Endpoint:
    """An endpoint that answers parameters of the query, and of the path, with what a function loads, as JSON."""

    async def endpoint(request: Request) -> Response:
        query = validate(query_class, dict(request.query_params) | request.path_params)
        return Response(await asyncio.to_thread(lambda: load(query).model_dump_json()), media_type=JSON)

    vars(endpoint)["models"] = query_class, load
    return endpoint


def post_endpoint(body_class: type[Model], act: Callable[[Model], BaseModel | bytes]) -> Endpoint:
    """An endpoint that answers a body of JSON with what a function gives: JSON, or bytes.

    Pages of other sites cannot send this type of body without asking, and are refused.
    """

    async def endpoint(request: Request) -> Response:
        body = validate(body_class, await read_body(request))
        answer = await asyncio.to_thread(lambda: _dump(act(body)))
        return Response(answer, media_type=BINARY if isinstance(answer, bytes) else JSON)

    vars(endpoint)["models"] = body_class, act
    return endpoint


def problem(error: RequestError) -> Response:
    """The answer to a request that cannot be answered as it is."""
    return JSONResponse(error.to_json(), status_code=int(error.status), headers=error.headers, media_type=PROBLEM)


def _dump(answer: BaseModel | bytes) -> str | bytes:
    return answer if isinstance(answer, bytes) else answer.model_dump_json()


async def read_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The body of a request with JSON. Raises RequestError if it has another type, or is too large."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != JSON:
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The Content-Type must be {JSON}.")
    chunks, size = list[bytes](), 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            detail = f"The body must have at most {max_bytes:,} bytes. Send fewer items at a time."
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return b"".join(chunks)


def validate(model_class: type[Model], values: dict[str, Any] | bytes) -> Model:
    """Check parameters or a body. Raises RequestError."""
    try:
        if isinstance(values, bytes):
            return model_class.model_validate_json(values)
        return model_class.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))[:80]
        part = f"The parameter {name!r}" if name else "The body"
        detail = f"{part} cannot be used: {first['msg']}. Change or remove it."
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from None
