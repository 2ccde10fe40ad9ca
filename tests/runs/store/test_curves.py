from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest

from rosenblatt.errors import StoreError
from rosenblatt.runs.store.curves import CurvePoints, decode, downsample, encode, merge, summarize


def points(values, steps=None, times=None):
    n = len(values)
    steps = np.arange(n) if steps is None else np.asarray(steps, np.int64)
    return CurvePoints(
        steps, np.arange(n) * 1000 if times is None else np.asarray(times, np.int64), np.asarray(values, float)
    )


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1.5],
        [np.nan],
        [np.inf, -np.inf, np.nan, 0.0, -0.0],
        [0.1, 1e-300, 1e300, 5e-324],
        list(np.random.default_rng(0).normal(size=1000)),
        list(np.random.default_rng(0).normal(size=1000).astype(np.float32)),
    ],
)
def test_values_are_restored_bit_for_bit(values):
    decoded = decode(encode(points(values)))
    assert decoded.values.tobytes() == np.asarray(values, float).tobytes()


@pytest.mark.parametrize(
    "steps", [[5, 5, 3, 7], [0, 10, 20], [-(2**63), 2**63 - 1, 0], [2**40, 2**40 + 1, 2**40 + 70_000]]
)
def test_any_integer_steps_are_restored_in_order(steps):
    decoded = decode(encode(points(np.zeros(len(steps)), steps, steps[::-1])))
    assert decoded.steps.tolist() == steps
    assert decoded.times.tolist() == steps[::-1]


def test_regular_steps_need_no_bytes_and_float32_values_four():
    blob = encode(points(np.arange(1000) / 4))
    assert len(blob) < 4 * 1000 + 60
    assert len(encode(points(np.arange(1000) / 3))) > 8 * 1000


def test_later_formats_and_damaged_blobs_are_rejected():
    blob = encode(points([1.0, 2.0]))
    with pytest.raises(StoreError, match="format 9, later than 1"):
        decode(b"\x09" + blob[1:])
    for cut in range(1, len(blob)):
        with pytest.raises(StoreError, match="damaged"):
            decode(blob[:cut])


def test_damaged_blobs_allocate_no_memory_for_what_they_do_not_hold():
    blob = bytearray(encode(points([1.0, 2.0])))
    choose = random.Random(0)
    for _ in range(500):
        changed = bytearray(blob)
        changed[choose.randrange(len(blob))] = choose.randrange(256)
        with contextlib.suppress(StoreError):
            assert len(decode(bytes(changed)).values) <= len(blob)
    with pytest.raises(StoreError, match="damaged"):
        decode(bytes([1]) + b"\xff\xff\xff\xff" + bytes(17) + bytes(30))


def test_a_summary_has_the_value_of_the_last_step_and_the_extremes():
    result = summarize(points([3.0, 1.0, np.nan, 9.0, 2.0], [0, 5, 2, 3, 5]))
    assert result == (5, 2.0, 1.0, 5, 9.0, 3)
    assert summarize(points([1.0, np.nan])).last is None
    assert summarize(points([np.nan])) == (0, None, None, None, None, None)
    assert summarize(points([np.inf, 1.0])).max == np.inf


def test_chunks_are_merged_by_step_and_equal_steps_keep_their_order():
    merged = merge([points([3.0, 4.0], [6, 5], [30, 40]), points([1.0, 2.0], [4, 6], [10, 20])])
    assert merged.steps.tolist() == [4, 5, 6, 6]
    assert merged.values.tolist() == [1.0, 4.0, 2.0, 3.0]
    assert merge([]).values.size == 0


def test_downsampling_keeps_ends_extremes_and_nan():
    values = np.sin(np.arange(100_000) / 100)
    values[[12_345, 54_321, 77_777]] = 7.0, -7.0, np.nan
    thinned = downsample(points(values), 500)
    assert len(thinned.values) < 800
    assert thinned.steps[0] == 0
    assert thinned.steps[-1] == 99_999
    assert {12_345, 54_321, 77_777} <= set(thinned.steps.tolist())
    assert downsample(points(values[:400]), 500).values.size == 400
    assert np.isnan(downsample(points(np.full(5000, np.nan)), 100).values).all()
