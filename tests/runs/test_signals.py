from __future__ import annotations

import signal

import pytest

from rosenblatt.runs.signals import ENDING_SIGNALS, handle_signals


@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_signals_are_handled_in_the_block_only_and_ignored_ones_stay_ignored(number):
    received, before = [], signal.getsignal(number)
    try:
        signal.signal(number, signal.SIG_IGN)
        with handle_signals(lambda number, _frame: received.append(number)):
            signal.raise_signal(number)
        assert received == []
        signal.signal(number, signal.default_int_handler)
        with handle_signals(lambda number, _frame: received.append(number)):
            signal.raise_signal(number)
        assert received == [number]
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
