"""What programs of other machines need to record runs: the server's side of `RemoteStore`."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import tempfile
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import IO, TypeVar, cast

from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from rosenblatt.dashboard.endpoints import JSON, get_endpoint, post_endpoint, read_body
from rosenblatt.errors import StorageError, StoreError, StoreUnavailableError
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.batches import parse_batch
from rosenblatt.runs.store.remote_store import MAX_BATCH_BYTES, PATH
from rosenblatt.runs.store.store import Store
from rosenblatt.web.errors import RequestError

MAX_FILE_BYTES = 16 << 30
MEMORY_BYTES = 4 << 20  # of a file that is received, before it is written to disk
HASH_PATTERN = "^[0-9a-f]{64}$"
Result = TypeVar("Result")


class NoParameters(BaseModel):
    """A request without parameters."""


class StoreInfo(BaseModel):
    """Which store it is."""

    id: str


class RecordsAnswer(BaseModel):
    """What became of a batch: the runs whose records are ignored, as they were deleted or taken over."""

    ignored: list[str]


class RunQuery(BaseModel):
    """A run."""

    run: str


class RunState(BaseModel):
    """The state of a run, "" if it was deleted, and its reason."""

    state: str
    reason: str | None


class TakeOver(BaseModel):
    """A process that resumes a run."""

    run: str
    owner: str


class TakeOverAnswer(BaseModel):
    """Whether the process is the owner now."""

    taken: bool


class MovePoints(BaseModel):
    """A run, and which of its writers; None for all."""

    run: str
    writer: str | None = None


class FileQuery(BaseModel):
    """A file by the SHA-256 of its content, and its size."""

    digest: str = Field(pattern=HASH_PATTERN)
    size: int = Field(ge=0)


class FileAnswer(BaseModel):
    """Whether the store has a file."""

    exists: bool


def recording_routes(store: Store) -> list[Route]:
    """The routes by which `RemoteStore` records runs in a store."""
    place = Artifacts(store.url, store).own_place

    def load_state(query: RunQuery) -> RunState:
        state, reason = store.load_state(query.run)
        return RunState(state=state, reason=reason)

    def take_over(body: TakeOver) -> TakeOverAnswer:
        return TakeOverAnswer(taken=store.take_over(body.run, body.owner))

    def move_points(body: MovePoints) -> NoParameters:
        store.move_points(body.run, body.writer)
        return NoParameters()

    def has_file(query: FileQuery) -> FileAnswer:
        return FileAnswer(exists=place().has(query.digest, query.size))

    async def write_records(request: Request) -> Response:
        body = await read_body(request, MAX_BATCH_BYTES)
        is_alive = request.query_params.get("is_alive") == "true"
        answer = await asyncio.to_thread(_write, store, body, is_alive)
        return Response(answer.model_dump_json(), media_type=JSON)

    async def put_file(request: Request) -> Response:
        digest = request.path_params["digest"]
        if not re.fullmatch(HASH_PATTERN, digest):
            raise RequestError(HTTPStatus.NOT_FOUND, "Files are named by the SHA-256 of their content.")
        with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as file:
            await _receive_file(request, cast("IO[bytes]", file), digest)
            try:
                await asyncio.to_thread(lambda: place().put(digest, cast("io.BufferedReader", file)))
            except (OSError, StorageError) as error:
                raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"The file cannot be stored: {error}.") from None
        return Response(NoParameters().model_dump_json(), media_type=JSON)

    return [
        Route(PATH, get_endpoint(NoParameters, lambda _: StoreInfo(id=store.id))),
        Route(f"{PATH}/state", get_endpoint(RunQuery, load_state)),
        Route(f"{PATH}/has-file", get_endpoint(FileQuery, has_file)),
        Route(f"{PATH}/records", write_records, methods=["POST"]),
        Route(f"{PATH}/take-over", post_endpoint(TakeOver, partial(_reject_errors, take_over)), methods=["POST"]),
        Route(f"{PATH}/move-points", post_endpoint(MovePoints, partial(_reject_errors, move_points)), methods=["POST"]),
        Route(f"{PATH}/files/{{digest}}", put_file, methods=["PUT"]),
    ]


def _write(store: Store, body: bytes, is_alive: bool) -> RecordsAnswer:
    """Write a batch of records. Raises RequestError if it is none, or the store rejects it."""
    ignored = _reject_errors(lambda content: store.write(parse_batch(content), is_alive=is_alive), body)
    return RecordsAnswer(ignored=sorted(ignored))


Argument = TypeVar("Argument")


def _reject_errors(act: Callable[[Argument], Result], argument: Argument) -> Result:
    """Call a function; an error of the request, and not of the connection to the store, becomes a RequestError."""
    try:
        return act(argument)
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
