"""A store behind a dashboard on another machine: programs record runs there over HTTP, and read nothing."""

from __future__ import annotations

import http.client
import io
import json
import os
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from rosenblatt.errors import StoreError, StoreUnavailableError
from rosenblatt.runs.store.batches import format_rows
from rosenblatt.runs.store.engines import redact_url
from rosenblatt.runs.store.places import ContentFile
from rosenblatt.runs.store.records import RecordBatch, Row

TOKEN_VARIABLE = "ROSENBLATT_TOKEN"  # noqa: S105 - its name
TIMEOUT_S = 30.0
MAX_BATCH_BYTES = 64 << 20  # of a request with records
MAX_ANSWER_BYTES = 1 << 20  # of answers other than files
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
PATH = "/api/store"


class _Answer(NamedTuple):
    status: int
    content: bytes


class RemoteStore:
    """A store that another machine shows with `rosenblatt ui --host`, of which this one can only add to runs.

    Batches may be sent twice, if an answer is lost: records have keys, and replace those that are there. Its methods
    raise StoreUnavailableError if the server cannot be reached, and StoreError if it refuses a request.

    Args:
        url: `https://HOST:PORT`; `http://` only for this machine. The token of the server is read from
            ROSENBLATT_TOKEN, and certificates of authorities of one's own from the file that SSL_CERT_FILE names.

    Raises:
        StoreError: If the address is wrong, or the server refuses the token.
        StoreUnavailableError: If it cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = _make_connection(url)
        self._headers = {"Accept": "application/json"}
        if token := os.environ.get(TOKEN_VARIABLE, "").strip():
            if not token.isascii() or not token.isprintable():
                raise StoreError(f"{TOKEN_VARIABLE} must be one line of ASCII characters, as the dashboard shows it.")
            self._headers["Authorization"] = f"Bearer {token}"
        self._lock = threading.Lock()
        try:
            _ = self.id  # shows that it can be reached
        except BaseException:
            self.close()
            raise

    @cached_property
    def id(self) -> str:
        """The random id that the store got when it was created."""
        return str(self._ask("GET", "")["id"])

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def forget_connections(self) -> None:
        """Leave the connection to the process that opened it, after a fork."""
        self._connection, self._lock = _make_connection(self.url), threading.Lock()

    def write(self, batch: RecordBatch | Mapping[str, Sequence[Row]], *, is_alive: bool = False) -> set[str]:
        """Write a batch completely or not at all; see `Store.write`."""
        rows = batch.rows if isinstance(batch, RecordBatch) else batch
        content = format_rows(rows)
        if len(content) > MAX_BATCH_BYTES:
            raise StoreError(f"A batch of records has {len(content) / 1e6:,.0f} MB, more than the server accepts.")
        return set(self._ask("POST", f"/records?is_alive={str(is_alive).lower()}", content)["ignored"])

    def has_run(self, run: str) -> bool:
        """Whether a run is in the store."""
        return bool(self.load_state(run)[0])

    def load_state(self, run: str) -> tuple[str, str | None]:
        """Load the state and reason of a run; the state is "" if it was deleted."""
        answer = self._ask("GET", f"/state?run={quote(run, safe='')}")
        return str(answer["state"]), answer["reason"]

    def move_points(self, run: str, writer: str | None = None) -> None:
        """Move points of a run from its log to chunks; see `point_log`."""
        self._post("/move-points", run=run, writer=writer)

    def take_over(self, run: str, owner: str) -> bool:
        """Make a process the owner of a run; see `Store.take_over`."""
        return bool(self._post("/take-over", run=run, owner=owner)["taken"])

    # The place of files

    def has(self, digest: str, size: int) -> bool:
        """Whether the store has a file of this hash and size."""
        return bool(self._ask("GET", f"/has-file?digest={digest}&size={size}")["exists"])

    def put(self, digest: str, file: ContentFile) -> None:
        """Send the rest of a file."""
        self._ask("PUT", f"/files/{digest}", file)

    def get(self, digest: str, path: Path) -> None:  # noqa: ARG002 - as other places
        """Files of a remote store are read in its pages. Raises StoreError."""
        raise StoreError(f"The file {digest} is read on the machine of the store, or in the page of its run.")

    def remove(self, digest: str) -> None:
        """Files of a remote store are removed on its machine only. Raises StoreError."""
        raise StoreError(f"The file {digest} is removed on the machine of the store: rosenblatt runs tidy.")

    def list_files(self) -> Iterator[tuple[str, float]]:
        """Files of a remote store are listed on its machine only. Raises StoreError."""
        raise StoreError("The files of a store are listed on its machine: rosenblatt runs tidy.")

    # Requests

    def _post(self, path: str, **values: Any) -> dict[str, Any]:
        return self._ask("POST", path, json.dumps(values).encode())

    def _ask(self, method: str, path: str, body: bytes | ContentFile | None = None) -> dict[str, Any]:
        """Send a request, and return the JSON of its answer. Raises StoreError."""
        with self._lock:
            response = self._send(method, path, body)
            try:
                answer = _Answer(response.status, response.read(MAX_ANSWER_BYTES))
            except (OSError, http.client.HTTPException) as error:
                raise self._unavailable(error) from error
        self._check(answer)
        try:
            return dict(json.loads(answer.content))
        except (ValueError, TypeError):
            raise StoreError(f"{redact_url(self.url)} is no dashboard of Rosenblatt of this version.") from None

    def _send(self, method: str, path: str, body: bytes | ContentFile | None) -> http.client.HTTPResponse:
        """Send a request, once more if the server has closed the connection since the last one."""
        start = body.tell() if isinstance(body, io.IOBase) else 0
        is_new = self._connection.sock is None
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json" if isinstance(body, bytes) else "application/octet-stream"
        try:
            try:
                self._connection.request(method, PATH + path, body, headers)
                return self._connection.getresponse()
            except (
                BrokenPipeError,
                ConnectionResetError,
                http.client.RemoteDisconnected,
                http.client.CannotSendRequest,
            ):
                self._connection.close()
                if is_new:
                    raise
            if isinstance(body, io.IOBase):
                body.seek(start)
            self._connection.request(method, PATH + path, body, headers)
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> StoreError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return StoreError(
                f"The certificate of {redact_url(self.url)} is not trusted ({error.verify_message}). Name the "
                "certificate of its authority with SSL_CERT_FILE."
            )
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return StoreUnavailableError(f"The store {redact_url(self.url)} cannot be reached: {reason}.")

    def _check(self, answer: _Answer) -> None:
        """Raise StoreError for an answer that is no success."""
        if answer.status in (http.HTTPStatus.OK, http.HTTPStatus.CREATED):
            return
        detail = f"status {answer.status}"
        with suppress(ValueError, TypeError, LookupError):
            detail = str(json.loads(answer.content)["detail"])[:300]
        if answer.status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            raise StoreError(f"The store {redact_url(self.url)} refuses this program: {detail} Set {TOKEN_VARIABLE}.")
        if answer.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise StoreUnavailableError(f"The store {redact_url(self.url)} cannot be reached: {detail}")
        raise StoreError(f"The store {redact_url(self.url)} rejected a record: {detail}")


def _make_connection(url: str) -> http.client.HTTPConnection:
    """A connection that is opened with the first request. Raises StoreError for an address that cannot be used."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if not host or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise StoreError(
            f"{redact_url(url)} is not the address of a store. Give https://HOST:PORT of a dashboard, and its token in "
            f"{TOKEN_VARIABLE}."
        )
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    if host not in LOOPBACK_NAMES:
        raise StoreError(f"{redact_url(url)} is not encrypted, so that others could read the token. Use https://.")
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
