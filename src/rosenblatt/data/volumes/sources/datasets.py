"""Folders of Parquet and Arrow files: shards of a table, partitions by folder, and datasets of Hugging Face."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from rosenblatt.data.volumes.sources.columnar import ColumnarFile
from rosenblatt.data.volumes.sources.contents import PATH
from rosenblatt.data.volumes.sources.listings import NAME, Listing
from rosenblatt.data.volumes.sources.source import SPLIT
from rosenblatt.errors import VolumeError, format_list

COLUMNAR_SUFFIXES = (".parquet", ".arrow", ".feather")
_SPLIT = re.compile(r"(train|test|validation|valid|val|dev)(-\d+-of-\d+)?\.")
_STATE, _INFO, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"  # of save_to_disk


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` of Hugging Face's datasets wrote a folder."""
    return (folder / _STATE).is_file() or (folder / _SPLITS).is_file()


def saved_dataset_files(folder: Path) -> list[ColumnarFile]:
    """The files of a dataset or of its splits in their order. Raises VolumeError if they cannot be used."""
    files = [ColumnarFile(path) for path in _state_files(folder, "")] if (folder / _STATE).is_file() else []
    if (folder / _SPLITS).is_file():
        splits = [str(name) for name in _list(_read_json(folder / _SPLITS), "splits")]
        files = [ColumnarFile(path, {SPLIT: split}) for split in splits for path in _state_files(folder, split)]
    if not files:
        raise VolumeError(f"{str(folder)!r} is a dataset without files. Save it again.")
    return files


def _state_files(folder: Path, split: str) -> list[Path]:
    state = _read_json(folder / split / _STATE)
    if state.get("_indices_files"):
        raise VolumeError(f"{str(folder)!r} is a selection of rows. Save the dataset again after flatten_indices().")
    files = [file for file in _list(state, "_data_files") if isinstance(file, dict)]
    paths = [folder / split / str(file.get("filename")) for file in files]
    if outside := [path.name for path in paths if not path.resolve().is_relative_to(folder.resolve())]:
        raise VolumeError(f"{str(folder)!r} names files outside of the folder: {format_list(outside, 3)}. Remove them.")
    if missing := [path.name for path in paths if not path.is_file()]:
        raise VolumeError(f"{str(folder)!r} lacks the files {format_list(missing, 3)}. Copy or save it again.")
    return paths


def _list(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise VolumeError(f"{str(path)!r} cannot be read: {error}. Save the dataset again.") from error
    return document if isinstance(document, dict) else {}


def columnar_files(listing: Listing, notes: list[str]) -> list[ColumnarFile]:
    """The Parquet and Arrow files of a folder, with the columns that names of files and folders give."""
    lowered = pl.col(NAME).str.to_lowercase()
    frame = listing.frame.filter(pl.any_horizontal(map(lowered.str.ends_with, COLUMNAR_SUFFIXES)))
    names = [PurePosixPath(name) for name in frame[NAME]]
    splits = [_SPLIT.match(name.name) for name in names]
    constants = [_partitions(name) for name in names]
    if all(splits) and len({match[1] for match in splits if match}) > 1:
        constants = [values | {SPLIT: match[1]} for values, match in zip(constants, splits, strict=True) if match]
        notes.append(f"names of files give the column {SPLIT!r}")
    if partitions := list(dict.fromkeys(name for values in constants for name in values if name != SPLIT)):
        notes.append(f"names of folders give the columns {format_list(partitions)}, as text")
    return [ColumnarFile(Path(path), values) for path, values in zip(frame[PATH], constants, strict=True)]


def _partitions(name: PurePosixPath) -> dict[str, str]:
    """Columns in the names of folders, such as year=2021."""
    return dict(part.split("=", 1) for part in name.parts[:-1] if "=" in part)


def class_names(files: list[ColumnarFile], folder: Path | None = None) -> dict[str, list[str]]:
    """The names of classes, by column, as Hugging Face's datasets record them in or beside their files."""
    features: Any = {}
    if folder is not None:
        first = files[0].path.parent
        features = _read_json(first / _INFO).get("features") if (first / _INFO).is_file() else {}
    else:
        with suppress(ValueError, AttributeError, pl.exceptions.PolarsError):  # no Parquet file, or another's metadata
            recorded = json.loads(pl.read_parquet_metadata(files[0].path).get("huggingface", "{}"))
            features = recorded.get("info", {}).get("features")
    items = features.items() if isinstance(features, dict) else ()
    return {
        name: [str(label) for label in feature["names"]]
        for name, feature in items
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and _list(feature, "names")
    }
