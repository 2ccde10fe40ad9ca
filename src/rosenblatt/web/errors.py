"""Errors of requests, which become answers with a status of HTTP and one sentence."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class RequestError(Exception):
    """A request that cannot be answered as it is: its status, and what was expected, what came, what to do."""

    def __init__(self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None, **place: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.place = place  # where in the request: `row` from 1, and `field`

    def to_json(self) -> dict[str, Any]:
        """The answer, as problem details of RFC 9457."""
        return {"title": self.status.phrase, "status": int(self.status), "detail": self.detail, **self.place}


def unprocessable(detail: str, **place: Any) -> RequestError:
    """An error for rows that do not fit the schema of the model."""
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, **place)
