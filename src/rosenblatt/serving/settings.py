"""How a server behaves: limits, timeouts, and who may use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LogFormat = Literal["text", "json", "none"]


@dataclass(frozen=True)
class Limits:
    """Limits of requests.

    Attributes:
        body_bytes: size of a body.
        batch_rows: rows from which a batch takes no further request.
        waiting_requests: requests that are received or wait at the same time.
        body_timeout_s: seconds in which a body must have arrived.
        answer_timeout_s: seconds in which a request must be answered.
        threads: of a prediction of many rows; None for one per core.
    """

    body_bytes: int = 32 << 20
    batch_rows: int = 1024
    waiting_requests: int = 1024
    body_timeout_s: float = 30.0
    answer_timeout_s: float = 60.0
    threads: int | None = None


@dataclass(frozen=True)
class Access:
    """Who may use a server.

    Attributes:
        token: that requests must carry as `Authorization: Bearer`; empty if none is needed.
        is_loopback: whether only programs of this machine reach the server.
        host_names: names, besides addresses, by which requests may address it.
    """

    token: str = ""
    is_loopback: bool = True
    host_names: frozenset[str] = frozenset()
