"""Where a server listens: its address, port and certificate."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from rosenblatt.errors import ServingError
from rosenblatt.web.access import is_loopback


def check_exposure(host: str, certificate: str | None, key: str | None, *, is_plain_allowed: bool) -> None:
    """Raise ServingError if other machines could read or use a server without protection.

    Args:
        host: name or address of the interface.
        certificate: file of the TLS certificate.
        key: file of its private key.
        is_plain_allowed: whether something in front of the server encrypts.
    """
    if bool(certificate) != bool(key):
        raise ServingError("--tls-cert and --tls-key belong together. Give both.")
    if is_loopback(host) or certificate:
        return
    if not is_plain_allowed:
        raise ServingError(
            f"{host} is reached by other machines, so that tokens and rows need TLS. Give --tls-cert and --tls-key, or "
            "--insecure-no-tls if a proxy in front of the server encrypts."
        )


def open_port(host: str, port: int) -> socket.socket:
    """Bind a port; 0 for any free one. Raises ServingError."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            stack.pop_all()  # stays open
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServingError(
            f"Port {port} of {host} cannot be used ({reason}). Choose another --port or --host."
        ) from None
    return listener


def format_address(listener: socket.socket, *, is_encrypted: bool) -> str:
    """The URL of a server that listens."""
    host, port, *_ = listener.getsockname()
    return f"{'https' if is_encrypted else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
