"""How to reach a cluster: the command that starts a driver there, and the messages that driver and controller send.

A message is its length, a header, and a content. The controller pickles its headers; those of the driver are JSON, and
begin after a marker.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

_LENGTH_BYTES = 8
MAX_HEADER_BYTES = 2**28
_CHUNK_BYTES = 2**16  # small, so that each is a sign of life over a slow connection
CLOUD_MACHINE_START_S = 1800.0  # for a machine to boot and to install its environment
DRIVER_MODULE = "rosenblatt.tuning.ray_driver"
HEARTBEAT_INTERVAL_S = 2.0  # between two signs of life of the controller
SILENCE_TIMEOUT_S = 20.0  # without a sign of life, after which controller and driver give one another up


@dataclass(frozen=True)
class RayConnection:
    """A cluster, and how to start a driver that joins it.

    Attributes:
        name: for messages.
        command: starts a driver, which talks over standard input and output; through SSH for other machines.
        environment: variables that the driver sets before it imports Ray.
        address: of the head for the driver: `10.0.0.1:6379`, `ray://head:10001`, or `auto` for a node of this machine.
        machine_start_s: seconds that a machine may take until it is ready, if the cluster starts machines on demand.
    """

    name: str
    command: tuple[str, ...] = (sys.executable, "-P", "-m", DRIVER_MODULE)
    environment: Mapping[str, str] = field(default_factory=dict)
    address: str = "auto"
    machine_start_s: float = 0.0


class Message(NamedTuple):
    """A message between controller and driver."""

    header: dict[str, Any]
    content: bytes = b""


def write_command(file: IO[bytes], kind: str, content: bytes = b"", **header: Any) -> None:
    """Send a message to the driver."""
    _write(file, pickle.dumps(header | {"kind": kind}), content)


def read_command(file: IO[bytes], on_bytes: Callable[[], None] = lambda: None) -> Message | None:
    """Read a message of the controller, as `read_report`; None at the end of the pipe."""
    parts = _read(file, on_bytes)
    return None if parts is None else Message(pickle.loads(parts[0]), parts[1])  # noqa: S301 - from the controller


def write_report(file: IO[bytes], kind: str, content: bytes = b"", **header: Any) -> None:
    """Send a message to the controller."""
    _write(file, json.dumps(header | {"kind": kind}).encode(), content)


def read_report(file: IO[bytes], on_bytes: Callable[[], None] = lambda: None) -> Message | None:
    """Read a message of the driver; None at the end of the pipe. Raises ValueError for anything else.

    Args:
        file: the pipe.
        on_bytes: called whenever a part of the message has arrived, since a long one takes a while.
    """
    parts = _read(file, on_bytes)
    return None if parts is None else Message(dict(json.loads(parts[0])), parts[1])


def _write(file: IO[bytes], header: bytes, content: bytes) -> None:
    lengths = len(header).to_bytes(_LENGTH_BYTES, "little") + len(content).to_bytes(_LENGTH_BYTES, "little")
    file.write(lengths + header)
    file.write(content)
    file.flush()


def _read(file: IO[bytes], on_bytes: Callable[[], None] = lambda: None) -> tuple[bytes, bytes] | None:
    lengths = file.read(2 * _LENGTH_BYTES)
    if len(lengths) < 2 * _LENGTH_BYTES:
        return None
    n_header, n_content = (int.from_bytes(lengths[i : i + _LENGTH_BYTES], "little") for i in (0, _LENGTH_BYTES))
    if n_header > MAX_HEADER_BYTES:
        raise ValueError(f"expected the length of a message, but it printed {lengths!r}")
    parts = []
    for n in (n_header, n_content):
        part = bytearray()
        while len(part) < n:
            chunk = file.read(min(n - len(part), _CHUNK_BYTES))
            if not chunk:
                return None
            part += chunk
            on_bytes()
        parts.append(bytes(part))
    return parts[0], parts[1]
