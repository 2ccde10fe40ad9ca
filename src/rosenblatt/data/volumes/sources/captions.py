"""Text files beside images or sounds, with the same name but for the ending, as a column of texts."""

from __future__ import annotations

import polars as pl

from rosenblatt.data.readers.archives import TEXT_SUFFIX
from rosenblatt.data.readers.encodings import decode_text
from rosenblatt.data.readers.folders import TEXT
from rosenblatt.data.volumes.sources.listings import NAME, Listing
from rosenblatt.errors import format_count

_ENDING = r"\.[^./]*$"


def find_captions(listing: Listing, files: pl.Series) -> Listing:
    """The text files of a listing that are beside one of the given files."""
    texts = listing.filter(pl.col(NAME).str.to_lowercase().str.ends_with(TEXT_SUFFIX))
    if texts.frame.is_empty():
        return texts
    return texts.filter(pl.col(NAME).str.replace(_ENDING, "").is_in(files.str.replace(_ENDING, "").implode()))


def read_captions(captions: Listing, files: pl.Series, notes: list[str]) -> pl.Series | None:
    """The text beside each file, null for files without one; None if there are no captions."""
    if captions.frame.is_empty():
        return None
    contents = captions.make_contents(captions.frame)
    texts = [decode_text(contents.read(row)).strip() for row in range(len(contents))]
    by_stem = captions.frame.select(stem=pl.col(NAME).str.replace(_ENDING, "")).with_columns(pl.Series(TEXT, texts))
    stems = files.str.replace(_ENDING, "").alias("stem").to_frame()
    notes.append(f"{format_count(len(texts), 'text file')} of the same names give the column {TEXT!r}")
    return stems.join(by_stem.unique("stem", keep="first"), on="stem", how="left", maintain_order="left")[TEXT]
