"""Tests of metadata files in memory, and of random access to samples."""

from __future__ import annotations

import numpy as np
import pytest

from rosenblatt.data.volumes.storage.objects import FolderObjects
from rosenblatt.data.volumes.streaming import files as files_module
from rosenblatt.data.volumes.streaming.batches import Batches
from rosenblatt.data.volumes.streaming.files import SampleAccess, StreamSource
from rosenblatt.data.volumes.streaming.reader import PackReader
from tests.data.volumes.streaming.samples import CONTENTS, flatten, labels, make_source, options


def test_metadata_that_was_used_lately_is_not_read_again(frames, root, monkeypatch):
    reads = []
    source = make_source(frames, PackReader(FolderObjects(root), None))
    source = StreamSource(
        **{**vars(source), "read_metadata": lambda file, columns: reads.append(file) or frames[file].select(columns)}
    )
    batches = Batches(source, options())
    for _ in range(3):
        list(batches)
    assert sorted(reads) == [0, 1, 2]
    monkeypatch.setattr(files_module, "MAX_LOADED_ROWS", 1)
    batches = Batches(source, options())
    for _ in range(2):
        assert sorted(flatten(labels(batches))) == list(range(130))


def test_samples_are_accessed_by_their_position(source):
    access = SampleAccess(source)
    assert len(access) == 130
    for index in (0, 39, 40, 69, 70, 129, -1):
        label = index % 130
        assert access.row(index)["label"] == label
        if source.reader:
            assert bytes(access.content(index)) == CONTENTS[label]
    with pytest.raises(IndexError, match=r"photos@2 has 130 samples"):
        access.row(130)


def test_a_selection_is_accessed_by_its_own_positions(photos):
    selection = [np.array([3, 1]), np.zeros(0, np.int64), np.array([59])]
    access = SampleAccess(StreamSource(**{**vars(photos), "selection": selection}))
    assert [bytes(access.content(index)) for index in range(3)] == [CONTENTS[i] for i in (3, 1, 129)]


def test_rows_have_no_bytes_to_access(frames):
    with pytest.raises(TypeError, match="without further bytes"):
        SampleAccess(make_source(frames, None)).content(0)
