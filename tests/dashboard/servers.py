"""A dashboard that answers in a thread of the test, and can be ended and started again on its port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import uvicorn

from rosenblatt.dashboard.app import Application
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access
from tests.waiting import wait_until


@contextmanager
def running_dashboard(store: Store, port: int = 0, access: Access | None = None, **options: Any) -> Iterator[int]:
    """Answer requests; yields the port."""
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(
        Application(store, access or Access()).asgi,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
        **options,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, description="the dashboard to start")
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def serve(store: Store) -> Iterator[str]:
    """The address of a dashboard of a store, for browsers."""
    with running_dashboard(store) as port:
        yield f"http://127.0.0.1:{port}/"
