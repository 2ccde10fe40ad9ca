"""Sign in with a token: the browser keeps it in a cookie that scripts and other sites cannot use."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rosenblatt.dashboard.endpoints import ApiRequest, read_body, validate
from rosenblatt.runs.store.remote_store import PATH as RECORDING_PATH
from rosenblatt.web.access import TOKEN_COOKIE, Access, Role, find_role
from rosenblatt.web.errors import RequestError

SESSION_PATH = "/api/session"
LOGIN_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
MAX_AGE_S = 30 * 24 * 3600
READING_POSTS = frozenset(  # requests with a body that change nothing
    {"/api/curves", "/api/differences", "/api/importance", "/api/count-deletion", SESSION_PATH}
)
COMPUTING = "/api/playground/", "/api/networks/"  # beginnings of paths whose requests compute, and store nothing
PROCESS_PATHS = frozenset({"/api/stop", "/api/resume"})  # requests that stop or start processes of this machine


class SignIn(ApiRequest):
    """A token that somebody has typed, or that was in the address."""

    token: str


def session_routes(access: Access) -> list[Route]:
    """The routes that sign in and out."""

    async def sign_in(request: Request) -> Response:
        token = validate(SignIn, await read_body(request)).token.strip()
        if find_role(access, token) == "none":
            raise RequestError(HTTPStatus.UNAUTHORIZED, "This is not a token of the dashboard.")
        response = Response(status_code=HTTPStatus.NO_CONTENT)
        response.set_cookie(
            TOKEN_COOKIE, token, MAX_AGE_S, httponly=True, samesite="strict", secure=not access.is_loopback
        )
        return response

    async def sign_out(_: Request) -> Response:
        response = Response(status_code=HTTPStatus.NO_CONTENT)
        response.delete_cookie(TOKEN_COOKIE, httponly=True, samesite="strict", secure=not access.is_loopback)
        return response

    return [
        Route(SESSION_PATH, sign_in, methods=["POST"]),
        Route(SESSION_PATH, sign_out, methods=["DELETE"]),
    ]


def is_open(path: str) -> bool:
    """Whether a path needs no token: the page without data, and signing in."""
    return path in ("/", SESSION_PATH) or path.startswith("/static/")


def check_role(access: Access, role: Role, method: str, path: str) -> None:
    """Raise RequestError for a request that its sender may not make.

    Who may record could record a run with any command, and resume it here. Where programs record with a token,
    processes are therefore stopped and started in a terminal only; and without a token, which keeps other users of this
    machine out, nobody records.
    """
    is_reading = method in ("GET", "HEAD") or path in READING_POSTS or path.startswith(COMPUTING)
    if role == "read" and not is_reading:
        raise RequestError(HTTPStatus.FORBIDDEN, "This token may only look. Sign in with the token that may change.")
    if access.token and path in PROCESS_PATHS:
        detail = "Runs are stopped and resumed in a terminal of their machine: rosenblatt runs stop, runs resume."
        raise RequestError(HTTPStatus.FORBIDDEN, detail)
    if not access.token and path.startswith(RECORDING_PATH):
        detail = "Programs record here only with a token. Start the dashboard with --token-file FILE."
        raise RequestError(HTTPStatus.FORBIDDEN, detail)
