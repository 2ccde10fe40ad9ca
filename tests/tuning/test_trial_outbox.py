"""What a trial records is collected once, in order, and only for its own attempt."""

from __future__ import annotations

import threading

from rosenblatt.tuning import trial_outbox
from rosenblatt.tuning.attempts import Attempt
from rosenblatt.tuning.trial_messages import TrialEnd
from rosenblatt.tuning.trial_outbox import Outbox

ATTEMPT = Attempt(3, 0, 1)


def test_a_function_that_records_faster_than_it_is_collected_waits(monkeypatch):
    monkeypatch.setattr(trial_outbox, "MAX_WAITING_BYTES", 1000)
    outbox = Outbox()
    relay = outbox.begin(ATTEMPT)

    def log():
        for step in range(100):
            relay.add_point("", (step, 0.0, {"loss": 1.0}))

    thread = threading.Thread(target=log, daemon=True)
    thread.start()
    steps = []
    while len(steps) < 100:
        report, _ = outbox.take(0.0)
        assert len(report.points) <= 1000 / trial_outbox.POINT_BYTES
        steps += [step for step, _ in report.points]
    thread.join()
    assert steps == list(range(100))
    assert relay.flush()


def test_records_of_an_attempt_that_has_ended_are_dropped():
    outbox = Outbox()
    relay = outbox.begin(ATTEMPT)
    outbox.end(TrialEnd(result=1.0))
    relay.add_batch("{}")
    report, _ = outbox.take(0.0)
    assert (report.batches, report.end.result) == ([], 1.0)
    relay.add_point("", (0, 0.0, {"loss": 1.0}))
    outbox.add("stdout", "between two trials")
    later = outbox.begin(Attempt(4, 0, 1))
    relay.add_point("", (1, 0.0, {"loss": 2.0}))
    later.add_point("", (2, 0.0, {"loss": 3.0}))
    assert relay.flush()
    report, _ = outbox.take(0.0)
    assert (report.attempt, report.points, report.output) == ((4, 0, 1), [(2, {"loss": 3.0})], [])


def test_a_collection_that_waits_returns_when_the_process_closes(monkeypatch):
    monkeypatch.setattr(trial_outbox, "IDLE_WAIT_S", 1000.0)
    outbox, results = Outbox(), []
    thread = threading.Thread(target=lambda: results.append(outbox.take(1000.0)))
    thread.start()
    outbox.close()
    thread.join()
    assert results == [None]


def test_two_collections_at_a_time_take_each_record_once():
    outbox, results = Outbox(), []
    relay = outbox.begin(ATTEMPT)
    relay.add_batch("{}")
    threads = [threading.Thread(target=lambda: results.append(outbox.take(0.05))) for _ in range(2)]
    for thread in threads:
        thread.start()
    outbox.end(TrialEnd())
    outbox.close()
    for thread in threads:
        thread.join()
    assert sorted(result is None for result in results) == [False, True]
