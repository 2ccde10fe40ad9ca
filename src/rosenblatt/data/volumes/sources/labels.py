"""Labels and splits of files by the names of their folders, by the same rules as those of `fit`."""

from __future__ import annotations

import polars as pl

from rosenblatt.data.readers.folders import TEST_FOLDERS, TRAIN_FOLDERS
from rosenblatt.data.volumes.sources.source import LABEL, SPLIT
from rosenblatt.errors import VolumeError, format_count, format_list

VALIDATION_FOLDERS = tuple(name for name in TEST_FOLDERS if name.startswith("val"))


def folder_columns(names: pl.Series, location: str, *, is_labeled: bool, notes: list[str]) -> pl.DataFrame:
    """The columns `split` and `label` of files (n,), as far as folders give them.

    Folders train/ and test/ give `split`, and folders beside them a split of their own. The folders below them, or else
    all folders, give `label`.

    Args:
        names: relative names of the files.
        location: the folder or archive, for messages.
        is_labeled: whether folders are labels; else only splits are returned.
        notes: receives the number of classes.

    Raises:
        VolumeError: if some files are in folders and others are not.
    """
    names, columns = _strip_common_folder(names), list[pl.Series]()
    splits = _splits(names, notes)
    if splits is not None:
        columns.append(splits)
        names = names.str.replace("^[^/]*/", "")
    labels = names.str.extract("(?s)^(.*)/[^/]*$").alias(LABEL)
    if is_labeled and labels.count():
        is_train = pl.Series([True]).new_from_index(0, len(labels)) if splits is None else splits == "train"
        _check_labels(labels.filter(is_train), names.filter(is_train), location)
        columns.append(labels)
        notes.append(_count_classes(labels.drop_nulls()))
    return pl.DataFrame(columns)


def _splits(names: pl.Series, notes: list[str]) -> pl.Series | None:
    """The split of each file; None unless there are folders of training and of test files, and none is outside."""
    first = names.str.extract("^([^/]*)/").alias(SPLIT)
    lowered = first.str.to_lowercase()
    present = set(lowered.drop_nulls())
    if first.has_nulls() or not (present & {*TRAIN_FOLDERS} and present & {*TEST_FOLDERS}):
        return None
    validation = "validation" if (present - {*VALIDATION_FOLDERS}) & {*TEST_FOLDERS} else "test"
    split_names = dict.fromkeys(TRAIN_FOLDERS, "train") | dict.fromkeys(TEST_FOLDERS, "test")
    split_names |= dict.fromkeys(VALIDATION_FOLDERS, validation)
    others = first.filter(~lowered.is_in(list(split_names)))
    if len(others):
        notes.append(
            f"{format_count(len(others), 'sample')} in folders beside those of training and test have these as their "
            f"split: {format_list(others.unique().sort())}"
        )
    return lowered.replace_strict(split_names, default=first, return_dtype=pl.String).alias(SPLIT)


def _strip_common_folder(names: pl.Series) -> pl.Series:
    """Remove the first folder from all names if it is the same for all and holds folders itself."""
    first = names.str.extract("^([^/]*)/")
    is_nested = bool(names.str.contains("(?s)/.*/").all())
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
