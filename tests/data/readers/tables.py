"""Tables of text that the tests of readers write and read."""

from __future__ import annotations

from rosenblatt.data.readers.read import read_table


def read(path, content, **options):
    """Write the content, text or bytes, to a file and read it as a table."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, **options)


def rows_of_numbers(width, n=30):
    """Lines of integers, separated by commas."""
    return "".join(",".join(str((i * 37 + k * 11) % (50 + k)) for k in range(width)) + "\n" for i in range(n))
