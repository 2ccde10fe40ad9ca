"""Parse the body of a request: strict JSON, Arrow, and forms with files."""

from __future__ import annotations

import json
from email.parser import BytesParser
from http import HTTPStatus
from io import BytesIO
from typing import Any, NoReturn

import polars as pl

from rosenblatt.serving.arrow_size import measure_arrow
from rosenblatt.web.errors import RequestError

JSON = "application/json"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
FORM = "multipart/form-data"
CONTENT_TYPES = (JSON, ARROW_STREAM, ARROW_FILE, FORM)


def bad_request(detail: str) -> RequestError:
    """An error for a body that cannot be parsed."""
    return RequestError(HTTPStatus.BAD_REQUEST, detail)


def media_type(header: str) -> str:
    """The type of a body, without parameters and in lower case."""
    return header.partition(";")[0].strip().lower()


def parse_json(body: bytes) -> Any:
    """Parse JSON as RFC 8259 defines it: in UTF-8, each name once, numbers in digits. Raises RequestError."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_request(f"The body must be JSON in UTF-8, but byte {error.start + 1:,} is not UTF-8.") from None
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no character
    except json.JSONDecodeError as error:
        detail = f"The body must be JSON, but line {error.lineno}, column {error.colno} is not: {error.msg}."
        raise bad_request(detail) from None
    except RecursionError:
        raise bad_request("The body is nested too deeply. Send rows of plain values.") from None
    except UnicodeEncodeError:
        raise bad_request("The body holds half of a surrogate pair (\\ud800 to \\udfff), which is no text.") from None
    except ValueError:  # Python's limit of digits
        raise bad_request("The body holds an integer of too many digits.") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise bad_request(f"The body holds {name}, which is not JSON. Write null for missing numbers.")


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = set[str]()
        repeated = next(name for name, _ in pairs if name in names or names.add(name))  # type: ignore[func-returns-value]
        raise bad_request(f"The body names {repeated!r} twice in one object. Name each field once.")
    return result


_DECODER = json.JSONDecoder(object_pairs_hook=_make_object, parse_constant=_refuse_constant)


def parse_arrow(body: bytes, content_type: str, max_bytes: int) -> pl.DataFrame:
    """Parse a stream or file of Arrow of at most `max_bytes` bytes, decompressed. Raises RequestError."""
    read = pl.read_ipc_stream if content_type == ARROW_STREAM else pl.read_ipc
    try:
        size = measure_arrow(body, is_file=content_type == ARROW_FILE)
        if max(size.n_bytes, size.n_rows) > max_bytes:
            limits = f"at most {max_bytes:,} bytes when decompressed, and as many rows"
            detail = f"The body must have {limits}. Send fewer rows at a time."
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        frame = read(BytesIO(body))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise bad_request(f"The body is not Arrow of the type {content_type} ({reason}).") from None
    return frame


def write_arrow(frame: pl.DataFrame, content_type: str) -> bytes:
    """Write a frame as a stream or file of Arrow."""
    file = BytesIO()
    if content_type == ARROW_STREAM:
        frame.write_ipc_stream(file)
    else:
        frame.write_ipc(file)
    return file.getvalue()


def parse_form(body: bytes, content_type: str) -> dict[str, str | bytes]:
    """Parse a form: parts with the name of a file are bytes, others text. Raises RequestError."""
    header = b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n"
    try:
        message = BytesParser().parsebytes(header + body)
        parts: Any = message.get_payload() if message.is_multipart() else []
        named = [
            (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
            for part in parts
        ]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        named = []
    if not named:
        raise bad_request("The body must be a form whose parts are separated by the boundary of its Content-Type.")
    row: dict[str, str | bytes] = {}
    for name, filename, content in named:
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise bad_request("Each part of the form must have a name and a content.")
        if name in row:
            raise bad_request(f"The form names {name!r} twice. Name each field once.")
        row[name] = _decode_part(name, content) if filename is None else content
    return row


def _decode_part(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise bad_request(f"The part {name!r} of the form must be text in UTF-8, or a file with its name.") from None
