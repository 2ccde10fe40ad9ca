"""A client of the dashboard without a network."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from rosenblatt.dashboard.app import Application
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access

HOST = "127.0.0.1:8765"


class Client:
    """Sends requests to an application as uvicorn does."""

    def __init__(self, store: Store) -> None:
        self._asgi = Application(store, Access()).asgi

    def get(
        self, address: str, *, method: str = "GET", body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by lower-case name, and body."""
        path, _, query = address.partition("?")
        given = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
        scope: dict[str, Any] = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": query.encode(), "headers": [(k.encode(), v.encode()) for k, v in given.items()],
            "scheme": "http", "http_version": "1.1",
        }  # fmt: skip
        messages, bodies = list[Any](), [body]

        async def receive() -> Any:
            if not bodies:
                await asyncio.Event().wait()  # until the client goes, which it never does
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        asyncio.run(self._asgi(scope, receive, send))
        answer_headers = {k.decode().lower(): v.decode() for k, v in messages[0]["headers"]}
        return messages[0]["status"], answer_headers, b"".join(message.get("body", b"") for message in messages)

    def get_json(self, address: str) -> Any:
        """The answer, which must be a success."""
        status, _, body = self.get(address)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and JSON of the answer to a body of JSON."""
        given = {"content_type": "application/json", "origin": f"http://{HOST}"} | headers
        status, _, answer = self.get(path, method="POST", body=json.dumps(body).encode(), **given)
        return status, json.loads(answer)
