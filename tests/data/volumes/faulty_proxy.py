"""HTTP proxy on the loopback interface that stands in front of a real server and injects faults into its traffic.

    with FaultyProxy("http://127.0.0.1:9000", seed=1) as proxy:
        fault = proxy.inject(Action.UNAVAILABLE, method="PUT", path="/packs/", count=2)
        ...  # a client of proxy.address
        assert fault.hits == 2

Messages are read whole before they are passed on. The server gets one connection per request, the client keeps its own.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import Self
from urllib.parse import urlsplit

BUFFER_BYTES = 1 << 20
CHUNK_BYTES = 1 << 18  # that a throttled link carries at a time
CONDITIONS = (b"if-none-match", b"if-match", b"x-goog-if-generation-match")


class Action(Enum):
    """What happens to a request or its answer."""

    DELAY = auto()  # the request waits for `seconds`
    UNAVAILABLE = auto()  # the proxy answers 503, with Retry-After if `seconds` is given; the server gets nothing
    DENIED = auto()  # the proxy answers 403
    EXPIRED = auto()  # the proxy answers as S3 does to temporary credentials that have expired
    CUT = auto()  # the connection ends in the middle of the answer's body
    FLIP = auto()  # one bit of the answer's body is inverted
    DROP_REQUEST = auto()  # the connection ends in the middle of the request, which the server does not get
    DROP_ANSWER = auto()  # the server carries the request out, and the connection ends before the answer
    IGNORE_CONDITIONS = auto()  # the server gets the request without its conditions, and overwrites


@dataclass
class Fault:
    """A rule of which requests an action is applied to."""

    action: Action
    method: str = ""  # regular expressions; "" matches all
    path: str = ""
    skip: int = 0  # matching requests that pass first
    count: int | None = None  # matching requests after these that are hit; None: all
    probability: float = 1.0
    seconds: float = 0.0
    hits: int = 0
    matches: int = 0

    def applies(self, method: str, path: str, random: Random) -> bool:
        """Count a request, and tell whether it is hit."""
        if not (re.fullmatch(self.method or ".*", method) and re.search(self.path, path)):
            return False
        self.matches += 1
        is_hit = self.matches > self.skip and (self.count is None or self.hits < self.count)
        is_hit = is_hit and random.random() < self.probability
        self.hits += is_hit
        return is_hit


@dataclass(frozen=True)
class Exchange:
    """A request that the proxy got, with the status of its answer (0: none) and the bytes of both bodies."""

    method: str
    path: str
    status: int
    sent_bytes: int
    received_bytes: int


@dataclass
class _Message:
    start: bytes  # request line or status line
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def without(self, *names: bytes) -> list[tuple[bytes, bytes]]:
        return [(key, value) for key, value in self.headers if key.lower() not in names]

    def head(self) -> bytes:
        return b"\r\n".join([self.start, *(key + b": " + value for key, value in self.headers), b"", b""])


@dataclass
class FaultyProxy:
    """A proxy in a thread of its own, from `with` on; `address` then stands for that of the server.

    Args:
        upstream: address of the server.
        seed: of the random choices, which depend on nothing else but method, path and how often they were requested.
        delay_seconds: added to each request.
        bytes_per_second: rate of the link, which all connections share; None: unlimited.
    """

    upstream: str
    seed: int = 0
    delay_seconds: float = 0.0
    bytes_per_second: float | None = None
    port: int = 0  # 0: any
    faults: list[Fault] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    _seen: Counter[str] = field(default_factory=Counter)
    _link_free_at: float = 0.0

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10), "the proxy does not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def inject(self, action: Action, **rule: str | float | None) -> Fault:
        """Add a fault; see Fault for the rules."""
        fault = Fault(action, **rule)
        self.faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults and forget the requests so far."""
        self.faults.clear()
        self.exchanges.clear()

    def count(self, method: str = "", path: str = "") -> int:
        """The number of requests that match these regular expressions."""
        return sum(
            bool(re.fullmatch(method or ".*", exchange.method) and re.search(path, exchange.path))
            for exchange in self.exchanges
        )

    @property
    def received_bytes(self) -> int:
        """Bytes of the bodies that clients got."""
        return sum(exchange.received_bytes for exchange in self.exchanges)

    @property
    def sent_bytes(self) -> int:
        """Bytes of the bodies that clients sent."""
        return sum(exchange.sent_bytes for exchange in self.exchanges)

    def _run(self, ready: threading.Event) -> None:
        async def serve() -> None:
            self._stopped = asyncio.Event()
            server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=BUFFER_BYTES)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await self._stopped.wait()
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks)
            await asyncio.sleep(0)  # in which the connections are closed

        self._loop.run_until_complete(serve())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the requests of a client's connection."""
        with suppress(OSError, EOFError, asyncio.CancelledError):
            try:
                while (request := await _read_message(reader)) and await self._answer(request, writer):
                    pass
            finally:
                writer.close()

    async def _answer(self, request: _Message, writer: asyncio.StreamWriter) -> bool:
        """Answer a request, and tell whether the connection goes on."""
        method, path = request.start.decode("latin-1").split(" ")[:2]
        actions = {fault.action: fault for fault in self._matching_faults(method, path)}
        await asyncio.sleep(self.delay_seconds + getattr(actions.get(Action.DELAY), "seconds", 0.0))
        if Action.DROP_REQUEST in actions:
            self._record(request, 0, 0)
            return False
        await self._carry(len(request.body))
        answer = await self._forward(request, actions)
        status = int(answer.start.split()[1])
        body = answer.body
        if Action.DROP_ANSWER in actions:
            self._record(request, 0, 0)
            return False
        if Action.FLIP in actions and body:
            body = _flip_bit(body, Random(f"{self.seed} {path} {len(self.exchanges)}"))
        end = len(body) // 2 if Action.CUT in actions else len(body)
        self._record(request, status, end)  # before the client knows
        writer.write(answer.head())
        for start in range(0, end, CHUNK_BYTES):
            chunk = body[start : min(start + CHUNK_BYTES, end)]
            await self._carry(len(chunk))
            writer.write(chunk)
            await writer.drain()
        await writer.drain()
        return end == len(body)

    def _matching_faults(self, method: str, path: str) -> list[Fault]:
        self._seen[f"{method} {path}"] += 1
        random = Random(f"{self.seed} {method} {path} {self._seen[f'{method} {path}']}")
        return [fault for fault in tuple(self.faults) if fault.applies(method, path, random)]

    def _record(self, request: _Message, status: int, received_bytes: int) -> None:
        method, path = request.start.decode("latin-1").split(" ")[:2]
        self.exchanges.append(Exchange(method, path, status, len(request.body), received_bytes))

    async def _carry(self, n_bytes: int) -> None:
        """Wait until the link has carried some bytes."""
        if self.bytes_per_second and n_bytes:
            now = self._loop.time()
            self._link_free_at = max(now, self._link_free_at) + n_bytes / self.bytes_per_second
            await asyncio.sleep(self._link_free_at - now)

    async def _forward(self, request: _Message, actions: dict[Action, Fault]) -> _Message:
        if Action.UNAVAILABLE in actions:
            seconds = actions[Action.UNAVAILABLE].seconds
            return _refusal(b"503 Service Unavailable", [(b"Retry-After", b"%d" % seconds)] if seconds else [])
        if Action.DENIED in actions:
            return _refusal(b"403 Forbidden", [])
        if Action.EXPIRED in actions:
            return _refusal(b"400 Bad Request", [], b"<Error><Code>ExpiredToken</Code></Error>")
        ignored = CONDITIONS if Action.IGNORE_CONDITIONS in actions else ()
        headers = [*request.without(b"connection", *ignored), (b"Connection", b"close")]
        upstream = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(upstream.hostname, upstream.port, limit=BUFFER_BYTES)
        try:
            writer.write(_Message(request.start, headers).head() + request.body)
            await writer.drain()
            answer = await _read_message(reader, is_answer=True, is_head=request.start.startswith(b"HEAD "))
        finally:
            writer.close()
        if answer is None:
            raise ConnectionResetError
        return answer


