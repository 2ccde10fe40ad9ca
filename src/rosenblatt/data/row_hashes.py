"""Hashes of typed rows that are the same on every platform and with every version of Polars, to recognize rows again.

Values are hashed, not their text: rows are recognized in a file with another order of rows or columns, or with another
way to write numbers. Numbers are rounded to 45 significant bits, so that 12.3% and 0.123 are equal; those of a Float32
stand for the shortest decimal fraction that rounds to them, so that 0.1 is the same in either type.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import polars as pl

from rosenblatt.data.media.columns import holds_samples, medium_kind
from rosenblatt.data.media.contents import hash_content, read_content

CHUNK_ROWS = 16_384  # rows that are hashed at once, so that the arrays stay in the cache
ROUNDED_BITS = 8  # of the 53 significant bits of a float64
MAX_EXACT_INTEGER = 2.0**53  # from here on, integers differ that are equal as float64
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, without a pattern: 2^64 divided by the golden ratio
MISSING = np.uint64(2**64 - 1)  # stands for NaN, as no rounded number has these bits
SHIFT = np.uint64(29)
ImageHash = Literal["blake2b", "blake3"]  # of the contents of images


def hash_rows(typed: pl.DataFrame, image_hash: ImageHash = "blake2b") -> np.ndarray:
    """Hash rows, as `Schema.read` returns them: (n,) uint64.

    Args:
        typed: the rows.
        image_hash: how the contents of images are hashed.

    Raises ModuleNotFoundError if the package blake3 is needed, but not installed.
    """
    hashes = np.full(typed.height, hash_bytes(str(typed.width).encode()), np.uint64)
    for series in sorted(typed, key=lambda series: series.name):
        hashes = _combine(hashes, np.uint64(hash_bytes(series.name.encode())), _hash_column(series, image_hash))
    return hashes


def choose_image_hash(typed: pl.DataFrame) -> ImageHash:
    """BLAKE3 if images are samples of a volume, whose hashes are known without reading them, or else BLAKE2b."""
    return "blake3" if holds_samples(typed) else "blake2b"


def hash_cells(frame: pl.DataFrame) -> np.ndarray:
    """Hash rows of a table as read, exactly: (n,) uint64.

    A number has one hash as text, as an integer and as a float, so that a row keeps its hash if the type of a column
    changes. Texts are equal without surrounding spaces, and empty ones are missing.
    """
    hashes = np.full(frame.height, hash_bytes(str(frame.width).encode()), np.uint64)
    for series in sorted(frame, key=lambda series: series.name):
        hashes = _combine(hashes, np.uint64(hash_bytes(series.name.encode())), _hash_exactly(series))
    return hashes


def hash_targets(hashes: np.ndarray, y: np.ndarray, *, is_padded: bool) -> np.ndarray:
    """Hash rows together with their targets: (n,) uint64.

    Args:
        hashes: (n,) of the inputs, as `hash_rows` returns them.
        y: targets (n,) or (n, K) as `SupervisedTask.y`.
        is_padded: whether negative targets are the padding of sequences, which has no effect.
    """
    for k, column in enumerate(y.reshape(len(y), -1).T):
        combined = _combine(hashes, np.uint64(k + 1), _number_bits(column))
        hashes = np.where(column < 0, hashes, combined) if is_padded else combined
    return hashes


def hash_bytes(content: bytes) -> int:
    """Hash the content of a cell, as an unsigned integer of 64 bits."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _combine(hashes: np.ndarray, salt: np.uint64, values: np.ndarray) -> np.ndarray:
    """Update the hash of each row by a value (n,) uint64 of the row and the salt of its column."""
    result = np.empty_like(hashes)
    for start in range(0, len(hashes), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        mixed = values[chunk] ^ salt
        mixed *= MULTIPLIER
        mixed ^= mixed >> SHIFT
        mixed ^= hashes[chunk]
        mixed *= MULTIPLIER
        mixed ^= mixed >> SHIFT
        result[chunk] = mixed
    return result


def _hash_column(series: pl.Series, image_hash: ImageHash) -> np.ndarray:
    """A number for each value of a typed column, (n,) uint64."""
    kind = medium_kind(series.dtype)
    if kind == "image":
        hash_image = _hash_with_blake3 if image_hash == "blake3" else _hash_image
        return np.fromiter(map(hash_image, series.struct.field("image")), np.uint64, len(series))
    if kind:
        series = series.struct.field(kind)
    if series.dtype.is_numeric():
        return _number_bits(series.cast(pl.Float64).to_numpy())
    values = series if series.dtype == pl.Binary else series.cast(pl.String).cast(pl.Binary)
    return _hash_distinct(values)


def _hash_exactly(series: pl.Series) -> np.ndarray:
    """A number for each cell of a column as read, (n,) uint64."""
    if series.dtype.is_float():
        return _number_bits(series.fill_null(np.nan).to_numpy(), rounded_bits=0)
    if series.dtype.is_integer() and float(series.cast(pl.Float64).abs().max() or 0) < MAX_EXACT_INTEGER:  # type: ignore[arg-type]
        return _number_bits(series.cast(pl.Float64).fill_null(np.nan).to_numpy(), rounded_bits=0)
    if series.dtype == pl.Binary:
        return _hash_distinct(series)
    text = _as_text(series).str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    is_number = numbers.is_finite() & ((numbers.abs() < MAX_EXACT_INTEGER) | ~text.str.contains(r"^[-+]?\d+$"))
    is_number = is_number.fill_null(value=False)
    text = text.set(is_number | (text == "").fill_null(value=True), None)
    values = np.where(text.is_null().to_numpy(), MISSING, _hash_distinct(text.cast(pl.Binary)))
    return np.where(is_number.to_numpy(), _number_bits(numbers.fill_null(np.nan).to_numpy(), rounded_bits=0), values)


def _as_text(series: pl.Series) -> pl.Series:
    """Cells of any type but bytes and floats as strings."""
    if "Binary" in str(series.dtype):  # nested, which Polars cannot write as JSON
        return pl.Series([None if cell is None else repr(cell) for cell in series.to_list()], dtype=pl.String)
    if series.dtype.is_nested():
        return series.alias("cell").to_frame().to_struct().struct.json_encode()
    return (series.dt.total_microseconds() if series.dtype == pl.Duration else series).cast(pl.String)


def _hash_distinct(values: pl.Series) -> np.ndarray:
    """A number for each cell of a column of bytes, (n,) uint64."""
    distinct = values.unique()
    hashes = pl.Series([hash_bytes(value or b"") + (value is not None) for value in distinct], dtype=pl.UInt64)
    return values.replace_strict(distinct, hashes, return_dtype=pl.UInt64).to_numpy()


def _hash_image(cell: str | bytes) -> int:
    """Hash the content of an image, given as a path or by its content."""
    return hash_bytes(read_content(cell))


def _hash_with_blake3(cell: str | bytes) -> int:
    """Hash the content of an image as volumes do; that of a sample of a volume is known."""
    from blake3 import blake3

    return int.from_bytes(hash_content(cell, lambda content: blake3(content).digest())[:8], "little")


def _number_bits(numbers: np.ndarray, rounded_bits: int = ROUNDED_BITS) -> np.ndarray:
    """The bits of rounded numbers (n,) uint64; one value for all NaN, and for 0 and -0."""
    numbers = numbers.astype(np.float64) + 0.0
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    is_single = (single == numbers) & (numbers != np.trunc(numbers))
    if is_single.any():
        numbers[is_single] = pl.Series(single[is_single]).cast(pl.String).cast(pl.Float64).to_numpy()
    bits = numbers.view(np.uint64)
    bits = (bits + np.uint64((1 << rounded_bits) >> 1)) >> np.uint64(rounded_bits)
    return np.where(np.isnan(numbers), MISSING, bits)
