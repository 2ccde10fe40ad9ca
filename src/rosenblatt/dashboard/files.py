"""Files of runs: found by their hash among those of the run, never by a path, and sent so that browsers run nothing."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field
from sqlalchemy import select
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from rosenblatt.dashboard.endpoints import ApiRequest
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.schema import artifacts
from rosenblatt.runs.store.store import Store
from rosenblatt.web.errors import RequestError

PREVIEW_ROWS, PREVIEW_COLUMNS, PREVIEW_CHARACTERS = 100, 50, 20_000
MAX_TEXT_BYTES, MAX_TABLE_BYTES = 1 << 20, 1 << 28  # of files that have a preview
PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
HEADERS = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"}


class FileQuery(ApiRequest):
    """Which file of which run is meant."""

    run: str
    hash: str = Field(description="SHA-256 of the content, as the run records it.")


class Preview(BaseModel):
    """The beginning of a file: a table, a text, or neither."""

    rows: int | None = Field(None, description="Number of rows of a table, if known.")
    columns: dict[str, list[str | None]] | None = Field(None, description="Cells as text, by column.")
    n_columns: int = 0
    text: str | None = None
    is_cut: bool = Field(False, description="Whether the text goes on.")


def file_endpoint(store: Store) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that sends a file of a run as an attachment; pages can show pictures, which have their type."""

    async def endpoint(request: Request) -> Response:
        query = FileQuery(run=request.path_params["run"], hash=request.path_params["hash"])
        folder = Path(tempfile.mkdtemp(prefix="rosenblatt-"))
        try:
            name = await asyncio.to_thread(_fetch, store, query, folder / "file")
        except BaseException:
            shutil.rmtree(folder)
            raise
        disposition = f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='')}"
        return FileResponse(
            folder / "file", media_type=_media_type(folder / "file", name),
            headers=HEADERS | {"Content-Disposition": disposition}, background=BackgroundTask(shutil.rmtree, folder),
        )  # fmt: skip

    return endpoint


def load_preview(store: Store, query: FileQuery) -> Preview:
    """Load the beginning of a table (Parquet, CSV) or a text. Raises RequestError if the run has no such file."""
    with tempfile.TemporaryDirectory(prefix="rosenblatt-") as folder:
        path = Path(folder) / "file"
        name = _fetch(store, query, path)
        if name.endswith((".parquet", ".csv", ".tsv")) and path.stat().st_size <= MAX_TABLE_BYTES:
            return _preview_table(path, name)
        if path.stat().st_size <= MAX_TEXT_BYTES:
            try:
                text = path.read_text("utf-8")
            except UnicodeDecodeError:
                return Preview()
            if "\0" not in text:
                return Preview(text=text[:PREVIEW_CHARACTERS], is_cut=len(text) > PREVIEW_CHARACTERS)
    return Preview()


def _fetch(store: Store, query: FileQuery, path: Path) -> str:
    """Write a file of a run to a path; returns its name. Raises RequestError if the run has no such file."""
    is_own = (artifacts.c.run == query.run, artifacts.c.hash == query.hash)
    with store.reading() as connection:
        row = connection.execute(select(artifacts.c.name, artifacts.c.root).where(*is_own)).first()
    if row is None:
        raise RequestError(HTTPStatus.NOT_FOUND, "The run has no file of this hash.")
    Artifacts(store.url, store).fetch(query.hash, row.root, path)
    return str(row.name)


def _media_type(path: Path, name: str) -> str:
    """The type of a picture, which is seen in its first bytes; SVG is one by its name, and its scripts do not run."""
    with path.open("rb") as file:
        start = file.read(16)
    for signature, media_type in PICTURES.items():
        if start.startswith(signature):
            return media_type
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    return "image/svg+xml" if name.endswith(".svg") else "application/octet-stream"


def _preview_table(path: Path, name: str) -> Preview:
    import polars as pl  # loads 40 MB, which most pages do without

    try:
        if name.endswith(".parquet"):
            table: Any = pl.scan_parquet(path)
            n_rows = int(table.select(pl.len()).collect().item())
        else:
            separator = "\t" if name.endswith(".tsv") else ","
            table, n_rows = pl.scan_csv(path, separator=separator, infer_schema=False), None
        frame = table.head(PREVIEW_ROWS).collect()
    except (pl.exceptions.PolarsError, OSError):
        return Preview()
    columns = {
        column.name: [None if cell is None else str(cell)[:200] for cell in column.to_list()]
        for column in frame.get_columns()[:PREVIEW_COLUMNS]
    }
    return Preview(rows=n_rows, columns=columns, n_columns=frame.width)
