import email.policy
from contextlib import suppress
from email.message import EmailMessage
from io import BytesIO

import numpy as np
import polars as pl
import pytest

from rosenblatt.serving.arrow_size import measure_arrow
from rosenblatt.serving.bodies import (
    ARROW_FILE,
    ARROW_STREAM,
    media_type,
    parse_arrow,
    parse_form,
    parse_json,
    write_arrow,
)
from rosenblatt.web.errors import RequestError


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1}}', "Extra data"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' twice"),
        (b'{"a": "\xff"}', "byte 8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"1" * 10_000, "too many digits"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'"a\nb"', "control character"),
    ],
)
def test_json_that_is_not_strict_is_refused_with_a_reason(body, reason):
    with pytest.raises(RequestError, match=reason.replace("(", r"\(")) as error:
        parse_json(body)
    assert error.value.status == 400


def test_json_keeps_all_bits_of_numbers_and_pairs_of_surrogates():
    assert parse_json('[0.1, 1e22, 9007199254740993, "\\ud83d\\ude00", "é"]'.encode()) == [
        0.1, 1e22, 9007199254740993, "😀", "é",
    ]  # fmt: skip


@pytest.mark.parametrize("content_type", [ARROW_STREAM, ARROW_FILE])
def test_arrow_is_read_as_written_and_damaged_arrow_is_refused(content_type):
    frame = pl.DataFrame({"a": [1.5, None], "b": ["x", "y"]})
    body = write_arrow(frame, content_type)
    assert parse_arrow(body, content_type, 1 << 25).equals(frame)
    rng = np.random.default_rng(0)
    for damaged in (b"", b"ARROW1", body[: len(body) // 2], rng.bytes(300)):
        with pytest.raises(RequestError) as error:
            parse_arrow(damaged, content_type, 1 << 25)
        assert error.value.status == 400


@pytest.mark.parametrize("content_type", [ARROW_STREAM, ARROW_FILE])
@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
@pytest.mark.parametrize(
    "column", [pl.repeat(0.0, 200_000, eager=True), pl.repeat(None, 2_000_000, eager=True)], ids=["zeros", "nulls"]
)
def test_small_arrow_of_large_tables_is_refused_before_it_is_read(content_type, compression, column, monkeypatch):
    def write(series):
        file = BytesIO()
        frame = pl.DataFrame({"a": series, "b": pl.Series(["x"], dtype=pl.Categorical).new_from_index(0, len(series))})
        write = frame.write_ipc_stream if content_type == ARROW_STREAM else frame.write_ipc
        write(file, compression=compression)
        return file.getvalue()

    assert parse_arrow(write(column[:1000]), content_type, 1_000_000).height == 1000
    body = write(column)
    monkeypatch.setattr(pl, "read_ipc", None)
    monkeypatch.setattr(pl, "read_ipc_stream", None)
    with pytest.raises(RequestError, match=r"at most 1,000,000 bytes when decompressed") as error:
        parse_arrow(body, content_type, 1_000_000)
    assert error.value.status == 413


@pytest.mark.parametrize("content_type", [ARROW_STREAM, ARROW_FILE])
def test_every_damaged_byte_of_arrow_is_measured_or_refused(content_type):
    body = write_arrow(pl.DataFrame({"a": [1.5, None], "b": ["x", "y"]}), content_type)
    for position in range(len(body)):
        for value in (0, 0x7F, 0xFF):
            damaged = body[:position] + bytes([value]) + body[position + 1 :]
            with suppress(ValueError):  # nothing else
                size = measure_arrow(damaged, is_file=content_type == ARROW_FILE)
                assert min(size.n_bytes, size.n_rows) >= 0


def make_form(**parts):
    message = EmailMessage(policy=email.policy.HTTP)
    message["Content-Type"] = "multipart/form-data; boundary=XXX"
    body = b""
    for name, part in parts.items():
        is_file = isinstance(part, bytes)
        body += b'--XXX\r\nContent-Disposition: form-data; name="' + name.encode() + b'"'
        body += b'; filename="a.png"\r\nContent-Type: image/png' * is_file
        body += b"\r\n\r\n" + (part if is_file else part.encode()) + b"\r\n"
    return body + b"--XXX--\r\n"


def test_files_of_a_form_keep_all_bytes():
    content = bytes(range(256)) * 20 + b"\r\n\n\r--XX\r\n" + np.random.default_rng(0).bytes(5000)
    parts = parse_form(make_form(photo=content, city="Zürich", note="a\r\nb"), "multipart/form-data; boundary=XXX")
    assert parts == {"photo": content, "city": "Zürich", "note": "a\r\nb"}


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (b"", "multipart/form-data; boundary=XXX"),
        (b"hello", "multipart/form-data"),
        (make_form(a="1") + make_form(a="2"), "multipart/form-data; boundary=other"),
        (make_form(a="1").replace(b"--XXX--\r\n", b"") + make_form(a="2"), "multipart/form-data; boundary=XXX"),
        (b"--XXX\r\n\r\nno name\r\n--XXX--", "multipart/form-data; boundary=XXX"),
        (
            b'--XXX\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--XXX--',
            "multipart/form-data; boundary=XXX",
        ),
    ],
)
def test_other_forms_are_refused(body, header):
    with pytest.raises(RequestError) as error:
        parse_form(body, header)
    assert error.value.status == 400


def test_the_type_of_a_body_has_no_parameters():
    assert media_type("Application/JSON; charset=utf-8") == "application/json"
