"""Rows of a table as the input tensors of an exported model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from rosenblatt.data.encoding.media_encodings import ImageEncoding, SequenceEncoding, TextEncoding
from rosenblatt.data.media.columns import sequences_from_column
from rosenblatt.models.export.signature import MediumInput, Signature

Tensors = dict[str, np.ndarray]  # by name, in the order of the signature
TypedRows: TypeAlias = pl.DataFrame | np.ndarray | csr_array


def prepare_inputs(signature: Signature, typed: TypedRows, *, channels_last: bool = False) -> Tensors:
    """The input tensors of an exported model.

    Args:
        signature: of the model.
        typed: rows, as `Schema.read` or `Schema.read_matrix` returns them.
        channels_last: whether images are (n, side, side, channels), instead of (n, channels, side, side).

    Returns:
        Arrays by the names of the tensors, as the module `signature` describes them; categories as strings.
    """
    if not isinstance(typed, pl.DataFrame):
        matrix = typed.toarray() if isinstance(typed, csr_array) else typed
        return {"numbers": np.asarray(matrix, np.float64)}
    tensors = Tensors()
    if signature.numbers:
        tensors["numbers"] = np.column_stack([typed[name].to_numpy().astype(np.float64) for name in signature.numbers])
    if signature.categories:
        cells = [typed[category.column].fill_null("").to_numpy() for category in signature.categories]
        tensors["categories"] = np.column_stack(cells).astype(np.str_)
    for medium in signature.media:
        tensors |= _medium_tensors(medium, typed[medium.encoding.column], channels_last)
    return tensors


def category_codes(signature: Signature, categories: np.ndarray) -> np.ndarray:
    """The codes (n, C) int64 of categories (n, C), for frameworks without strings."""
    return np.column_stack(
        [column.codes(cells.tolist()) for column, cells in zip(signature.categories, categories.T, strict=True)]
    )


def _medium_tensors(medium: MediumInput, series: pl.Series, channels_last: bool) -> Tensors:
    encoding = medium.encoding
    if isinstance(encoding, ImageEncoding):
        images = encoding.encode(series)
        pixels = next(images.batches([np.arange(len(series))])) if images.pixels is None else images.pixels
        pixels = pixels.astype(np.float32)
        return {medium.name: pixels if channels_last else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))}
    rows: Sequence[np.ndarray]
    if isinstance(encoding, TextEncoding):
        rows = [encoding.vocabulary.encode(text).astype(np.int64) for text in series.struct.field("text").to_list()]
        padding: np.ndarray = np.zeros(1, np.int64)
    else:
        n_channels = len(encoding.center)
        rows = [row.reshape(-1, n_channels) for row in sequences_from_column(series)]
        padding = np.full((1, n_channels), np.nan, np.float32)
    return _pad(medium, encoding, rows, padding)


def _pad(
    medium: MediumInput, encoding: TextEncoding | SequenceEncoding, rows: Sequence[np.ndarray], padding: np.ndarray
) -> Tensors:
    """Rows cut to the maximum length and padded at the end, with their lengths; an empty row has one step."""
    if not encoding.never_truncate:
        length = encoding.max_length
        rows = [row[:length] if isinstance(encoding, TextEncoding) else row[-length:] for row in rows]
    rows = [row if len(row) else padding for row in rows]
    lengths = np.array([len(row) for row in rows], np.int64)
    n_steps = encoding.max_length if medium.is_fixed_length else int(lengths.max(initial=1))
    out = np.empty((len(rows), n_steps, *padding.shape[1:]), padding.dtype)
    out[:] = padding[0]
    for row, steps in zip(out, rows, strict=True):
        row[: len(steps)] = steps
    return {medium.name: out, medium.lengths_name: lengths}
