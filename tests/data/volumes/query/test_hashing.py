from __future__ import annotations

import hashlib
from decimal import Decimal
from fractions import Fraction

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.volumes.query.hashing import draw, hash_identities, is_between

GOLDEN = {  # must never change
    "a": 1303865553363498507, "photo.jpg": 2354505660451388166, "日本/é.png": 13893979958964394164,
    "12345678": 4507756205931369907, "x" * 256: 15538144015300854528, "x" * 257: 3716979517700818634,
}  # fmt: skip
MASK = 2**64 - 1


def mix(state: int, word: int) -> int:
    """One step of the hash in Python's whole numbers, as its documentation describes it."""
    z = ((state ^ word) + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
    return z ^ z >> 31


def hash_text(text: bytes) -> int:
    state = 0
    for start in range(0, len(text), 8):
        state = mix(state, int.from_bytes(text[start : start + 8], "little"))
    return mix(state, len(text))


@pytest.mark.parametrize("text", GOLDEN)
def test_hashes_are_the_same_for_ever(text):
    assert hash_identities(pl.Series([text]))[0] == GOLDEN[text]


def test_hashes_are_those_of_the_documentation():
    texts = ["", "a", "ab", "12345678", "123456789", "\0", "\0\0", "é" * 60, "x" * 256]
    expected = [hash_text(text.encode()) for text in texts]
    assert hash_identities(pl.Series(texts)).tolist() == expected
    assert hash_identities(pl.Series(texts[::-1])).tolist() == expected[::-1]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pl.Series([1, -5], dtype=pl.Int32), ["1", "-5"]),
        (pl.Series([1.0, -5.5, 0.1, -0.0, 1e22], dtype=pl.Float64), ["1", "-5.5", "0.1", "0", "1" + "0" * 22]),
        (pl.Series([0.1, 2], dtype=pl.Float32), ["0.1", "2"]),
        (pl.Series([Decimal("1.50"), Decimal("100.00")]), ["1.5", "100"]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series([True, False]), ["true", "false"]),
        (pl.Series([b"a", b"bc"]), ["a", "bc"]),
        (pl.Series([None, "x"]), ["", "x"]),
        (pl.Series([None, float("nan"), 1.0]), ["", "", "1"]),
        (pl.Series([], dtype=pl.String), []),
    ],
)
def test_values_are_hashed_as_their_text(values, texts):
    assert hash_identities(values).tolist() == hash_identities(pl.Series(texts, dtype=pl.String)).tolist()


def test_draws_are_those_of_the_documentation():
    salt = int.from_bytes(hashlib.blake2b(b"split:7", digest_size=8).digest(), "little")
    expected = [mix(mix(hash_text(text), salt), 0) for text in (b"a", b"photo.jpg")]
    assert draw(hash_identities(pl.Series(["a", "photo.jpg"])), "split", 7).tolist() == expected


def test_draws_are_uniform_and_independent_of_each_other():
    hashes = hash_identities(pl.Series(range(100_000)))
    draws = [draw(hashes, "split", 0), draw(hashes, "fold", 0), draw(hashes, "split", 1)]
    for i, first in enumerate(draws):
        assert_uniform(first >> np.uint64(58))
        for second in draws[:i]:
            assert_uniform((first >> np.uint64(61)) * np.uint64(8) + (second >> np.uint64(61)))


def assert_uniform(numbers):
    """Check whole numbers from 0 to 63 by a chi-squared statistic with 63 degrees of freedom."""
    counts = np.bincount(numbers.astype(int), minlength=64)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 110


def test_intervals_that_meet_hold_every_number_once():
    numbers = np.array([0, 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64 // 3, 2**64 // 3 + 1], dtype=np.uint64)
    for count in (1, 2, 3, 7):
        parts = [is_between(numbers, Fraction(i, count), Fraction(i + 1, count)) for i in range(count)]
        assert np.sum(parts, axis=0).tolist() == [1] * len(numbers)
    assert not is_between(numbers, Fraction(1, 3), Fraction(1, 3)).any()
    assert not is_between(numbers, Fraction(0), Fraction(0)).any()
