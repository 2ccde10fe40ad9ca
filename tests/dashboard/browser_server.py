"""A dashboard for browsers, and the rules of axe-core for its pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from rosenblatt.dashboard.app import Application
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access
from tests.serving.browser import Page

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
SERIOUS = ("serious", "critical")


@contextmanager
def serve(store: Store) -> Iterator[str]:
    """The address of a dashboard of a store."""
    config = uvicorn.Config(Application(store, Access()).asgi, port=0, log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


def find_barriers(page: Page) -> list[Any]:
    """The serious and critical findings of axe-core on a page, with their elements."""
    page.evaluate(AXE.read_text("utf-8") + "; 0")
    findings = page.evaluate(
        "axe.run().then(({violations}) => violations.map(({id, impact, nodes}) => [impact, id, nodes[0].html]))"
    )
    return [finding for finding in findings if finding[0] in SERIOUS]


def other_hosts(page: Page, address: str) -> list[str]:
    """Addresses of other hosts that a page loaded."""
    loaded: list[str] = page.evaluate("performance.getEntriesByType('resource').map(({name}) => name)")
    return [name for name in loaded if not name.startswith((address, "data:", "blob:"))]


def set_theme(page: Page, theme: str) -> None:
    """Show pages in the light or the dark theme."""
    page._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
