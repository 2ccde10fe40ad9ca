"""The rules of axe-core for a page, and what else is checked of all pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.serving.browser import Page

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
SERIOUS = ("serious", "critical")


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
