"""Objects of S3, Google Cloud Storage, Azure Blob Storage and web servers, by obstore."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from rosenblatt.data.volumes.storage.objects import CHUNK_BYTES, ObjectInfo
from rosenblatt.errors import ConflictError, StorageError
from rosenblatt.runs.redaction import redact
from rosenblatt.runs.store.locations import public_address

MAX_GAP_BYTES = 1 << 16  # between ranges that are read together
MAX_RETRIES = 5  # of a request, for at most `RETRY_SECONDS`
RETRY_SECONDS = 60
REQUEST_SECONDS = 300  # time limit of one request
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


class BucketObjects:
    """The objects under an address of a bucket."""

    def __init__(self, address: str) -> None:
        try:
            import obstore
            import obstore.store
        except ModuleNotFoundError as error:
            raise StorageError(
                f"{public_address(address)!r} needs obstore: pip install 'rosenblatt[volumes]'."
            ) from error
        self.address, self._obstore = public_address(address), obstore
        open_store: Any = obstore.store.from_url  # whose options depend on the scheme
        self._scheme = address.split("://", 1)[0]
        is_plain_http = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
        client: Any = {"timeout": f"{REQUEST_SECONDS}s", "connect_timeout": "10s"}
        if is_plain_http or self._scheme == "http":
            client["allow_http"] = True  # a local server
        retry = {"max_retries": MAX_RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
        with self._translated("opened"):
            self._store = open_store(address, client_options=client, retry_config=retry)

    @contextmanager
    def _translated(self, action: str, path: str = "") -> Iterator[None]:
        """Raise errors of obstore as FileNotFoundError or StorageError."""
        exceptions = self._obstore.exceptions
        place = f"{self.address}/{path}" if path else self.address
        try:
            yield
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
                raise StorageError(
                    f"{self.address!r}: the bucket does not exist. Create it, or check its name."
                ) from None
            raise FileNotFoundError(place) from None
        except _exists_errors(self._obstore):
            raise
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            names = _CREDENTIALS.get(self._scheme, "the credentials")
            raise StorageError(
                f"{place!r} cannot be {action}: access is denied ({_reason(error)}). Check {names}, and their rights."
            ) from None
        except exceptions.BaseError as error:
            raise StorageError(f"{place!r} cannot be {action}: {_reason(error)}.") from None

    def read(self, path: str) -> bytes:
        with self._translated("read", path):
            return bytes(self._obstore.get(self._store, path).bytes())

    def read_ranges(self, path: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        with self._translated("read", path):
            parts = self._obstore.get_ranges(
                self._store, path, starts=list(starts), lengths=list(lengths), coalesce=MAX_GAP_BYTES
            )
            return [bytes(part) for part in parts]

    def stream(self, path: str) -> Iterator[bytes]:
        with self._translated("read", path):
            for chunk in self._obstore.get(self._store, path).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    def info(self, path: str) -> ObjectInfo | None:
        try:
            with self._translated("read", path):
                return _info(self._obstore.head(self._store, path))
        except FileNotFoundError:
            return None

    def folders(self) -> list[str]:
        self._refuse_listing()
        with self._translated("listed"):
            prefixes = self._obstore.list_with_delimiter(self._store)["common_prefixes"]
            return sorted(str(prefix).rstrip("/").rsplit("/", 1)[-1] for prefix in prefixes)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._refuse_listing()
        with self._translated("listed", prefix):
            for batch in self._obstore.list(self._store, prefix or None):
                yield from (_info(meta) for meta in sorted(batch, key=lambda meta: meta["path"]))

    def create(self, path: str, content: bytes) -> bool:
        self._check_writes()
        try:
            with self._translated("written", path):
                self._obstore.put(self._store, path, content, mode="create")
        except _exists_errors(self._obstore):
            return False
        return True

    def put(self, path: str, content: bytes | BinaryIO) -> None:
        self._refuse_web_server()
        with self._translated("written", path):
            self._obstore.put(self._store, path, content)

    def replace(self, path: str, content: bytes, etag: str | None) -> None:
        self._check_writes()
        mode: Any = "create" if etag is None else {"e_tag": etag}
        try:
            with self._translated("written", path):
                self._obstore.put(self._store, path, content, mode=mode)
        except _exists_errors(self._obstore):
            if self.read(path) != content:  # else our own request landed, though its answer was lost
                raise ConflictError(f"{path!r} was changed by another process at the same time. Try again.") from None

    def delete(self, paths: Sequence[str]) -> None:
        self._refuse_web_server()
        for path in paths:
            try:
                with self._translated("deleted", path):
                    self._obstore.delete(self._store, path)
            except FileNotFoundError:
                continue

    def local_path(self, path: str) -> Path | None:  # noqa: ARG002 - objects of buckets have no files
        return None

    def _refuse_listing(self) -> None:
        if self._scheme.startswith("http"):
            raise StorageError(f"{self.address!r} is a web server, whose files cannot be listed. Name a version.")

    def _refuse_web_server(self) -> None:
        if self._scheme.startswith("http"):
            raise StorageError(
                f"{self.address!r} is a web server, which can only be read. Write to a folder or bucket."
            )

    def _check_writes(self) -> None:
        self._refuse_web_server()
        if not self._has_conditional_writes:
            raise StorageError(
                f"The store of {self.address!r} ignores conditions of writes (If-None-Match), so that two writers "
                "could overwrite each other. Use another store, such as S3, or a folder."
            )

    @cached_property
    def _has_conditional_writes(self) -> bool:
        """Whether a second write of a new object is refused, as two writers need; found out by trying."""
        path = f"probes/{secrets.token_hex(16)}"
        try:
            with self._translated("written", path):
                self._obstore.put(self._store, path, b"1", mode="create")
                self._obstore.put(self._store, path, b"2", mode="create")
        except _exists_errors(self._obstore):
            return True
        finally:
            with self._translated("deleted", path):
                self._obstore.delete(self._store, path)
        return False


def _exists_errors(obstore: Any) -> tuple[type[Exception], ...]:
    return obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError


def _info(meta: Any) -> ObjectInfo:
    return ObjectInfo(meta["path"], meta["size"], meta["last_modified"].timestamp(), meta["e_tag"])


def _reason(error: Exception) -> str:
    """The first line of an error, without credentials."""
    line = redact((str(error).splitlines() or [type(error).__name__])[0])
    return re.sub(r"\?[^\s\"')]+", "", line).rstrip(".")
