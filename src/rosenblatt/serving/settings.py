"""How a server behaves: limits and timeouts."""

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
