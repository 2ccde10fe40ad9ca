"""Messages between a search over a function and processes of machines: what is sent arrives, damage is refused."""

import math
import pickle
from threading import Lock

import pytest

from rosenblatt.errors import ClusterError
from rosenblatt.tuning.attempts import Attempt
from rosenblatt.tuning.trial_messages import (
    FunctionBundle,
    FunctionPacker,
    TrialEnd,
    TrialItem,
    TrialReport,
    load_bundle,
    load_function,
    load_trial,
    pack_report,
    unpack_report,
)

BUNDLE = FunctionBundle(pickle.dumps(math.sqrt), (3, 11), b"archive", "sub", (".", "src"), {"/data": "hash"})


def test_the_function_travels_once_for_all_trials():
    packer = FunctionPacker(BUNDLE)
    packed = packer.pack(TrialItem(7, {"x": 1.0, "layers": (2, 3), "kind": None}, "run-7", "exp"), 2)
    assert packed.attempt == Attempt(7, 0, 2)
    assert load_trial(packed.content) == ({"x": 1.0, "layers": (2, 3), "kind": None}, "run-7", "exp")
    (shared,) = packer.take_new()
    assert packed.keys == (shared.key,)
    assert load_bundle(shared.content) == BUNDLE
    assert load_function(BUNDLE)(9.0) == 3.0
    packer.pack(TrialItem(8, {}, "run-8", "exp"), 1)
    assert packer.take_new() == []


def test_hyperparameters_that_cannot_be_sent_are_refused():
    with pytest.raises(ClusterError, match="hyperparameters of trial 3 cannot be sent"):
        FunctionPacker(BUNDLE).pack(TrialItem(3, {"lock": Lock()}, "run-3", "exp"), 1)


def test_a_report_arrives_as_it_was_sent_also_with_values_that_are_not_finite():
    report = TrialReport(
        attempt=(1, 0, 2), points=[(0, {"loss": math.inf, "acc": 0.5})], output=[("stdout", "a\n")],
        batches=["{}"], curves=[("c", [1.0], [0])], files=[("a", "file", 2), ("b", "file", 0)],
        end=TrialEnd(result=-math.inf, was_stopped=True, seeds={"torch": 3}),
    )  # fmt: skip
    assert unpack_report(pack_report(report, [b"xy", b""])) == (report, [b"xy", b""])
    nan = pack_report(TrialReport(attempt=(0, 0, 1), points=[(0, {"loss": math.nan})]), [])
    assert math.isnan(unpack_report(nan)[0].points[0][1]["loss"])


def test_a_report_without_its_files_is_refused():
    content = pack_report(TrialReport(attempt=(0, 0, 1), files=[("a", "file", 5)]), [b"12345"])
    with pytest.raises(ClusterError, match="without all of its files"):
        unpack_report(content[:-1])


@pytest.mark.parametrize("header", [b"[]", b"not json", b'{"attempt": [1]}', b'{"attempt": [0, 0, 1], "points": 3}'])
def test_a_damaged_report_is_one_sentence(header):
    with pytest.raises(ClusterError, match="sent a report that cannot be read"):
        unpack_report(len(header).to_bytes(8, "little") + header)
