from __future__ import annotations

from types import SimpleNamespace

import polars as pl
import pytest

from rosenblatt.cli.console.data import format_bytes, print_selection


@pytest.mark.parametrize(
    ("n_bytes", "expected"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (1_234_567, "1.23 MB"),
        (5 * 10**9, "5 GB"),
        (999_600, "1,000 KB"),
        (10**15, "1 PB"),
        (10**18, "1,000 PB"),
    ],
)
def test_bytes_are_shown_in_their_unit(n_bytes, expected):
    assert format_bytes(n_bytes) == expected


def make_result(first: pl.DataFrame, n_samples: int, n_all: int, n_bytes: int = 0, notes: tuple[str, ...] = ()):
    commit = SimpleNamespace(n_samples=n_all, n_bytes=10 * n_bytes)
    volume = SimpleNamespace(commit=commit, name="photos@2", metadata_columns=first.columns)
    return SimpleNamespace(volume=volume, first=first, n_samples=n_samples, n_bytes=n_bytes, notes=notes)


@pytest.mark.parametrize(
    ("n_samples", "n_all", "expected"),
    [
        (0, 0, "0 of 0 samples"),
        (0, 7, "0 of 7 samples (0 %)"),
        (7, 7, "7 of 7 samples (100 %)"),
        (1, 3, "1 of 3 samples (33.3 %)"),
        (1, 10**6, "1 of 1,000,000 samples (under 0.01 %)"),
    ],
)
def test_the_share_of_selected_samples_is_shown(capsys, n_samples, n_all, expected):
    print_selection(make_result(pl.DataFrame(schema={"id": pl.String}), n_samples, n_all))
    assert capsys.readouterr().out.splitlines()[0] == f"photos@2: {expected}"


def test_bytes_notes_and_first_samples_are_shown(capsys):
    first = pl.DataFrame({"id": ["x" * 40], "n": [3], "tags": [["a", "b"]], "text": ["y" * 40], "none": [None]})
    print_selection(make_result(first, 2, 4, n_bytes=1500, notes=("a note",)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["photos@2: 2 of 4 samples (50 %), 1.5 KB of 15 KB", "  a note", ""]
    assert lines[3].split() == ["id", "n", "tags", "text"]
    assert lines[5].split() == ["x" * 40, "3", "a,", "b", "y" * 23 + "…"]
    assert lines[6] == "and 1 more sample; --rows shows more of them, --out writes all"


def test_control_characters_of_samples_are_shown_as_text(capsys):
    print_selection(make_result(pl.DataFrame({"id": ["a\x1b[31mb"]}), 1, 1))
    assert "\x1b" not in capsys.readouterr().out
