"""Messages between controller and driver."""

import io

import pytest

from rosenblatt.tuning.ray_connection import Message, read_command, read_report, write_command, write_report


def test_messages_arrive_as_they_were_sent():
    pipe = io.BytesIO()
    write_report(pipe, "results", b"abc", node="a")
    write_report(pipe, "nodes", nodes=[])
    pipe.seek(0)
    assert read_report(pipe) == Message({"node": "a", "kind": "results"}, b"abc")
    assert read_report(pipe) == Message({"nodes": [], "kind": "nodes"})
    assert read_report(pipe) is None
    pipe = io.BytesIO()
    write_command(pipe, "item", b"x", keys=(1,))
    pipe.seek(0)
    assert read_command(pipe) == Message({"keys": (1,), "kind": "item"}, b"x")


def test_a_message_that_is_cut_off_is_the_end():
    pipe = io.BytesIO()
    write_report(pipe, "results", b"abc")
    for n in (3, 20, len(pipe.getvalue()) - 1):
        assert read_report(io.BytesIO(pipe.getvalue()[:n])) is None


def test_each_part_of_a_long_message_is_a_sign_of_life():
    pipe, signs = io.BytesIO(), []
    write_report(pipe, "results", bytes(5 * 2**16))
    pipe.seek(0)
    message = read_report(pipe, lambda: signs.append(pipe.tell()))
    assert len(message.content) == 5 * 2**16
    assert len(signs) == 1 + 5


def test_anything_else_is_refused_with_what_was_printed():
    with pytest.raises(ValueError, match="expected the length of a message, but it printed b'Last login: Mon "):
        read_report(io.BytesIO(b"Last login: Mon Nov 2 on lab1"))
