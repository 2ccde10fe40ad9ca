"""Options of commands that listen: the address, who may use it, and TLS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rosenblatt.web.access import Access


def server_options(port: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of `Listening` to a command, with its usual port."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed((
            click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
                         help="Address to listen on. Others than this machine's own need a token and TLS."),
            click.option("--port", default=port, show_default=True, type=click.IntRange(0, 65535),
                         help="Port; 0 for a free one."),
            click.option("--token-file", metavar="FILE", help="File of the token that requests must carry.  "
                         "[default: a new token, unless the host is loopback]"),
            click.option("--tls-cert", metavar="FILE.pem", help="TLS certificate with its chain."),
            click.option("--tls-key", metavar="FILE.pem", help="Private key of the certificate."),
            click.option("--insecure-no-tls", is_flag=True, help="Listen on other addresses without TLS, because a "
                         "proxy in front of the server encrypts."),
            click.option("--allow-host", multiple=True, metavar="NAME", help="Name by which requests may address the "
                         "server, such as that of a proxy. Repeat it for several."),
        )):  # fmt: skip
            command = option(command)
        return command

    return add


@dataclass(frozen=True)
class Listening:
    """Where a command listens, and who may use it."""

    host: str
    port: int
    token_file: str | None
    tls_cert: str | None
    tls_key: str | None
    insecure_no_tls: bool
    allow_host: tuple[str, ...]

    def access(self, read_token_file: str | None = None) -> Access:
        """Who may use it; with a new token if one is needed. Raises ServingError if it would be unprotected."""
        from rosenblatt.web.access import Access, is_loopback, make_token, read_token
        from rosenblatt.web.listening import check_exposure

        is_local = is_loopback(self.host)
        token = read_token(self.token_file) if self.token_file else ""
        check_exposure(self.host, self.tls_cert, self.tls_key, is_plain_allowed=self.insecure_no_tls)
        return Access(
            token=token or ("" if is_local else make_token()),
            read_token=read_token(read_token_file) if read_token_file else "",
            is_loopback=is_local,
            host_names=frozenset(name.lower() for name in self.allow_host),
        )
