"""Relay Ethernet frames between two bridges, late and not all of them: `tc netem` for kernels without it.

python slow_link.py BRIDGE BRIDGE DELAY_MS LOSS
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
MAX_FRAME = 65_536
MAX_QUEUED_FRAMES = 10_000


def open_tap(bridge: str) -> int:
    """Make a tap device on a bridge; it vanishes with this process."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    name = fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"", IFF_TAP | IFF_NO_PI))[:16].rstrip(b"\0")
    subprocess.run(["ip", "link", "set", name.decode(), "master", bridge, "up"], check=True)
    return descriptor


def relay(taps: tuple[int, int], delay_s: float, loss: float) -> None:
    """Pass frames on in both directions, each after the delay, until the process is killed."""
    queues: dict[int, deque[tuple[float, bytes]]] = {taps[0]: deque(), taps[1]: deque()}
    other = {taps[0]: taps[1], taps[1]: taps[0]}
    random.seed(0)
    while True:
        due = [queue[0][0] for queue in queues.values() if queue]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        for tap in select.select(taps, (), (), timeout)[0]:
            frame = os.read(tap, MAX_FRAME)
            if random.random() >= loss and len(queues[tap]) < MAX_QUEUED_FRAMES:
                queues[tap].append((time.monotonic() + delay_s, frame))
        for tap, queue in queues.items():
            while queue and queue[0][0] <= time.monotonic():
                os.write(other[tap], queue.popleft()[1])


if __name__ == "__main__":
    first, second, delay_ms, loss_fraction = sys.argv[1:]
    both = open_tap(first), open_tap(second)
    print("relaying", flush=True)
    relay(both, float(delay_ms) / 1000, float(loss_fraction))
