from __future__ import annotations

from pydantic import TypeAdapter

from rosenblatt.runs.recorded import ScriptCall
from rosenblatt.runs.redaction import MASK
from rosenblatt.runs.store.details import describe_masked


def test_masked_arguments_keep_their_positions():
    call = ScriptCall(target="t.py", arguments=("--mask", MASK, "--token", MASK), masked=(3,))
    assert TypeAdapter(ScriptCall).validate_python(call.to_json()) == call


def test_masked_arguments_of_older_records_are_those_that_hold_a_mask():
    call = ScriptCall(target="t.py", arguments=("--lr", "0.1", f"--token={MASK}", MASK))
    assert call.masked == (2, 3)
    assert describe_masked(call.arguments, call.masked) == {2: f"--token={MASK}", 3: "argument 4"}
