"""Text files beside images or sounds, with the same name but for the ending, as a column of texts."""

from __future__ import annotations

import polars as pl

from rosenblatt.data.readers.archives import TEXT_SUFFIX
from rosenblatt.data.readers.encodings import decode_text
from rosenblatt.data.readers.folders import TEXT
from rosenblatt.data.volumes.sources.listings import NAME, Listing
from rosenblatt.errors import format_count

_STEM = r"\.[^./]*$"  # what is removed of a name


def is_caption(files: pl.Series) -> pl.Expr:
    """Whether a file of a listing is a text file beside one of the given files."""
    stems = files.str.replace(_STEM, "")
    is_text = pl.col(NAME).str.to_lowercase().str.ends_with(TEXT_SUFFIX)
    return is_text & pl.col(NAME).str.replace(_STEM, "").is_in(stems.implode())


def read_captions(listing: Listing, files: pl.Series, notes: list[str]) -> pl.Series | None:
    """The text beside each file, null for files without one; None if no file has one."""
    captions = listing.filter(is_caption(files))
    if captions.frame.is_empty():
        return None
    contents = captions.make_contents(captions.frame)
    texts = [decode_text(contents.read(row)).strip() for row in range(len(contents))]
    by_stem = captions.frame.select(stem=pl.col(NAME).str.replace(_STEM, "")).with_columns(pl.Series(TEXT, texts))
    stems = files.str.replace(_STEM, "").alias("stem").to_frame()
    notes.append(f"{format_count(len(texts), 'text file')} of the same names give the column {TEXT!r}")
    return stems.join(by_stem.unique("stem", keep="first"), on="stem", how="left", maintain_order="left")[TEXT]
