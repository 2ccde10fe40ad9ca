"""Decide whether a request may be answered: its Host, Origin and token.

A page of another site that a browser shows can send requests to this machine. Its Origin gives it away; and if its name
is made to point here (DNS rebinding), its Host does, which is then a name and not an address.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from rosenblatt.errors import ServingError
from rosenblatt.web.errors import RequestError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MIN_TOKEN_LENGTH = 16
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/", "/page.js", "/page.css"})  # which need no token


@dataclass(frozen=True)
class Access:
    """Who may use a server.

    Attributes:
        token: that requests must carry as `Authorization: Bearer`; empty if none is needed.
        is_loopback: whether only programs of this machine reach the server.
        host_names: names, besides addresses, by which requests may address it.
    """

    token: str = ""
    is_loopback: bool = True
    host_names: frozenset[str] = frozenset()


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach this address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_token() -> str:
    """A new random token."""
    return secrets.token_urlsafe(32)


def read_token(path: str) -> str:
    """The token in a file. Raises ServingError if there is none, or a short one."""
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"The token file {path!r} cannot be read as ASCII text ({error}).") from None
    if len(token) < MIN_TOKEN_LENGTH or any(c.isspace() for c in token):
        raise ServingError(
            f"The token file {path!r} must hold one word of {MIN_TOKEN_LENGTH} characters or more. Write a random one: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token


def check_access(access: Access, path: str, headers: Mapping[str, str]) -> None:
    """Raise RequestError if a request with these headers, by lower-case name, may not be answered."""
    host = _host_name(f"//{headers.get('host', '')}")
    if not _is_host_allowed(access, host):
        raise RequestError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "The Host of the request is not one of this server. Use its address, or start it with --allow-host NAME.",
        )
    origin = headers.get("origin")
    if origin is not None and not _is_origin_allowed(access, origin, headers.get("host", "")):
        raise RequestError(HTTPStatus.FORBIDDEN, "The Origin of the request is another site, which may not use this.")
    if access.token and path not in OPEN_PATHS:
        _check_token(access.token, headers.get("authorization", ""))


def _check_token(token: str, authorization: str) -> None:
    scheme, _, given = authorization.partition(" ")
    is_equal = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not is_equal:
        detail = "The request needs the token of this server: Authorization: Bearer TOKEN."
        raise RequestError(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})


def _host_name(address: str) -> str:
    """The host of an address, in lower case; empty if there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _is_host_allowed(access: Access, host: str) -> bool:
    if host in access.host_names or (access.is_loopback and host in LOOPBACK_NAMES):
        return True
    return not access.is_loopback and _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_origin_allowed(access: Access, origin: str, host: str) -> bool:
    """Whether an Origin is this server: under the name of the request, or under a name that was given."""
    return _netloc(origin) == host.lower() or _host_name(origin) in access.host_names


def _netloc(origin: str) -> str:
    """Host and port of an Origin, in lower case."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
