from __future__ import annotations

import tempfile

import numpy as np
import pytest

from rosenblatt.data.volumes.storage import hash_index
from rosenblatt.data.volumes.storage.hash_index import HashIndex
from rosenblatt.errors import StorageError


def random_files(n_files: int, n_hashes: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**64, n_hashes, dtype=np.uint64)
    return [rng.choice(values, rng.integers(0, 30)) for _ in range(n_files)]


def found(index: HashIndex, hashes: np.ndarray) -> list[tuple[int, int, int]]:
    return [
        (match.file, query, row)
        for match in index.find(hashes)
        for query, row in zip(match.queries.tolist(), match.rows.tolist(), strict=True)
    ]


def expected(files: list[np.ndarray], hashes: np.ndarray) -> set[tuple[int, int, int]]:
    return {
        (file, query, row)
        for file, content in enumerate(files)
        for query, hash_ in enumerate(hashes)
        for row in np.flatnonzero(content == hash_).tolist()
    }


@pytest.fixture(params=[False, True], ids=["in memory", "in files"])
def limits(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(hash_index, "MAX_MEMORY_ROWS", 7)
        monkeypatch.setattr(hash_index, "MAX_MAPPED_ROWS", 5)
        monkeypatch.setattr(hash_index, "MAX_MAPPED_LOOKUPS", 3)
        monkeypatch.setattr(hash_index, "FAN_IN", 2)


@pytest.mark.parametrize(("n_files", "n_hashes"), [(0, 5), (1, 5), (9, 3), (40, 1000)])
@pytest.mark.parametrize("is_optimized", [False, True])
def test_every_row_with_a_hash_is_found_once_and_file_by_file(limits, n_files, n_hashes, is_optimized):
    files, index = random_files(n_files, n_hashes), HashIndex()
    for content in files:
        index.add(content, np.arange(len(content)))
    if is_optimized:
        index.optimize()
    hashes = np.concatenate([*files, np.array([0, 2**64 - 1], np.uint64)])[::-1]
    matches = found(index, hashes)
    assert len(matches) == len(set(matches))
    assert set(matches) == expected(files, hashes)
    assert [match.file for match in index.find(hashes)] == sorted({file for file, _, _ in matches})
    assert index.contains(hashes).tolist() == [any((content == h).any() for content in files) for h in hashes]


def test_rows_can_be_added_after_others_were_looked_for(limits):
    index, files = HashIndex(), random_files(12, 50)
    for n, content in enumerate(files, 1):
        index.add(content, np.arange(len(content)))
        assert set(found(index, content)) == expected(files[:n], content)
        if n == 6:
            index.optimize()


def test_the_rows_of_a_file_may_be_some_of_its_rows():
    index = HashIndex()
    index.add(np.array([5, 3], np.uint64), np.array([7, 2]))
    assert set(found(index, np.array([3, 4, 5], np.uint64))) == {(0, 0, 2), (0, 2, 7)}


def test_hashes_of_several_rows_are_told(limits):
    index, files = HashIndex(), random_files(9, 60)
    for content in files:
        index.add(content, np.arange(len(content)))
    index.optimize()
    hashes, counts = np.unique(np.concatenate(files), return_counts=True)
    assert np.unique(np.concatenate(list(index.repeated()))).tolist() == hashes[counts > 1].tolist()


def test_a_folder_of_temporary_files_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(hash_index, "MAX_MEMORY_ROWS", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    index = HashIndex()
    for k in range(2):
        index.add(np.array([k], np.uint64), np.arange(1))
    with pytest.raises(StorageError, match=r"Temporary files cannot be written to '.*missing'.*TMPDIR"):
        index.optimize()