async def _read_message(
    reader: asyncio.StreamReader, *, is_answer: bool = False, is_head: bool = False
) -> _Message | None:
    """Read a message whole; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    start, *lines = head[:-4].split(b"\r\n")
    message = _Message(start, [(key, value.strip()) for key, _, value in (line.partition(b":") for line in lines)])
    status = start.split()[1] if is_answer else b""
    if is_head or status in (b"204", b"304"):
        message.headers = message.without(b"connection", b"transfer-encoding")
        return message
    message.body = await _read_body(reader, message, ends_with_connection=is_answer)
    if is_answer or message.header(b"transfer-encoding"):
        message.headers = message.without(b"connection", b"transfer-encoding", b"content-length")
        message.headers.append((b"Content-Length", b"%d" % len(message.body)))
    return message


async def _read_body(reader: asyncio.StreamReader, message: _Message, *, ends_with_connection: bool) -> bytes:
    if (message.header(b"transfer-encoding") or b"").lower() == b"chunked":
        chunks = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            chunks.append((await reader.readexactly(size + 2))[:-2])
        while await reader.readuntil(b"\r\n") != b"\r\n":  # trailers
            pass
        return b"".join(chunks)
    length = message.header(b"content-length")
    if length is None:
        return await reader.read() if ends_with_connection else b""
    return await reader.readexactly(int(length))


def _refusal(status: bytes, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> _Message:
    return _Message(b"HTTP/1.1 " + status, [*headers, (b"Content-Length", b"%d" % len(body))], body)


def _flip_bit(body: bytes, random: Random) -> bytes:
    flipped = bytearray(body)
    flipped[random.randrange(len(body))] ^= 1 << random.randrange(8)
    return bytes(flipped)
