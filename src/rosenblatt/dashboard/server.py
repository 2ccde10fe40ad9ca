"""Run the dashboard: open the port, answer until it is stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from rosenblatt.dashboard.app import Application
from rosenblatt.errors import ServingError
from rosenblatt.runs.store.engines import map_file
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access

HOST = "127.0.0.1"
STOP_TIMEOUT_S = 1  # for requests that run when the dashboard is stopped


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def run_dashboard(store: Store, port: int, on_ready: Callable[[str], None]) -> None:
    """Show the runs of a store to browsers of this machine, until Ctrl-C or SIGTERM.

    Args:
        store: The store.
        port: The port; 0 for a free one.
        on_ready: Called with the address once requests are answered.

    Raises:
        ServingError: If the port cannot be used.
        KeyboardInterrupt: After Ctrl-C.
    """
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServingError(f"Port {port} of {HOST} cannot be used ({reason}). Choose another --port.") from None
    map_file(store.engine)
    with listener:
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            Application(store, Access()).asgi, log_level="error", access_log=False, lifespan="off", ws="none",
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )  # fmt: skip
        _Server(config, lambda: on_ready(address)).run([listener])
