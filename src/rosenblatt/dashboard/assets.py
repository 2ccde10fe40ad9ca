"""The files of the page, read once when the server starts."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from importlib.resources.abc import Traversable

MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def load_assets() -> dict[str, tuple[bytes, str]]:
    """The content and media type of each asset, by its name such as `pages/runs.js`."""
    return dict(_read_folder(files("rosenblatt.dashboard") / "static", ""))


def page_policy(index: bytes) -> str:
    """The Content-Security-Policy of the page: scripts of the server, and the import map that `index` contains."""
    match = re.search(rb'<script type="importmap">(.*?)</script>', index, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(match[1] if match else b"").digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _read_folder(folder: Traversable, prefix: str) -> list[tuple[str, tuple[bytes, str]]]:
    assets = []
    for entry in folder.iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        if entry.is_dir():
            assets += _read_folder(entry, f"{prefix}{entry.name}/")
        elif suffix in MEDIA_TYPES:
            assets.append((f"{prefix}{entry.name}", (entry.read_bytes(), MEDIA_TYPES[suffix])))
    return assets
