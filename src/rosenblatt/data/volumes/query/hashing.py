"""Hashes of samples' identities that decide on splits, folds and random samples: the same everywhere and for ever.

A text is hashed 8 bytes of its UTF-8 form at a time, as little-endian words, the last one padded with zeros: state =
mix((state XOR word) + INCREMENT), beginning with 0 and ending with the number of bytes as a word. `mix` is the
finalizer of SplitMix64 (Steele, Lea & Flood 2014; constants of Stafford's variant 13). For a random choice, the words
that the BLAKE2b hash of "purpose:seed", such as "split:0", and 0 are follow in the same way. The result, as a fraction
of 2^64, is in [0, 0.8) for train, [0.8, 0.9) for validation and [0.9, 1) for test, in [(i-1)/k, i/k) for fold i of k,
and below the fraction of a sample. No library is involved that may change, so a sample stays on its side of a split.
"""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import polars as pl

MAX_HASHED_BYTES = 256  # longer texts are replaced by their BLAKE2b digest
DIGEST_BYTES = 32
WORD_BYTES = 8
INCREMENT = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio
_MULTIPLIERS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)


def hash_identities(values: pl.Series) -> np.ndarray:
    """Hash identities, or values of a column: (n,) uint64; missing values have the hash of an empty text.

    Equal numbers have equal hashes in columns of any numeric type, and the hash of their text.
    """
    contents = _to_texts(values).cast(pl.Binary).fill_null(b"")
    lengths = contents.bin.size().to_numpy().astype(np.int64)
    if (is_long := lengths > MAX_HASHED_BYTES).any():
        texts = contents.filter(pl.Series(is_long))
        digests = [hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest() for text in texts]
        contents = contents.scatter(is_long.nonzero()[0], digests)
        lengths[is_long] = DIGEST_BYTES
    joined = b"".join([*contents.to_list(), bytes(WORD_BYTES)])
    words = np.ndarray(len(joined) - WORD_BYTES + 1, "<u8", joined, strides=(1,))  # those that begin at each byte
    starts = np.cumsum(lengths) - lengths
    hashes = np.zeros(len(values), np.uint64)
    for first in range(0, int(lengths.max(initial=0)), WORD_BYTES):
        rows = (lengths > first).nonzero()[0]
        n_bytes = np.minimum(lengths[rows] - first, WORD_BYTES)
        mask = np.uint64(2**64 - 1) >> (8 * (WORD_BYTES - n_bytes)).astype(np.uint64)
        hashes[rows] = _absorb(hashes[rows], words[starts[rows] + first] & mask)
    return _absorb(hashes, lengths.astype(np.uint64))


def draw(hashes: np.ndarray, purpose: str, seed: int) -> np.ndarray:
    """Random numbers (n,) uint64 from hashes (n,); those of several purposes or seeds are independent."""
    salt = hashlib.blake2b(f"{purpose}:{seed}".encode(), digest_size=WORD_BYTES).digest()
    return _absorb(_absorb(hashes, np.uint64(int.from_bytes(salt, "little"))), np.uint64(0))


def is_between(numbers: np.ndarray, low: Fraction, high: Fraction) -> np.ndarray:
    """Which numbers (n,) uint64, taken as fractions of 2^64, are at least `low` and below `high`: (n,) bool."""
    first, last = math.ceil(low * 2**64), math.ceil(high * 2**64) - 1
    if first > last:
        return np.zeros(len(numbers), bool)
    return (numbers >= np.uint64(first)) & (numbers <= np.uint64(last))


def _absorb(state: np.ndarray, word: np.ndarray | np.uint64) -> np.ndarray:
    """Mix a word into the state of each row."""
    mixed = (state ^ word) + INCREMENT
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
        mixed ^= mixed >> shift
        mixed *= multiplier
    return mixed ^ (mixed >> _SHIFTS[-1])


def _to_texts(values: pl.Series) -> pl.Series:
    """The texts that stand for values, those of a number without trailing zeros; binary values stay as they are."""
    dtype = values.dtype
    if dtype in (pl.String, pl.Binary):
        return values
    if dtype.is_float() or isinstance(dtype, pl.Decimal):
        numbers = values.fill_nan(None) if dtype.is_float() else values
        distinct = numbers.drop_nulls().unique()
        texts = [_format_number(number) for number in (distinct.to_numpy() if dtype.is_float() else distinct)]
        return numbers.replace_strict(distinct, texts, default=None, return_dtype=pl.String)
    return (values.to_physical() if dtype.is_temporal() else values).cast(pl.String)


def _format_number(number: np.floating | Decimal) -> str:
    """The shortest text of a number that is not rounded, such as 0.1 and 2."""
    if isinstance(number, Decimal):
        return format(number.normalize(), "f")
    return np.format_float_positional(number + 0.0, trim="-")  # 0 for -0
