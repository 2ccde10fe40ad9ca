"""Size of a stream or file of Arrow, read from its metadata before memory is allocated for it.

A few kilobytes can decompress to gigabytes, name the same bytes many times, or declare billions of rows of a column of
nulls, which takes no bytes. Source: Message.fbs and File.fbs of Arrow, and the internals of FlatBuffers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import error as StructError
from struct import unpack_from

CONTINUATION = 0xFFFFFFFF  # before the length of a message, in streams of Arrow 0.15 and later
DICTIONARY_BATCH, RECORD_BATCH = 2, 3  # types of messages with buffers
FILE_END = b"ARROW1"  # after the footer of a file and its length, 4 bytes
# Numbers of the fields of Message, DictionaryBatch, RecordBatch and Footer
HEADER_TYPE, HEADER, BODY_LENGTH, DATA, ROWS, BUFFERS, COMPRESSION = 1, 2, 3, 1, 0, 2, 3
BLOCKS = 2, 3  # of dictionaries, and of batches


@dataclass(frozen=True)
class ArrowSize:
    """What a body holds: bytes of all buffers, decompressed, and rows of all batches."""

    n_bytes: int
    n_rows: int


def measure_arrow(stream: bytes, *, is_file: bool) -> ArrowSize:
    """The size of a stream or file. Raises ValueError if its metadata cannot be read."""
    n_bytes = n_rows = 0
    try:
        for message, body in _blocks(stream) if is_file else _messages(stream):
            kind = stream[place] if (place := _field(stream, message, HEADER_TYPE)) else 0
            if kind not in (DICTIONARY_BATCH, RECORD_BATCH):
                continue
            batch = _follow(stream, message, HEADER)
            batch = _follow(stream, batch, DATA) if kind == DICTIONARY_BATCH else batch
            n_rows += _integer(stream, batch, ROWS)
            n_bytes += sum(_buffer_sizes(stream, batch, body))
    except (IndexError, StructError) as error:
        raise ValueError("its metadata cannot be read") from error
    return ArrowSize(n_bytes, n_rows)


def _messages(stream: bytes) -> Iterator[tuple[int, int]]:
    """Where the table and the body of each message start."""
    position = 0
    while position + 4 <= len(stream):
        (length,) = unpack_from("<I", stream, position)
        position += 4
        if length == CONTINUATION:
            (length,) = unpack_from("<I", stream, position)
            position += 4
        if length == 0:
            return
        message = position + unpack_from("<I", stream, position)[0]
        position += length
        yield message, position
        position += _integer(stream, message, BODY_LENGTH)


def _blocks(file: bytes) -> Iterator[tuple[int, int]]:
    """Where the table and the body of each message start that the footer of a file names."""
    end = len(file) - len(FILE_END) - 4
    if end < 0 or not file.endswith(FILE_END):
        raise IndexError
    footer = end - unpack_from("<I", file, end)[0]
    if footer < 0:
        raise IndexError
    footer += unpack_from("<I", file, footer)[0]
    for number in BLOCKS:
        if not _field(file, footer, number):
            continue
        vector = _follow(file, footer, number)
        for k in range(unpack_from("<I", file, vector)[0]):
            offset, metadata_length = unpack_from("<qi", file, vector + 4 + 24 * k)
            if offset < 0:
                raise IndexError
            table = offset + (8 if unpack_from("<I", file, offset)[0] == CONTINUATION else 4)
            yield table + unpack_from("<I", file, table)[0], offset + metadata_length


def _field(stream: bytes, table: int, number: int) -> int:
    """Where a field of a table is; 0 if it has its default value."""
    vtable = table - unpack_from("<i", stream, table)[0]
    entry = 4 + 2 * number
    if vtable < 0:
        raise IndexError
    offset = unpack_from("<H", stream, vtable + entry)[0] if entry < unpack_from("<H", stream, vtable)[0] else 0
    return table + offset if offset else 0


def _follow(stream: bytes, table: int, number: int) -> int:
    """Where the table or vector starts to which a field refers."""
    if not (place := _field(stream, table, number)):
        raise IndexError
    return place + int(unpack_from("<I", stream, place)[0])


def _integer(stream: bytes, table: int, number: int) -> int:
    """A field of 64 bits, which must not be negative."""
    value = int(unpack_from("<q", stream, place)[0]) if (place := _field(stream, table, number)) else 0
    if value < 0:
        raise IndexError
    return value


def _buffer_sizes(stream: bytes, batch: int, body: int) -> Iterator[int]:
    """The bytes of each buffer; those of a compressed one are declared by its first 8 bytes, or -1 if it is not."""
    is_compressed = bool(_field(stream, batch, COMPRESSION))
    if not _field(stream, batch, BUFFERS):
        return
    vector = _follow(stream, batch, BUFFERS)
    for k in range(unpack_from("<I", stream, vector)[0]):
        offset, length = unpack_from("<qq", stream, vector + 4 + 16 * k)
        declared = unpack_from("<q", stream, body + offset)[0] if is_compressed and length >= 8 else -1
        yield max(declared, length, 0)
