"""The paths of the dashboard, as an ASGI application of Starlette."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rosenblatt.dashboard import changes, comparison
from rosenblatt.dashboard.assets import load_assets, page_policy
from rosenblatt.dashboard.curves import CurvesRequest, load_plot
from rosenblatt.dashboard.details import RunQuery, load_output_end, load_run
from rosenblatt.dashboard.endpoints import get_endpoint, post_endpoint, problem
from rosenblatt.dashboard.field_index import FieldIndex
from rosenblatt.dashboard.fields import FieldsQuery, load_fields
from rosenblatt.dashboard.files import FileQuery, file_endpoint, load_preview
from rosenblatt.dashboard.groups import GroupsQuery, load_groups
from rosenblatt.dashboard.networks import network_routes
from rosenblatt.dashboard.openapi import make_openapi
from rosenblatt.dashboard.playground import playground_routes
from rosenblatt.dashboard.recording import Recording
from rosenblatt.dashboard.runs import RunsQuery, load_window
from rosenblatt.dashboard.searches import load_search
from rosenblatt.dashboard.session import LOGIN_POLICY, check_role, is_open, session_routes
from rosenblatt.errors import RosenblattError, StoreError
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access, check_access
from rosenblatt.web.errors import RequestError

SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
ROLE = "rosenblatt.role"  # of the sender, in the scope of a request


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
            *_make_routes(store),
            *network_routes(store),
            *playground_routes(),
            *Recording(store).routes(),
            *session_routes(access),
        ]
        description = make_openapi(routes, has_token=bool(access.token))
        routes.append(Route("/api/openapi.json", lambda _: JSONResponse(description)))
        handlers: Any = {
            RequestError: _on_request_error, RosenblattError: _on_error, HTTPException: _on_http_error,
            Exception: _on_failure,
        }  # fmt: skip
        self.asgi = _Gate(Starlette(routes=routes, exception_handlers=handlers), access)

    async def _page(self, request: Request) -> Response:
        if request.scope[ROLE] == "none":
            content, media_type = self._assets["login.html"]
            headers = {"Content-Security-Policy": LOGIN_POLICY}
            return Response(content, HTTPStatus.UNAUTHORIZED, headers, media_type)
        content, media_type = self._assets["index.html"]
        return Response(content, media_type=media_type, headers={"Content-Security-Policy": self._page_policy})

    async def _asset(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        return Response(asset[0], media_type=asset[1])


def _make_routes(store: Store) -> list[Route]:
    """The paths of the API."""
    file = "{run}/files/{hash}"
    queries: dict[str, tuple[type[BaseModel], Any]] = {
        "runs": (RunsQuery, load_window),
        "fields": (FieldsQuery, partial(load_fields, index=FieldIndex(store))),
        "groups": (GroupsQuery, load_groups),
        "runs/{run}": (RunQuery, load_run),
        "runs/{run}/output": (RunQuery, load_output_end),
        "searches/{run}": (RunQuery, load_search),
        f"runs/{file}/preview": (FileQuery, load_preview),
        "source-difference": (comparison.SourceQuery, comparison.load_source_difference),
    }
    commands: dict[str, tuple[type[BaseModel], Any]] = {
        "curves": (CurvesRequest, load_plot),
        "differences": (comparison.DifferencesRequest, comparison.load_differences),
        "importance": (comparison.ImportanceRequest, comparison.load_importance),
        "tags": (changes.TagRequest, changes.set_tag),
        "notes": (changes.TagRequest, changes.set_note),
        "count-deletion": (changes.RunsRequest, changes.count_deletion),
        "delete": (changes.RunsRequest, changes.delete_runs),
        "stop": (RunQuery, changes.stop),
        "resume": (RunQuery, changes.resume),
    }
    return [
        Route(f"/api/runs/{file}", file_endpoint(store)),
        *(Route(f"/api/{path}", get_endpoint(model, partial(act, store))) for path, (model, act) in queries.items()),
        *(
            Route(f"/api/{path}", post_endpoint(model, partial(act, store)), methods=["POST"])
            for path, (model, act) in commands.items()
        ),
    ]


class _Gate:
    """An ASGI application around that of the endpoints: checks who sends a request, and adds security headers."""

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
            path = scope["path"]
            scope[ROLE] = check_access(self._access, Headers(scope=scope), is_open=is_open(path))
            check_role(self._access, scope[ROLE], scope["method"], path)
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
