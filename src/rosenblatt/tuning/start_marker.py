"""Mark where the output of a program on another machine begins, since start files of its shell may print before."""

from __future__ import annotations

from typing import IO

START_MARKER = "rosenblatt-output-begins"  # a line of its own
MAX_PREFIX_BYTES = 2**16  # that shells may print
MAX_LINE_LENGTH = 200  # characters, in messages


def write_start(file: IO[bytes]) -> None:
    """Write the marker, after which the output begins."""
    file.write(f"{START_MARKER}\n".encode())
    file.flush()


def skip_start(file: IO[bytes], prefix: bytearray) -> bool:
    """Read up to the end of the marker; False if the output ends, or is too long, without one.

    Args:
        file: the output.
        prefix: receives what was printed before the marker, as it arrives.
    """
    marker = f"{START_MARKER}\n".encode()
    while len(prefix) < MAX_PREFIX_BYTES and (byte := file.read(1)):
        prefix += byte
        if prefix.endswith(marker):
            del prefix[-len(marker) :]
            return True
    return False


def last_line(prefix: bytearray) -> str:
    """The last line of what was printed instead of the output, for messages; "" if there is none."""
    lines = bytes(prefix).decode(errors="replace").strip().splitlines()
    return lines[-1][:MAX_LINE_LENGTH] if lines else ""
