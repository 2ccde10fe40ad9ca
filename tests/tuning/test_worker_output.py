"""What a worker prints, by work item."""

import sys
from contextlib import contextmanager
from threading import Thread

from rosenblatt.tuning import worker_output
from rosenblatt.tuning.worker_output import WorkerOutput


@contextmanager
def recording():
    """Record within a test: streams that are replaced in a fixture are not those of the test."""
    output = WorkerOutput()
    try:
        yield output
    finally:
        output.release()


def test_text_belongs_to_the_item_of_its_thread():
    def train(key):
        with output.training(key):
            print(f"item {key[0]}")
            print("warning", file=sys.stderr)

    threads = [Thread(target=train, args=((trial, 0),)) for trial in range(3)]
    with recording() as output:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [output.take((trial, 0)) for trial in range(3)] == [f"item {trial}\nwarning\n" for trial in range(3)]


def test_text_of_other_threads_belongs_to_all_items_that_have_not_ended():
    with recording() as output:
        output.begin((1, 0))
        output.begin((2, 0))
        output.take((2, 0))
        output.begin((3, 0))
        print("out of memory")
    texts = [output.take((trial, 0)) for trial in (1, 2, 3)]
    assert texts == ["out of memory\n", "", "out of memory\n"]


def test_text_is_still_printed(capsys):
    with recording() as output, output.training((0, 0)):
        print("seen")
    assert capsys.readouterr().out == "seen\n"


def test_long_text_is_cut_and_says_so(monkeypatch):
    monkeypatch.setattr(worker_output, "MAX_CHARACTERS", 10)
    with recording() as output, output.training((0, 0)):
        print("a" * 6)
        print("b" * 6)
    assert output.take((0, 0)) == "aaaaaa\nbbb\n[more than 10 characters were printed]\n"


def test_streams_are_restored():
    before = sys.stdout, sys.stderr
    output = WorkerOutput()
    output.begin((0, 0))
    output.release()
    assert (sys.stdout, sys.stderr) == before
    print("later")
    assert output.take((0, 0)) == ""
