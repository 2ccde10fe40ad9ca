"""The marker at which the output of a program on another machine begins."""

import io

from rosenblatt.tuning.start_marker import MAX_LINE_LENGTH, MAX_PREFIX_BYTES, last_line, skip_start, write_start


def test_what_a_shell_prints_before_the_output_is_skipped():
    file, prefix = io.BytesIO(), bytearray()
    file.write(b"Welcome to lab1\nno line end")
    write_start(file)
    file.write(b"output")
    file.seek(0)
    assert skip_start(file, prefix)
    assert (bytes(prefix), file.read()) == (b"Welcome to lab1\nno line end", b"output")


def test_an_output_without_marker_is_refused_with_what_it_is():
    for text in (b"This account is not available.\n", b"y\n" * MAX_PREFIX_BYTES):
        prefix = bytearray()
        assert not skip_start(io.BytesIO(text), prefix)
        assert bytes(prefix) == text[:MAX_PREFIX_BYTES]


def test_the_last_line_before_the_output_fits_a_message():
    assert last_line(bytearray(b"\n")) == ""
    assert last_line(bytearray(b"Welcome\nno account\n")) == "no account"
    assert last_line(bytearray(b"\xff" * 1000)) == "\ufffd" * MAX_LINE_LENGTH
