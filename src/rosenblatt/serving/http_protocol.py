"""uvicorn's protocol of HTTP/1.1, with a limit of the head of a request, which that of httptools lacks."""

from __future__ import annotations

from typing import Any

MAX_HEAD_BYTES = 1 << 19  # of the request line and all headers, and of what is received together with them


def make_protocol() -> Any:
    """The class of protocols for uvicorn, or "h11", which has a limit, if httptools is not installed."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ModuleNotFoundError:
        return "h11"

    class LimitedProtocol(HttpToolsProtocol):
        """A connection; its head is counted from the first byte of a request to its last header."""

        is_in_head, n_head_bytes = True, 0

        def data_received(self, data: bytes) -> None:
            """Take bytes, unless the head of the request is too long."""
            super().data_received(data)
            if self.is_in_head:
                self.n_head_bytes += len(data)
                if self.n_head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                    self.send_400_response(f"The headers must have at most {MAX_HEAD_BYTES:,} bytes.")

        def on_message_begin(self) -> None:
            """Begin to count."""
            self.is_in_head, self.n_head_bytes = True, 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            """Count no further."""
            self.is_in_head = False
            super().on_headers_complete()

    return LimitedProtocol
