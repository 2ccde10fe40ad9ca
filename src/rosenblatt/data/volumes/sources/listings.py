"""The files of a folder, an archive or an object store, listed as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from rosenblatt.data.readers.archives import CollectionFile
from rosenblatt.data.volumes.sources.contents import PATH
from rosenblatt.data.volumes.sources.source import Contents
from rosenblatt.errors import VolumeError, format_count, format_list

NAME = "name"  # of a file: its path relative to the folder, with slashes, in Unicode's form NFC
MAX_NAMED = 3  # files that a message names


@dataclass(frozen=True)
class Listing:
    """Files, sorted by name."""

    location: str
    frame: pl.DataFrame  # `name`, and what `make_contents` needs
    make_contents: Callable[[pl.DataFrame], Contents]
    notes: tuple[str, ...] = ()  # what was left out
    is_local: bool = False  # whether `path` names files of a folder

    def filter(self, condition: pl.Expr) -> Listing:
        """Some of the files."""
        return replace(self, frame=self.frame.filter(condition))

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises VolumeError."""
        return self.make_contents(self.frame.filter(pl.col(NAME) == name)).read(0)

    def collection_files(self) -> list[CollectionFile]:
        """The files as `fit` reads them."""
        contents = self.make_contents(self.frame)
        paths = self.frame[PATH] if self.is_local else [""] * self.frame.height
        return [
            CollectionFile(name, partial(contents.read, row), path)
            for row, (name, path) in enumerate(zip(self.frame[NAME], paths, strict=True))
        ]


def sort_by_name(frame: pl.DataFrame, location: str, notes: list[str]) -> pl.DataFrame:
    """Files sorted by name, in Unicode's form NFC; `notes` receives names that differ in case only.

    Raises VolumeError if two files have the same name.
    """
    frame = frame.with_columns(pl.col(NAME).str.normalize("NFC")).sort(NAME)
    repeated = frame.filter(pl.col(NAME) == pl.col(NAME).shift())[NAME]
    if len(repeated):
        raise VolumeError(
            f"{location!r} holds several files of one name, {repeated[0]!r}, in Unicode's form NFC. Rename or remove "
            "all but one."
        )
    lowered = frame[NAME].str.to_lowercase()
    if lowered.n_unique() < frame.height:
        names = frame[NAME].filter(lowered.is_duplicated())
        notes.append(
            f"{format_count(len(names), 'name')} that differ in case only, such as {format_list(names[:2].to_list())}: "
            "macOS and Windows cannot hold both in one folder"
        )
    return frame


def count_names(names: Sequence[str], what: str, n: int | None = None) -> str:
    """A note on files that were left out: how many, and the names of a few."""
    return f"{what} left out: {len(names) if n is None else n:,}, such as {format_list(names[:MAX_NAMED])}"


def count_endings(names: pl.Series) -> Counter[str]:
    """The number of files by the ending of their names, in lower case with its dot; "" is for names without one."""
    endings = names.str.extract(r"[^/](\.[^./]*)$").str.to_lowercase().fill_null("").alias("ending")
    return Counter(dict(endings.value_counts().iter_rows()))
