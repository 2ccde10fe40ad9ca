"""Columns that every volume has beside those of its samples' metadata."""

import polars as pl

ID = "id"  # identity of a sample within its volume: a path, a column of the table, or a hash of the row
PACK = "pack"  # hex BLAKE3 hash of the pack that holds the sample's bytes, or the URI of a linked file
OFFSET = "offset"  # of the sample's bytes in the pack
LENGTH = "length"  # number of the sample's bytes
HASH = "hash"  # hex BLAKE3 hash of the sample's bytes

KINDS_WITH_BYTES = ("images", "audio", "files")  # kinds of samples whose bytes are in packs or linked files
BYTES_SCHEMA = {PACK: pl.String(), OFFSET: pl.Int64(), LENGTH: pl.Int64(), HASH: pl.String()}  # their columns
BYTES_COLUMNS = tuple(BYTES_SCHEMA)  # tables may have columns of these names of their own
PLACES_SCHEMA = pl.Schema({ID: pl.String(), **BYTES_SCHEMA})  # what names samples, and says where their bytes are
PLACE_COLUMNS = (PACK, OFFSET)  # they say where a content is, not what it is
RESERVED_COLUMNS = (ID, *BYTES_COLUMNS)


def describe_kind(kind: str) -> str:
    """What a volume of a kind holds, for messages."""
    return "a table" if kind == "table" else kind


def is_link(rows: pl.DataFrame) -> pl.Series:
    """Which samples are linked files, by the column pack (n,): true or false."""
    return rows[PACK].str.contains("://", literal=True).fill_null(value=False)
