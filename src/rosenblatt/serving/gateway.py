"""What all requests pass: who may use the server, how many may wait, their ids, log, metrics and errors."""

from __future__ import annotations

import re
import secrets
import traceback
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rosenblatt.serving.log import Log
from rosenblatt.serving.metrics import Metrics
from rosenblatt.serving.predictions import to_json
from rosenblatt.serving.settings import Limits
from rosenblatt.web.access import Access, check_access
from rosenblatt.web.errors import RequestError

PROBLEM = "application/problem+json"
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/", "/page.js", "/page.css"})  # which need no token
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")  # other ids are replaced
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


@dataclass
class Exchange:
    """A request and its answer, as far as the log and the metrics need them."""

    request_id: str
    model: str = ""  # name of a model that exists
    rows: int = 0
    status: int = 0


class Gateway:
    """An ASGI application around that of the endpoints.

    Args:
        app: the application of the endpoints.
        limits: of requests.
        access: who may use the server.
        metrics: of requests.
        log: of requests.
    """

    def __init__(self, app: ASGIApp, limits: Limits, access: Access, metrics: Metrics, log: Log) -> None:
        self._app, self._limits, self._access = app, limits, access
        self._metrics, self._log = metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        start, headers = perf_counter(), Headers(scope=scope)
        given = headers.get("x-request-id", "")
        exchange = Exchange(given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8))
        scope["rosenblatt"] = exchange

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                request_id = (b"x-request-id", exchange.request_id.encode())
                message["headers"] = [*message.get("headers", ()), request_id, *SECURITY_HEADERS]
            await send(message)

        self._metrics.n_in_flight += 1
        try:
            await self._answer(scope, receive, send_with_headers, headers)
        finally:
            self._metrics.n_in_flight -= 1
            self._record(scope, exchange, perf_counter() - start)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        exchange: Exchange = scope["rosenblatt"]
        try:
            check_access(self._access, headers, is_open=scope["path"] in OPEN_PATHS)
            self._check_load(scope["method"])
            await self._app(scope, receive, send)
        except RequestError as error:
            await problem_response(error, exchange.request_id)(scope, receive, send)
        except Exception:  # noqa: BLE001 - a fault of the server, which has answered and must go on
            self._log.event(f"request {exchange.request_id} failed: {traceback.format_exc()}")

    def _check_load(self, method: str) -> None:
        """Raise RequestError if too many requests wait; those that only read are answered."""
        if method == "POST" and self._metrics.n_in_flight > self._limits.waiting_requests:
            detail = "Too many requests wait. Try again later."
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "1"})

    def _record(self, scope: Scope, exchange: Exchange, seconds: float) -> None:
        self._metrics.record(exchange.model, exchange.status, seconds)
        self._log.request(
            request_id=exchange.request_id,
            client=(scope.get("client") or ("",))[0],
            method=scope["method"],
            path=scope["path"],
            status=exchange.status,
            milliseconds=round(1000 * seconds, 2),
            model=exchange.model,
            rows=exchange.rows,
        )


def problem_response(error: RequestError, request_id: str) -> Response:
    """The answer to a request that failed."""
    body = to_json({**error.to_json(), "request_id": request_id})
    return Response(body, status_code=int(error.status), headers=error.headers, media_type=PROBLEM)
