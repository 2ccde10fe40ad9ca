"""Run the dashboard: open the port, answer until it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from rosenblatt.dashboard.app import Application
from rosenblatt.runs.store.engines import map_file
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access
from rosenblatt.web.listening import format_address, open_port
from rosenblatt.web.ready_server import ReadyServer

STOP_TIMEOUT_S = 1  # for requests that run when the dashboard is stopped


@dataclass(frozen=True)
class DashboardOptions:
    """Where the dashboard listens, and who may use it.

    Attributes:
        host: Name or address of the interface.
        port: Number; 0 for any free one.
        certificate: File of the TLS certificate, with its chain, in PEM; None for no TLS.
        key: File of its private key.
        access: Who may use it.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    certificate: str | None = None
    key: str | None = None
    access: Access = field(default_factory=Access)


def run_dashboard(store: Store, options: DashboardOptions, on_ready: Callable[[str], None]) -> None:
    """Show the runs of a store to browsers, and let programs record in it, until Ctrl-C or SIGTERM.

    Args:
        store: The store.
        options: Where it listens.
        on_ready: Called with the address once requests are answered.

    Raises:
        ServingError: If the port or the certificate cannot be used.
        KeyboardInterrupt: After Ctrl-C.
    """
    with open_port(options.host, options.port) as listener:
        map_file(store.engine)
        address = format_address(listener, is_encrypted=bool(options.certificate))
        tls: dict[str, Any] = {"ssl_certfile": options.certificate, "ssl_keyfile": options.key}
        config = uvicorn.Config(
            Application(store, options.access).asgi, log_level="error", access_log=False, lifespan="off", ws="none",
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=STOP_TIMEOUT_S,
            **tls if options.certificate else {},
        )  # fmt: skip
        ReadyServer(config, lambda: on_ready(address)).run([listener])
