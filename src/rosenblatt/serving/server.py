"""Run a server: load the models, open the port, answer until it is stopped, and finish what runs."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from rosenblatt.serving.app import Application
from rosenblatt.serving.http_protocol import make_protocol
from rosenblatt.serving.log import Log
from rosenblatt.serving.metrics import Metrics
from rosenblatt.serving.models import ServedModels
from rosenblatt.serving.settings import Limits
from rosenblatt.web.access import Access
from rosenblatt.web.listening import format_address, open_port
from rosenblatt.web.ready_server import ReadyServer

SWITCH_INTERVAL_S = 0.0005  # after which the inference thread lets the event loop run, which Python lets wait 5 ms
KEEP_ALIVE_S = 75
STOP_TIMEOUT_S = 30  # for requests that run when the server is stopped


@dataclass(frozen=True)
class ServerOptions:
    """Where a server listens, and how.

    Attributes:
        host: name or address of the interface.
        port: number; 0 for any free one.
        certificate: file of the TLS certificate, with its chain, in PEM; None for no TLS.
        key: file of its private key.
        access: who may use the server.
        limits: of requests.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: str | None = None
    key: str | None = None
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Ready:
    """What is known once a server answers."""

    address: str  # its URL
    models: tuple[str, ...]
    pid: int


class _Server(ReadyServer):
    """A server, which tells its application when it begins to stop."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], application: Application) -> None:
        super().__init__(config, on_ready)
        self._application = application

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for the requests that run."""
        self._application.is_stopping = True
        await super().shutdown(sockets)


def serve(paths: Mapping[str, Path], options: ServerOptions, log: Log, on_ready: Callable[[Ready], None]) -> None:
    """Serve models until SIGTERM or Ctrl-C; what runs then is finished.

    Args:
        paths: the file of each model, by name.
        options: where and how to listen.
        log: of the requests.
        on_ready: called once requests are answered.

    Raises:
        ServingError: if the port or the certificate cannot be used.
        ModelFileError: if a model cannot be loaded.
    """
    metrics = Metrics()
    with ExitStack() as stack:
        listener = stack.enter_context(open_port(options.host, options.port))
        models = ServedModels(paths, options.limits, metrics, log)
        stack.callback(models.close)
        application = Application(models, options.limits, options.access, metrics, log)
        config = _make_config(application, options)
        address = format_address(listener, is_encrypted=bool(options.certificate))
        ready = Ready(address, tuple(model.name for model in models), os.getpid())
        server = _Server(config, lambda: on_ready(ready), application)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        runner = stack.enter_context(asyncio.Runner(loop_factory=config.get_loop_factory()))
        runner.run(_serve(server, models, listener))  # raises KeyboardInterrupt when all requests are finished


async def _serve(server: uvicorn.Server, models: ServedModels, listener: socket.socket) -> None:
    watcher = asyncio.create_task(models.watch())
    await server.serve([listener])
    watcher.cancel()
    with suppress(asyncio.CancelledError):
        await watcher


def _make_config(application: Application, options: ServerOptions) -> uvicorn.Config:
    """The configuration of uvicorn."""
    tls: dict[str, Any] = {"ssl_certfile": options.certificate, "ssl_keyfile": options.key}
    return uvicorn.Config(
        application.asgi,
        log_config=None,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        http=make_protocol(),
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
        **tls if options.certificate else {},
    )
