"""Labels and splits of files by the names of their folders, by the same rules as those of `fit`."""

from __future__ import annotations

import polars as pl

from rosenblatt.data.readers.folders import TEST_FOLDERS, TRAIN_FOLDERS
from rosenblatt.data.volumes.sources.listings import NAME
from rosenblatt.data.volumes.sources.source import LABEL, SPLIT
from rosenblatt.errors import VolumeError, format_count

VALIDATION_FOLDERS = tuple(name for name in TEST_FOLDERS if name.startswith("val"))


def folder_columns(names: pl.Series, location: str, *, is_labeled: bool, notes: list[str]) -> pl.DataFrame:
    """The columns `split` and `label` of files (n,), as far as folders give them.

    Folders train/ and test/ give `split`. The folders below them, or else all folders, give `label`.

    Args:
        names: relative names of the files.
        location: the folder or archive, for messages.
        is_labeled: whether folders are labels; else only splits are returned.
        notes: receives the number of classes.

    Raises:
        VolumeError: if some files are in folders and others are not.
    """
    frame = pl.DataFrame({NAME: _strip_common_folder(names)})
    first, has_folder = pl.col(NAME).str.split("/").list.first().str.to_lowercase(), pl.col(NAME).str.contains("/")
    is_train, is_test = has_folder & first.is_in(TRAIN_FOLDERS), has_folder & first.is_in(TEST_FOLDERS)
    counts = frame.select(train=is_train.sum(), test=is_test.sum(), both=(first.is_in(["test", "testing"])).any()).row(
        0
    )
    columns = list[pl.Series]()
    if counts[0] and counts[1] and counts[0] + counts[1] == frame.height:
        held_out = pl.when(first.is_in(VALIDATION_FOLDERS) & counts[2]).then(pl.lit("validation")).otherwise(
            pl.lit("test")
        )  # fmt: skip
        columns.append(
            frame.select(pl.when(is_train).then(pl.lit("train")).otherwise(held_out).alias(SPLIT)).to_series()
        )
        frame = frame.select(pl.col(NAME).str.replace("^[^/]*/", ""))
    labels = frame.select(pl.col(NAME).str.extract("^(.*)/[^/]*$").alias(LABEL)).to_series()
    if is_labeled and labels.count():
        _check_labels(labels, frame[NAME], location)
        columns.append(labels)
        notes.append(_count_classes(labels))
    return pl.DataFrame(columns)


def _strip_common_folder(names: pl.Series) -> pl.Series:
    """Remove the first folder from all names if it is the same for all and holds folders itself."""
    first = names.str.extract("^([^/]*)/")
    is_nested = bool(names.str.contains("/.*/").all())
    return names.str.replace("^[^/]*/", "") if is_nested and first.n_unique() == 1 else names


def _check_labels(labels: pl.Series, names: pl.Series, location: str) -> None:
    if labels.has_nulls():
        raise VolumeError(
            f"{location!r} has a folder for each class, but {names.filter(labels.is_null())[0]!r} is in none. Move it "
            "into its class, or give the labels in a table (--sidecar FILE)."
        )


def _count_classes(labels: pl.Series) -> str:
    counts = labels.value_counts()["count"].to_list()
    low, high = min(counts), max(counts)
    rows = format_count(high, "sample") if low == high else f"{low:,} to {high:,} samples"
    return f"{format_count(len(counts), 'class', 'classes')} of {rows}, by the names of folders"
