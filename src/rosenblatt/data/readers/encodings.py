"""Detect the encoding of text, and convert it to UTF-8."""

from __future__ import annotations

import codecs
import mmap
import re

import charset_normalizer
import numpy as np

from rosenblatt.data.readers.sources import EXPECTED_FORMATS, SAMPLE_BYTES, Source
from rosenblatt.errors import TableError

UTF8_NAMES = ("utf-8", "utf-8-sig")
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
OTHER_ENCODINGS = (  # encodings of text in other languages than those of Western Europe; all hold ASCII
    *("cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r"),
    *("big5", "gb18030", "cp932", "euc_jp", "cp949"),
)
NOT_WESTERN = re.compile(  # what text of Western Europe in cp1252 hardly ever holds
    "[^\x00-\x7f\xa0À-ÿŠŒŽŸšœž€‚„…‰‹‘’“”•–—™›¡¢£¥§©ª«®°±²³´µ·¹º»¼½¾¿]"
    "|[^\x00-\x7f]{4}|[À-ÖØ-öø-ÿ]{3}"  # accented letters or signs in a row
    "|[a-zß-öø-ÿ][À-ÖØ-ÞŠŽŸ]"  # an accented capital within a word
    "|[£¥][A-Za-zß-öø-ÿ]"
)
MAX_NOT_WESTERN_FRACTION = 0.1  # fraction of lines above which text is in another encoding than cp1252
MAX_CONTROL_FRACTION = 0.01  # fraction of control characters above which content is binary
MIN_BINARY_BYTES = 100


def decode_text(content: bytes) -> str:
    """Decode the content of a text file in the encoding that is detected."""
    return content.decode(_detect_encoding(content), errors="replace")


def convert_to_utf8(source: Source, encoding: str | None) -> tuple[Source, str]:
    """The source in UTF-8, and its encoding, detected if None; UTF-8 is checked in the first bytes only.

    Raises:
        TableError: if the text is in another encoding or binary.
    """
    name = _normalized_name(encoding) if encoding else _detect_encoding(source.sample)
    position = source.sample.find(b"\0")
    if position >= 0 and not name.startswith(("utf-16", "utf-32")):
        raise nul_error(source, position)
    if name not in UTF8_NAMES:
        source = Source(source.name, _decode(source.content, name, is_given=encoding is not None).encode())
    return source, name


def convert_invalid_utf8(source: Source, encoding: str | None, position: int) -> tuple[Source, str]:
    """The source in UTF-8, and its encoding, if a byte beyond the first ones is not UTF-8.

    Raises:
        TableError: if the encoding is given.
    """
    if encoding is not None:
        raise _decoding_error(source.content, position, encoding)
    name = _detect_encoding(source.content[:])
    return Source(source.name, _decode(source.content, name, is_given=False).encode()), name


def _normalized_name(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise TableError(f"there is no encoding {encoding!r}. Choose one such as utf-8, cp1252 or utf-16.") from None


def _decode(content: bytes | mmap.mmap, encoding: str, is_given: bool) -> str:
    try:
        return content[:].decode(encoding)
    except UnicodeDecodeError as error:
        if is_given:
            raise _decoding_error(content, error.start, encoding) from error
        encoding = _detect_encoding(content[:])  # the sample may have held other characters than the rest
        try:
            return content[:].decode(encoding)
        except UnicodeDecodeError as second_error:
            raise _decoding_error(content, second_error.start, encoding) from second_error


def _decoding_error(content: bytes | mmap.mmap, position: int, encoding: str) -> TableError:
    line = content[:position].count(b"\n") + 1
    return TableError(
        f"its text is not {encoding}: line {line:,} holds the byte 0x{content[position]:02x}. Give its encoding, for "
        "example with --encoding cp1252."
    )


def nul_error(source: Source, position: int) -> TableError:
    """An error on text with a NUL byte, which is binary or damaged."""
    sample = np.frombuffer(source.sample, np.uint8)
    is_control = (sample < 32) & ~np.isin(sample, [9, 10, 12, 13])
    if is_control.mean() > MAX_CONTROL_FRACTION and len(sample) > MIN_BINARY_BYTES:
        return TableError(f"it holds binary data, but a table was expected: {EXPECTED_FORMATS}.")
    line = source.content[:position].count(b"\n") + 1
    return TableError(f"line {line:,} holds a NUL byte, which no text has. Remove it.")


def _detect_encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith(UTF16_MARKS):
        return "utf-16"
    for name, zeros in (("utf-16-le", data[1:200:2]), ("utf-16-be", data[:200:2])):
        if len(zeros) > 2 and zeros.count(0) > 0.9 * len(zeros) and data[:200].count(0) < 1.2 * len(zeros):
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
        return "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-8"
    except UnicodeDecodeError:
        return _detect_code_page([line for line in data.splitlines() if not line.isascii()])


def _detect_code_page(lines: list[bytes]) -> str:
    """The encoding of lines that are not UTF-8: cp1252, unless they look like text of other languages."""
    n_others = sum(NOT_WESTERN.search(line.decode("cp1252", errors="replace")) is not None for line in lines)
    if n_others <= MAX_NOT_WESTERN_FRACTION * len(lines):
        return "cp1252"
    guesses = charset_normalizer.from_bytes(b"\n".join(lines)[:SAMPLE_BYTES], cp_isolation=list(OTHER_ENCODINGS))
    best = guesses.best()
    return best.encoding if best else "cp1252"
