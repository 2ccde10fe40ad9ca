"""Decide whether a request may be answered, and what it may do: its Host, Origin and token.

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
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from rosenblatt.errors import ServingError
from rosenblatt.web.errors import RequestError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MIN_TOKEN_LENGTH = 16
TOKEN_COOKIE = "rosenblatt_token"  # noqa: S105 - its name
Role = Literal["none", "read", "write"]


@dataclass(frozen=True)
class Access:
    """Who may use a server.

    Attributes:
        token: that requests must carry, as `Authorization: Bearer` or in a cookie; empty if none is needed.
        read_token: of those who may only look; empty if there is none.
        is_loopback: whether only programs of this machine reach the server.
        host_names: names, besides addresses, by which requests may address it.
    """

    token: str = ""
    read_token: str = ""
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


def check_access(access: Access, headers: Mapping[str, str], *, is_open: bool = False) -> Role:
    """What a request with these headers, by lower-case name, may do. Raises RequestError if it may not be answered.

    Args:
        access: who may use the server.
        headers: of the request.
        is_open: whether it asks for something that needs no token; its role is then "none" without one.
    """
    host = _host_name(f"//{headers.get('host', '')}")
    if not _is_host_allowed(access, host):
        raise RequestError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "The Host of the request is not one of this server. Use its address, or start it with --allow-host NAME.",
        )
    origin = headers.get("origin")
    if origin is not None and not _is_origin_allowed(access, origin, headers.get("host", "")):
        raise RequestError(HTTPStatus.FORBIDDEN, "The Origin of the request is another site, which may not use this.")
    role = find_role(access, _given_token(headers))
    if role == "none" and not is_open:
        detail = "The request needs the token of this server: Authorization: Bearer TOKEN."
        raise RequestError(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})
    return role


def find_role(access: Access, token: str) -> Role:
    """What those who have a token may do, compared in constant time."""
    if not access.token:
        return "write"
    is_write = hmac.compare_digest(token.encode(), access.token.encode())
    is_read = hmac.compare_digest(token.encode(), access.read_token.encode()) and bool(access.read_token)
    return "write" if is_write else "read" if is_read else "none"


def _given_token(headers: Mapping[str, str]) -> str:
    """The token of a request, "" if it has none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(TOKEN_COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


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
