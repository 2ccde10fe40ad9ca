"""The paths of the dashboard, as an ASGI application of Starlette."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rosenblatt.dashboard.assets import load_assets, page_policy
from rosenblatt.dashboard.curves import CurvesRequest, load_plot
from rosenblatt.dashboard.endpoints import get_endpoint, post_endpoint, problem
from rosenblatt.dashboard.field_index import FieldIndex
from rosenblatt.dashboard.fields import FieldsQuery, load_fields
from rosenblatt.dashboard.runs import RunsQuery, load_window
from rosenblatt.errors import RosenblattError, StoreError
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access, check_access
from rosenblatt.web.errors import RequestError

SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class Application:
    """The endpoints of the dashboard.

    Args:
        store: Whose runs it shows.
        access: Who may use it.
    """

    def __init__(self, store: Store, access: Access) -> None:
        self._assets = load_assets()
        self._page_policy = page_policy(self._assets["index.html"][0])
        routes = [
            Route("/", self._page),
            Route("/static/{name:path}", self._asset),
            Route("/api/runs", get_endpoint(RunsQuery, partial(load_window, store))),
            Route("/api/fields", get_endpoint(FieldsQuery, partial(load_fields, store, FieldIndex(store)))),
            Route("/api/curves", post_endpoint(CurvesRequest, partial(load_plot, store)), methods=["POST"]),
        ]
        handlers: Any = {
            RequestError: _on_request_error, RosenblattError: _on_error, HTTPException: _on_http_error,
            Exception: _on_failure,
        }  # fmt: skip
        self.asgi = _Gate(Starlette(routes=routes, exception_handlers=handlers), access)

    async def _page(self, _: Request) -> Response:
        content, media_type = self._assets["index.html"]
        return Response(content, media_type=media_type, headers={"Content-Security-Policy": self._page_policy})

    async def _asset(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        return Response(asset[0], media_type=asset[1])


class _Gate:
    """An ASGI application around that of the endpoints: checks Host and Origin, and adds security headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        try:
            check_access(self._access, scope["path"], Headers(scope=scope))
        except RequestError as error:
            await problem(error)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


async def _on_request_error(_: Request, error: RequestError) -> Response:
    return problem(error)


async def _on_error(_: Request, error: RosenblattError) -> Response:
    """Filters that cannot be parsed, and stores that cannot be read."""
    is_store = isinstance(error, StoreError)
    status = HTTPStatus.SERVICE_UNAVAILABLE if is_store else HTTPStatus.UNPROCESSABLE_ENTITY
    return problem(RequestError(status, str(error)))


async def _on_http_error(_: Request, error: HTTPException) -> Response:
    """Errors of Starlette's router: unknown paths and methods."""
    status = HTTPStatus(error.status_code)
    detail = "There is no such path." if status == HTTPStatus.NOT_FOUND else status.description
    return problem(RequestError(status, detail, dict(error.headers or {})))


async def _on_failure(_: Request, __: Exception) -> Response:
    """Faults of the server, whose traceback uvicorn logs."""
    return problem(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "The dashboard failed; its terminal shows why."))
