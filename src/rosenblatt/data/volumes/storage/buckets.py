"""Objects of S3, Google Cloud Storage, Azure Blob Storage and web servers, by obstore."""

from __future__ import annotations

import os
import re
import secrets
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from rosenblatt.data.volumes.storage.credentials import has_aws_credentials, read_aws_profile
from rosenblatt.data.volumes.storage.object_info import (
    CHUNK_BYTES,
    ObjectInfo,
    check_lengths,
    check_path,
    merge_ranges,
    truncated_error,
)
from rosenblatt.errors import ConflictError, StorageError
from rosenblatt.runs.redaction import redact
from rosenblatt.runs.store.locations import public_address

MAX_RETRIES = 10  # of a request, for at most `RETRY_SECONDS`; with the waits between them about 20 seconds
RETRY_SECONDS = 60
BACKOFF = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=10), "base": 3}
MAX_LIST_ATTEMPTS = 3  # of a listing that arrives cut or garbled, which obstore does not repeat
REQUEST_SECONDS = 300  # time limit of one request
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile (AWS_PROFILE)",
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
        self._opened_address = address
        open_store: Any = obstore.store.from_url  # whose options depend on the scheme
        self._scheme = address.split("://", 1)[0]
        config = read_aws_profile() if self._scheme == "s3" else {}
        endpoints = [config.get("endpoint", ""), *(os.environ.get(name, "") for name in _ENDPOINTS)]
        is_plain_http = any(endpoint.startswith("http://") for endpoint in endpoints)
        client: Any = {"timeout": f"{REQUEST_SECONDS}s", "connect_timeout": "10s"}
        if is_plain_http or self._scheme == "http":
            client["allow_http"] = True  # a local server
        retry = {"max_retries": MAX_RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS), "backoff": BACKOFF}
        if self._scheme == "s3" and not has_aws_credentials(config):
            raise StorageError(f"{self.address!r}: there are no credentials. Set {_CREDENTIALS['s3']}.")
        with self._translated("opened"):
            self._store = open_store(address, client_options=client, retry_config=retry, **config)

    def __reduce__(self) -> tuple[type[BucketObjects], tuple[str]]:
        return BucketObjects, (self._opened_address,)

    @contextmanager
    def _translated(self, action: str, path: str | None = None) -> Iterator[None]:
        """Raise errors of obstore as FileNotFoundError or StorageError."""
        place = f"{self.address}/{path}" if path else self.address
        if path is not None:
            check_path(path)
        try:
            yield
        except _exists_errors(self._obstore):
            raise
        except (self._obstore.exceptions.BaseError, FileNotFoundError) as error:
            text = str(error)
            if "NoSuchBucket" in text or "ContainerNotFound" in text:
                message = f"{self.address!r}: the bucket does not exist. Create it, or check its name."
                raise StorageError(message) from None
            if "416 Range Not Satisfiable" in text:
                raise truncated_error(place) from None
            if isinstance(error, FileNotFoundError):
                raise FileNotFoundError(place) from None
            advice = f" Check {_CREDENTIALS.get(self._scheme, 'credentials')}, and rights." if _is_denied(text) else ""
            raise StorageError(f"{place!r} cannot be {action}: {_reason(text)}.{advice}") from None

    def read(self, path: str) -> bytes:
        with self._translated("read", path):
            return bytes(self._obstore.get(self._store, path).bytes())

    def read_ranges(self, path: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        merged = merge_ranges(starts, lengths)
        with self._translated("read", path):
            first, last = [start for start, _ in merged], [end for _, end in merged]
            contents = self._obstore.get_ranges(self._store, path, starts=first, ends=last, coalesce=0)
        parts = []
        for start, length in zip(starts, lengths, strict=True):
            k = max(bisect_right(first, start) - 1, 0)
            content = memoryview(contents[k]) if contents else memoryview(b"")
            parts.append(bytes(content[start - first[k] :][:length]) if length else b"")
        check_lengths(f"{self.address}/{path}", parts, lengths)
        return parts

    def stream(self, path: str) -> Iterator[bytes]:
        with self._translated("read", path):
            for chunk in self._obstore.get(self._store, path).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    def info(self, path: str) -> ObjectInfo | None:
        try:
            with self._translated("read", path):
                return self._info(self._obstore.head(self._store, path))
        except FileNotFoundError:
            return None

    def folders(self) -> list[str]:
        self._refuse_listing()
        with self._translated("listed"):
            prefixes = self._obstore.list_with_delimiter(self._store)["common_prefixes"]
            return sorted(str(prefix).rstrip("/").rsplit("/", 1)[-1] for prefix in prefixes)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._refuse_listing()
        last: str | None = None
        with self._translated("listed", prefix or None):
            for attempt in range(1, MAX_LIST_ATTEMPTS + 1):
                try:
                    for batch in self._obstore.list(self._store, prefix or None, offset=last):
                        for meta in sorted(batch, key=lambda meta: meta["path"]):
                            last = str(meta["path"])
                            yield self._info(meta)
                except self._obstore.exceptions.BaseError as error:
                    if attempt == MAX_LIST_ATTEMPTS or "list response" not in str(error):
                        raise
                else:
                    return

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
        mode: Any = "create" if etag is None else {self._tag_name: etag}
        try:
            with self._translated("written", path):
                self._obstore.put(self._store, path, content, mode=mode)
        except _exists_errors(self._obstore):
            if self.read(path) != content:  # else our own request landed, though its answer was lost
                raise ConflictError(f"{path!r} was changed by another process at the same time. Try again.") from None

    def delete(self, paths: Sequence[str]) -> None:
        self._refuse_web_server()
        for path in paths:
            check_path(path)
        try:
            with self._translated("deleted", paths[0] if len(paths) == 1 else None):
                self._obstore.delete(self._store, list(paths))  # in requests for many, where the store knows them
        except FileNotFoundError:
            for path in paths if len(paths) > 1 else ():  # one of them is missing
                self.delete([path])

    def local_path(self, path: str) -> Path | None:  # noqa: ARG002 - objects of buckets have no files
        return None

    def _refuse_listing(self) -> None:
        if self._scheme.startswith("http"):
            name = f"{self.address}/photos@1"
            raise StorageError(
                f"{self.address!r} is a web server, which cannot be listed. Name a volume, such as {name}."
            )

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
        """Whether writes whose condition does not hold are refused, as two writers need; found out by trying."""
        path = f"probes/{secrets.token_hex(16)}"
        tag = "1" if self._tag_name == "version" else f'"{secrets.token_hex(16)}"'  # of no object
        modes: list[Any] = ["create", {self._tag_name: tag}]
        try:
            with self._translated("written", path):
                self._obstore.put(self._store, path, b"1")
            return not any(self._accepts(path, mode) for mode in modes)
        finally:
            with suppress(StorageError):
                self.delete([path])

    def _accepts(self, path: str, mode: Any) -> bool:
        try:
            with self._translated("written", path):
                self._obstore.put(self._store, path, b"2", mode=mode)
        except _exists_errors(self._obstore):
            return False
        return True

    @property
    def _tag_name(self) -> str:
        """What identifies the content of an object in conditions of writes."""
        return "version" if self._scheme == "gs" else "e_tag"

    def _info(self, meta: Any) -> ObjectInfo:
        tag = meta[self._tag_name]
        return ObjectInfo(meta["path"], meta["size"], meta["last_modified"].timestamp(), tag)


def _exists_errors(obstore: Any) -> tuple[type[Exception], ...]:
    return obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError


def _is_denied(text: str) -> bool:
    """Whether an error says that credentials are missing, expired or have too few rights."""
    signs = ("403 Forbidden", "401 Unauthorized", "ExpiredToken", "must be specified")
    return any(sign in text for sign in signs)


def _reason(text: str) -> str:
    """What the store answered, or why it did not, from the message of an error; without credentials."""
    if "ExpiredToken" in text:
        return "the credentials have expired"
    if status := re.search(r"status code: (\d+ [A-Za-z ]+)", text):
        return f"the store answers {status[1].strip()}"
    if "error sending request" in text:
        server = re.search(r"https?://[^/\s@]+(?=[/\s])", text)
        return f"{server[0] if server else 'the store'} cannot be reached"
    if "body error" in text:
        return "the connection ended in the middle of an answer"
    line = (text.splitlines() or [""])[0].rpartition(" - ")[2]
    return re.sub(r"\?[^\s\"')]+", "", redact(line)).rstrip(".")
