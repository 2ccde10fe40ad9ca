"""uvicorn's server, which tells when it listens, and certificates that it can use."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from rosenblatt.errors import ServingError


class ReadyServer(uvicorn.Server):
    """A server of uvicorn.

    Args:
        config: Its configuration.
        on_ready: Called when it listens.

    Raises:
        ServingError: If the certificate cannot be used.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        try:
            config.load()
        except (OSError, ValueError) as error:
            raise ServingError(f"The certificate or its key cannot be used ({error}). Give PEM files.") from None
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()
