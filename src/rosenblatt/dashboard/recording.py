"""What programs of other machines need to record runs: the server's side of `RemoteStore`."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import IO, cast

from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from rosenblatt.dashboard.details import RunQuery
from rosenblatt.dashboard.endpoints import JSON, ApiRequest, NoParameters, get_endpoint, post_endpoint, read_body
from rosenblatt.errors import StorageError, StoreError, StoreUnavailableError
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.batches import parse_batch
from rosenblatt.runs.store.record_store import move_points
from rosenblatt.runs.store.remote_store import MAX_BATCH_BYTES, PATH
from rosenblatt.runs.store.store import Store
from rosenblatt.web.errors import RequestError

MAX_FILE_BYTES = 16 << 30
MEMORY_BYTES = 4 << 20  # of a file that is received, before it is written to disk
HASH_PATTERN = "^[0-9a-f]{64}$"


class Done(BaseModel):
    """That a request was carried out."""


class StoreInfo(BaseModel):
    """Which store it is."""

    id: str


class RecordsAnswer(BaseModel):
    """What became of a batch: the runs whose records are ignored, as they were deleted or taken over."""

    ignored: list[str]


class RunState(BaseModel):
    """The state of a run, "" if it was deleted, and its reason."""

    state: str
    reason: str | None


class TakeOver(ApiRequest):
    """A process that resumes a run."""

    run: str
    owner: str


class TakeOverAnswer(BaseModel):
    """Whether the process is the owner now."""

    taken: bool


class MovePoints(ApiRequest):
    """A run, and which of its writers; None for all."""

    run: str
    writer: str | None = None


class StoredFileQuery(ApiRequest):
    """A file by the SHA-256 of its content, and its size."""

    digest: str = Field(pattern=HASH_PATTERN)
    size: int = Field(ge=0)


class FileAnswer(BaseModel):
    """Whether the store has a file."""

    exists: bool


class Recording:
    """The endpoints by which `RemoteStore` records runs in a store.

    Args:
        store: In which they are recorded.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._artifacts = store, Artifacts(store.url, store)

    def routes(self) -> list[Route]:
        """Their paths."""
        return [
            Route(PATH, get_endpoint(NoParameters, self._describe)),
            Route(f"{PATH}/state", get_endpoint(RunQuery, self._load_state)),
            Route(f"{PATH}/has-file", get_endpoint(StoredFileQuery, self._has_file)),
            Route(f"{PATH}/records", self._write_records, methods=["POST"]),
            Route(f"{PATH}/take-over", post_endpoint(TakeOver, self._take_over), methods=["POST"]),
            Route(f"{PATH}/move-points", post_endpoint(MovePoints, self._move_points), methods=["POST"]),
            Route(f"{PATH}/files/{{digest}}", self._put_file, methods=["PUT"]),
        ]

    def _describe(self, _: NoParameters) -> StoreInfo:
        return StoreInfo(id=self._store.id)

    def _load_state(self, query: RunQuery) -> RunState:
        state, reason = self._store.load_state(query.run)
        return RunState(state=state, reason=reason)

    def _take_over(self, body: TakeOver) -> TakeOverAnswer:
        with _rejecting():
            return TakeOverAnswer(taken=self._store.take_over(body.run, body.owner))

    def _move_points(self, body: MovePoints) -> Done:
        with _rejecting():
            move_points(self._store, body.run, body.writer)
        return Done()

    def _has_file(self, query: StoredFileQuery) -> FileAnswer:
        return FileAnswer(exists=self._artifacts.own_place().has(query.digest, query.size))

    async def _write_records(self, request: Request) -> Response:
        body = await read_body(request, MAX_BATCH_BYTES)
        is_alive = request.query_params.get("is_alive") == "true"
        answer = await asyncio.to_thread(_write, self._store, body, is_alive)
        return Response(answer.model_dump_json(), media_type=JSON)

    async def _put_file(self, request: Request) -> Response:
        digest = request.path_params["digest"]
        if not re.fullmatch(HASH_PATTERN, digest):
            raise RequestError(HTTPStatus.NOT_FOUND, "Files are named by the SHA-256 of their content.")
        with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as file:
            await _receive_file(request, cast("IO[bytes]", file), digest)
            content = cast("io.BufferedReader", file)
            try:
                await asyncio.to_thread(lambda: self._artifacts.own_place().put(digest, content))
            except (OSError, StorageError) as error:
                raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"The file cannot be stored: {error}.") from None
        return Response(Done().model_dump_json(), media_type=JSON)


def _write(store: Store, body: bytes, is_alive: bool) -> RecordsAnswer:
    """Write a batch of records. Raises RequestError if it is none, or the store rejects it."""
    with _rejecting():
        return RecordsAnswer(ignored=sorted(store.write(parse_batch(body), is_alive=is_alive)))


@contextmanager
def _rejecting() -> Iterator[None]:
    """Raise an error that the request causes, and not the connection to the store, as RequestError."""
    try:
        yield
    except StoreUnavailableError:
        raise
    except StoreError as error:
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


async def _receive_file(request: Request, file: IO[bytes], digest: str) -> None:
    """Write the body of a request to a file, and go back to its start. Raises RequestError if its hash is another."""
    size, sha256 = 0, hashlib.sha256()
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_FILE_BYTES:
                detail = f"A file must have at most {MAX_FILE_BYTES:,} bytes."
                raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
            sha256.update(chunk)
            file.write(chunk)
    except ClientDisconnect:
        raise RequestError(HTTPStatus.BAD_REQUEST, "The client closed the connection.") from None
    if sha256.hexdigest() != digest:
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "The content of the file has another hash than its name.")
    file.seek(0)
