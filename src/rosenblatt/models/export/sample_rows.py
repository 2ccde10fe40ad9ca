"""Generated rows on which an exported model is compared with the original, if there are no real ones."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import polars as pl
from PIL import Image

from rosenblatt.data.encoding.encoder import CategoryEncoding, MediaEncoding, NumberEncoding
from rosenblatt.data.encoding.media_encodings import ImageEncoding, TextEncoding
from rosenblatt.data.media.columns import sequence_column, to_media_column
from rosenblatt.models.export.inputs import TypedRows
from rosenblatt.models.export.signature import FittedModel, read_signature

N_ROWS = 256
N_MEDIA_ROWS = 32  # of models of images, texts and sequences
MISSING_FRACTION = 0.1
UNSEEN_FRACTION = 0.05  # of categories
UNSEEN_CATEGORY = "a category that was not seen in training"
SPREAD = 2.0  # of numbers, in scales of their encoding


def sample_rows(model: FittedModel, seed: int = 0) -> TypedRows:
    """Typed rows that use all that a model knows: numbers in and beyond their range, all categories, missing cells."""
    rng, encoder = np.random.default_rng(seed), model.trials[0].encoder
    n = N_MEDIA_ROWS if encoder.media_encodings else N_ROWS
    if encoder.n_sparse_columns:
        return rng.normal(size=(n, encoder.n_sparse_columns)) * (rng.random((n, encoder.n_sparse_columns)) < 0.1)
    categories = {column.column: column.categories for column in read_signature(model).categories}
    columns = list[pl.Series]()
    for encoding in encoder.encodings:
        if isinstance(encoding, NumberEncoding):
            columns.append(pl.Series(encoding.column, _numbers(encoding, rng, n), nan_to_null=True))
        elif isinstance(encoding, CategoryEncoding):
            columns.append(_categories(encoding.column, categories[encoding.column], rng, n))
        else:
            columns.append(_medium(encoding, rng, n))
    return pl.DataFrame(columns)


def _numbers(encoding: NumberEncoding, rng: np.random.Generator, n: int) -> np.ndarray:
    if encoding.range:
        low, high = encoding.range
        margin = 0.1 * (high - low)
        values = rng.uniform(low - margin, high + margin, n)
        values[::4] = rng.choice(encoding.edges or encoding.quantiles, values[::4].size)
    else:
        values = rng.normal(encoding.center, SPREAD * (encoding.scale or 1.0), n)
    values[rng.random(n) < MISSING_FRACTION] = np.nan
    return values


def _categories(name: str, categories: tuple[str, ...], rng: np.random.Generator, n: int) -> pl.Series:
    cells = rng.choice(np.array([*categories, UNSEEN_CATEGORY], object), n)
    cells[rng.random(n) < UNSEEN_FRACTION] = UNSEEN_CATEGORY
    cells[rng.random(n) < MISSING_FRACTION] = None
    return pl.Series(name, cells.tolist(), dtype=pl.String)


def _medium(encoding: MediaEncoding, rng: np.random.Generator, n: int) -> pl.Series:
    name = encoding.column
    if isinstance(encoding, ImageEncoding):
        shape = (encoding.side, encoding.side, 3)
        files = [BytesIO() for _ in range(n)]
        for file in files:
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(file, "png")
        return to_media_column(pl.Series(name, [file.getvalue() for file in files]), "image")
    lengths = rng.integers(1, encoding.max_length + 1, n)
    if isinstance(encoding, TextEncoding):
        tokens = [rng.integers(0, encoding.vocabulary.size, length) for length in lengths]
        return to_media_column(pl.Series(name, [encoding.vocabulary.decode(row.tolist()) for row in tokens]), "text")
    center, scale = np.asarray(encoding.center), np.asarray(encoding.scale)
    rows = [rng.normal(center, scale, (length, center.size)) for length in lengths]
    return sequence_column(name, [row.astype(np.float32) for row in rows], center.size)
