"""Columns that every volume has beside those of its samples' metadata."""

ID = "id"  # identity of a sample within its volume: a path, a column of the table, or a hash of the row
PACK = "pack"  # hex BLAKE3 hash of the pack that holds the sample's bytes, or the URI of a linked file
OFFSET = "offset"  # of the sample's bytes in the pack
LENGTH = "length"  # number of the sample's bytes
HASH = "hash"  # hex BLAKE3 hash of the sample's bytes

BYTES_COLUMNS = (PACK, OFFSET, LENGTH, HASH)  # columns of volumes whose samples have bytes: images, audio, long texts
RESERVED_COLUMNS = (ID, *BYTES_COLUMNS)
