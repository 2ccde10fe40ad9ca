"""Count the records of delimited text without parsing its cells, as an independent check of the parser."""

from __future__ import annotations

import codecs
import mmap
from dataclasses import dataclass

import numpy as np

CHUNK_BYTES = 1 << 18  # fits the cache
BOM = b"\xef\xbb\xbf"
NEWLINE, RETURN, QUOTE = 10, 13, 34


@dataclass
class RecordCount:
    """Counts of delimited text, and whether quotes are used as RFC 4180 has it."""

    n_records: int = 0  # line ends outside of quotes; the last line may lack one
    n_separators: int = 0  # outside of quotes
    is_regular: bool = True  # quotes only enclose whole cells or are doubled inside of them; no lone carriage return
    invalid_utf8: int | None = None  # position of the first byte that is not UTF-8; counting stops there
    nul: int | None = None  # position of the first NUL byte; counting stops there


def count_records(content: bytes | mmap.mmap, separator: bytes, with_separators: bool = False) -> RecordCount:
    """Count the records, and on request the separators, of UTF-8 text; `separator` is one byte."""
    count, is_inside, last = RecordCount(), False, b"\n"
    decoder = codecs.getincrementaldecoder("utf-8")()
    start = len(BOM) if content[: len(BOM)] == BOM else 0
    for begin in range(start, len(content), CHUNK_BYTES):
        chunk = content[begin : begin + CHUNK_BYTES]
        if not _check_bytes(chunk, begin, decoder, count):
            return count
        data = np.frombuffer(chunk, np.uint8)
        following = content[begin + CHUNK_BYTES : begin + CHUNK_BYTES + 1] or b"\n"
        inside = None
        if is_inside or b'"' in chunk:
            inside = np.bitwise_xor.accumulate(data == QUOTE) ^ is_inside
            neighbors = np.frombuffer(last + chunk + following, np.uint8)
            count.is_regular &= _is_regular(neighbors, inside, separator[0])
            is_inside = bool(inside[-1])
        count.n_records += _count_outside(data == NEWLINE, inside)
        if with_separators:
            count.n_separators += _count_outside(data == separator[0], inside)
        if b"\r" in chunk:
            is_lone = (data == RETURN) & (np.frombuffer(chunk[1:] + following, np.uint8) != NEWLINE)
            count.is_regular &= _count_outside(is_lone, inside) == 0
        last = chunk[-1:]
    if pending := decoder.getstate()[0]:
        count.invalid_utf8 = len(content) - len(pending)
    count.n_records += last != b"\n"
    count.is_regular &= not is_inside
    return count


def _check_bytes(chunk: bytes, begin: int, decoder: codecs.IncrementalDecoder, count: RecordCount) -> bool:
    """Whether a chunk is UTF-8 without NUL bytes; if not, `count` receives the position."""
    n_pending = len(decoder.getstate()[0])
    if n_pending or not chunk.isascii():
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            count.invalid_utf8 = begin - n_pending + error.start
    if b"\0" in chunk:
        count.nul = begin + chunk.index(b"\0")
    return count.invalid_utf8 is None and count.nul is None


def _count_outside(mask: np.ndarray, inside: np.ndarray | None) -> int:
    return int(np.count_nonzero(mask if inside is None else mask & ~inside))


def _is_regular(neighbors: np.ndarray, inside: np.ndarray, separator: int) -> bool:
    """Whether the quotes of a chunk border on separators, line ends or other quotes.

    Args:
        neighbors: bytes (n + 2,) of the chunk, with the byte before and the one after it.
        inside: mask (n,), whether a quote is open after each byte.
    """
    quotes = np.flatnonzero(neighbors[1:-1] == QUOTE)
    outer = np.where(inside[quotes], neighbors[quotes], neighbors[quotes + 2])
    return bool(np.isin(outer, [separator, NEWLINE, RETURN, QUOTE]).all())
