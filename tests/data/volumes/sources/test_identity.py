from collections import Counter

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.volumes.sources.identity import (
    RowIdentities,
    check_id_parts,
    check_ids,
    find_id_column,
    free_names,
)
from rosenblatt.errors import VolumeError


def test_repeated_rows_are_numbered_over_all_parts():
    hashes = np.random.default_rng(0).integers(0, 40, 500).astype(np.uint64)
    identities, counts, expected = RowIdentities(), Counter(), []
    ids = [id_ for part in np.split(hashes, [7, 8, 100, 300]) for id_ in identities.number(part)]
    for hash_ in hashes.tolist():
        counts[hash_] += 1
        expected.append(f"{hash_:016x}" + (f"-{counts[hash_]}" if counts[hash_] > 1 else ""))
    assert ids == expected


def test_no_rows_have_no_ids():
    assert RowIdentities().ids(pl.DataFrame({"a": []})).to_list() == []


@pytest.mark.parametrize(("columns", "given", "expected"), [
    (["a", "id"], None, "id"), (["a", "ID"], None, "ID"), (["ID", "id"], None, "id"), (["a"], None, None),
    (["a", "id"], "a", "a"),
])  # fmt: skip
def test_the_id_column_is_the_given_one_or_is_named_id(columns, given, expected):
    assert find_id_column(columns, given) == expected


@pytest.mark.parametrize("ids", [pl.Series("id", [1, 1]), pl.Series("id", [1, None]), pl.Series("id", [0.5, 1.5])])
def test_a_column_that_does_not_identify_samples_is_noted_or_refused(ids):
    notes = []
    assert not check_ids(ids, None, notes)
    assert len(notes) == 1
    with pytest.raises(VolumeError, match="Column 'id' cannot identify samples"):
        check_ids(ids, "id", notes)


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ([[1, 2], [3], []], None),
        ([["a", "b"], ["c", "a"]], "holds 'a' in more than one row"),
        ([[1, 2, 2], [3]], "holds 2 in more than one row"),
        ([[1, 1], [2, None]], "is empty in 1 of 4 rows"),
        ([[1, None], [None]], "is empty in 2 of 3 rows"),
    ],
)
@pytest.mark.parametrize("has_collisions", [False, True])
def test_a_column_is_checked_over_all_its_parts(monkeypatch, parts, fault, has_collisions):
    if has_collisions:
        monkeypatch.setattr(pl.Series, "hash", lambda self: pl.repeat(7, len(self), dtype=pl.UInt64, eager=True))
    dtype = pl.Series([cell for part in parts for cell in part]).dtype
    notes = []
    assert check_id_parts("x", lambda: [pl.Series(part, dtype=dtype) for part in parts], None, notes) == (not fault)
    assert [f"column 'x' {fault}" in note for note in notes] == [True] * bool(fault)


def test_names_of_the_volume_are_given_to_no_column_of_the_source():
    notes = []
    names = free_names(["pack", "Hash", "x", "pack_source"], ["id", "pack", "hash"], notes)
    assert names == {"pack": "pack_source_source", "Hash": "Hash_source"}
    assert notes == [
        "renamed, as the volume has columns of these names: 'pack' to 'pack_source_source', 'Hash' to 'Hash_source'"
    ]
