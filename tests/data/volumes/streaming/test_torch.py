"""Tests of the datasets for PyTorch: tensors, ranks, workers, exact resume, and workers that cannot run."""

from __future__ import annotations

import os
import pickle
from functools import partial
from itertools import chain, islice
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

import torch
from torch.utils.data import DataLoader

from rosenblatt.data.media.images import encode_image
from rosenblatt.data.volumes.storage.objects import FolderObjects
from rosenblatt.data.volumes.streaming import torch as torch_module
from rosenblatt.data.volumes.streaming.batches import BatchOptions
from rosenblatt.data.volumes.streaming.files import StreamSource
from rosenblatt.data.volumes.streaming.reader import PackReader
from rosenblatt.data.volumes.streaming.torch import SampleDataset, torch_dataset
from rosenblatt.errors import DamagedDataError, VolumeError
from tests.data.volumes.streaming.samples import write_packs

pytestmark = pytest.mark.torch
N = 50


def read_metadata(frame, file, columns):
    return frame.select(columns)


def make_source(frame, reader, **changes) -> StreamSource:
    fields = {
        "name": "photos@2",
        "version": "root",
        "n_rows": [frame.height],
        "n_bytes": [1000],
        "read_metadata": partial(read_metadata, frame),
        "columns": ["id", "label", "weight"],
        "reader": reader,
    }
    return StreamSource(**fields | changes)


def pixels(label: int, size: int = 4) -> np.ndarray:
    return np.full((size, 3, 3), label, np.uint8)


def write_images(root, sizes) -> pl.DataFrame:
    frame = write_packs(root, [encode_image(pixels(label, size)) for label, size in enumerate(sizes)])
    return frame.with_columns(label=pl.int_range(pl.len()), weight=pl.int_range(pl.len()) / 2)


@pytest.fixture
def photos(tmp_path) -> StreamSource:
    return make_source(write_images(tmp_path, [4] * N), PackReader(FolderObjects(tmp_path), None, "photos@2"))


@pytest.fixture
def table() -> StreamSource:
    frame = pl.DataFrame({"id": range(N), "label": range(N), "weight": np.arange(N) / 2})
    return make_source(frame, None)


@pytest.fixture(params=["photos", "table"])
def source(request) -> StreamSource:
    return request.getfixturevalue(request.param)


OPTIONS = BatchOptions(batch_size=8, seed=3)


def labels(loader) -> list[list[int]]:
    return [batch["label"].tolist() for batch in loader]


def as_worker(monkeypatch, worker: int, n_workers: int) -> None:
    monkeypatch.setattr(torch_module, "get_worker_info", lambda: SimpleNamespace(id=worker, num_workers=n_workers))


def test_numbers_and_images_become_tensors(photos):
    dataset = torch_dataset(photos, OPTIONS)
    batches = list(DataLoader(dataset, batch_size=None))
    assert len(dataset) == len(batches) == 7
    for batch in batches:
        assert batch["label"].dtype == torch.int64
        assert torch.equal(batch["weight"], batch["label"] / 2)
        assert batch["id"] == [f"sample {label}" for label in batch["label"].tolist()]
        assert batch["sample"].shape[1:] == (3, 4, 3)
        assert batch["sample"].dtype == torch.uint8
        assert torch.equal(batch["sample"].float().mean(dim=(1, 2, 3)), batch["label"].float())
    assert sorted(chain.from_iterable(labels(batches))) == list(range(N))


def test_images_of_several_sizes_are_a_list_until_they_are_transformed(tmp_path):
    source = make_source(write_images(tmp_path, [4, 5] * 8), PackReader(FolderObjects(tmp_path)))
    (batch,) = torch_dataset(source, BatchOptions(batch_size=16))
    assert {tuple(image.shape) for image in batch["sample"]} == {(3, 4, 3), (3, 5, 3)}
    (batch,) = torch_dataset(source, BatchOptions(batch_size=16), transform=lambda image: image[:, :2] * 2)
    assert batch["sample"].shape == (16, 3, 2, 3)
    assert torch.equal(batch["sample"][:, 0, 0, 0], batch["label"] * 2)


def test_bytes_can_be_left_as_they_are(photos):
    batch = next(iter(torch_dataset(photos, OPTIONS, decode=None)))
    assert batch["sample"][0] == encode_image(pixels(int(batch["label"][0])))


def test_columns_that_are_no_numbers_stay_lists():
    frame = pl.DataFrame({"id": ["a", "b"], "label": [1, None], "weight": [True, False]})
    (batch,) = torch_dataset(make_source(frame, None), BatchOptions(batch_size=2, shuffle=False))
    assert batch["id"] == ["a", "b"]
    assert batch["label"] == [1, None]
    assert batch["weight"].dtype == torch.bool


def test_a_column_with_the_name_of_samples_is_refused(photos):
    source = StreamSource(**{**vars(photos), "columns": ["id", "sample"]})
    with pytest.raises(VolumeError, match="has a column 'sample'"):
        torch_dataset(source, OPTIONS)


def test_ranks_come_from_the_environment(source, monkeypatch):
    expected = [sorted(batch) for batch in labels(torch_dataset(source, OPTIONS))]
    monkeypatch.setenv("WORLD_SIZE", "2")
    ranks = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        ranks.append(labels(torch_dataset(source, OPTIONS)))
    assert [sorted(first + second) for first, second in zip(*ranks, strict=True)] == expected
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(VolumeError, match="RANK and WORLD_SIZE must be integers"):
        next(iter(torch_dataset(source, OPTIONS)))


def test_ranks_come_from_torch_distributed(source, monkeypatch):
    expected = labels(torch_dataset(source, OPTIONS))
    dataset = torch_dataset(source, OPTIONS)
    monkeypatch.setattr(torch_module.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch_module.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch_module.distributed, "get_world_size", lambda: 4)
    copy = pickle.loads(pickle.dumps(dataset))  # for a worker, in which torch.distributed is not initialized
    monkeypatch.undo()
    parts = labels(copy)
    assert [len(part) for part in parts] == [2] * 6 + [1]
    assert all(set(part) < set(batch) for part, batch in zip(parts, expected, strict=True))


def test_workers_yield_the_batches_in_turns(source, monkeypatch):
    expected = labels(torch_dataset(source, OPTIONS))
    dataset, workers = pickle.dumps(torch_dataset(source, OPTIONS)), []
    for worker in range(3):
        as_worker(monkeypatch, worker, 3)
        workers.append(labels(pickle.loads(dataset)))
    assert [workers[number % 3][number // 3] for number in range(7)] == expected
    assert [len(batches) for batches in workers] == [3, 2, 2]


def test_each_epoch_has_its_own_order(source):
    dataset = torch_dataset(source, OPTIONS)
    epochs = [labels(dataset) for _ in range(3)]
    assert epochs[0] != epochs[1]
    for epoch in (2, 0):
        dataset.set_epoch(epoch)
        assert labels(dataset) == epochs[epoch]


def start_worker(dataset):
    """A copy of a dataset in a worker, with which it shares memory."""
    copy = pickle.loads(pickle.dumps(dataset))
    copy._shared = dataset._shared
    return copy


def test_workers_that_live_on_see_the_epoch(source, monkeypatch):
    epochs = [labels(dataset) for dataset in [torch_dataset(source, OPTIONS)] for _ in range(3)]
    dataset = torch_dataset(source, OPTIONS)
    worker = start_worker(dataset)
    as_worker(monkeypatch, 0, 1)
    for epoch in (0, 2, 1):
        dataset.set_epoch(epoch)
        assert labels(worker) == epochs[epoch]


def test_workers_begin_at_the_same_place_however_far_each_came(source, monkeypatch):
    expected = labels(torch_dataset(source, OPTIONS))
    dataset = torch_dataset(source, OPTIONS)
    workers = [start_worker(dataset) for _ in range(2)]
    for n_read in ((4, 1), (0, 9), (9, 9)):
        dataset.set_epoch(0)
        parts = []
        for worker, copy in enumerate(workers):
            as_worker(monkeypatch, worker, 2)
            parts.append(labels(islice(copy, n_read[worker])))
        assert parts == [expected[worker::2][: n_read[worker]] for worker in range(2)]


def test_a_loop_of_workers_with_the_same_epoch_as_before_is_noticed(source, monkeypatch):
    dataset = torch_dataset(source, OPTIONS)
    as_worker(monkeypatch, 0, 1)
    dataset.set_epoch(1)
    first = labels(start_worker(dataset))
    with pytest.warns(UserWarning, match=r"Call set_epoch of the dataset before each epoch"):
        assert labels(start_worker(dataset)) == first
    dataset.set_epoch(2)
    assert labels(start_worker(dataset)) != first


def test_training_continues_where_it_was_left(source):
    expected = labels(torch_dataset(source, OPTIONS))
    dataset = torch_dataset(source, OPTIONS)
    for number, _ in enumerate(dataset, 1):
        if number == 3:
            state = pickle.loads(pickle.dumps(dataset.state_dict()))
            break
    resumed = torch_dataset(source, OPTIONS)
    resumed.load_state_dict(state)
    resumed.set_epoch(0)  # as loops over epochs do
    assert labels(resumed) == expected[3:]
    resumed.set_epoch(1)
    assert len(labels(resumed)) == 7


def test_training_with_workers_continues_after_so_many_batches(source, monkeypatch):
    dataset = torch_dataset(source, OPTIONS)
    expected = [labels(dataset) for _ in range(2)][1]
    dataset = torch_dataset(source, OPTIONS)
    dataset.set_epoch(1)
    state = dataset.state_dict(n_batches=3)
    assert (state["epoch"], state["position"]) == (1, 24)
    resumed = torch_dataset(source, OPTIONS)
    resumed.load_state_dict(state)
    dumped, workers = pickle.dumps(resumed), []
    for worker in range(2):
        as_worker(monkeypatch, worker, 2)
        workers.append(labels(pickle.loads(dumped)))
    assert [workers[number % 2][number // 2] for number in range(4)] == expected[3:]
    with pytest.raises(VolumeError, match="omit n_batches"):
        list(dataset) and dataset.state_dict(n_batches=3)


def test_a_state_of_another_order_is_refused(source):
    dataset = torch_dataset(source, OPTIONS)
    with pytest.raises(VolumeError, match="its seed is 4"):
        dataset.load_state_dict(dataset.state_dict() | {"seed": 4})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # of torchdata
@pytest.mark.parametrize("class_name", ["DataLoader", "StatefulDataLoader"])
def test_workers_of_other_processes_read_each_sample_once_and_in_order(photos, class_name):
    loader_class = DataLoader
    if class_name == "StatefulDataLoader":
        loader_class = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    expected = labels(torch_dataset(photos, OPTIONS))

    def make_loader():
        dataset = torch_dataset(photos, OPTIONS)
        return loader_class(dataset, batch_size=None, num_workers=2, multiprocessing_context="spawn")

    loader = make_loader()
    if class_name == "DataLoader":
        assert labels(loader) == expected
        return
    batches = iter(loader)
    assert labels(next(batches) for _ in range(3)) == expected[:3]
    state = loader.state_dict()
    del batches
    resumed = make_loader()
    resumed.load_state_dict(state)
    resumed.dataset.set_epoch(0)
    assert labels(resumed) == expected[3:]


@pytest.mark.parametrize("make", [lambda source: torch_dataset(source, OPTIONS), SampleDataset])
def test_workers_that_were_forked_are_refused(source, monkeypatch, make):
    dataset = make(source)
    as_worker(monkeypatch, 0, 1)
    monkeypatch.setattr(torch_module.os, "getpid", os.getppid)
    with pytest.raises(VolumeError, match=r"forked.*multiprocessing_context='spawn'"):
        dataset[0] if isinstance(dataset, SampleDataset) else next(iter(dataset))


def test_samples_are_accessed_by_index(photos, table):
    dataset = pickle.loads(pickle.dumps(SampleDataset(photos, transform=torch.Tensor.float)))
    assert len(dataset) == N
    for index in (0, 17, N - 1):
        sample = dataset[index]
        assert sample["label"] == index
        assert sample["sample"].dtype == torch.float32
        assert sample["sample"].mean() == index
    assert SampleDataset(table)[3] == {"id": 3, "label": 3, "weight": 1.5}
    assert SampleDataset(photos, decode=None)[2]["sample"] == encode_image(pixels(2))
    loaded = next(iter(DataLoader(dataset, batch_size=4)))
    assert loaded["sample"].shape == (4, 3, 4, 3)
    with pytest.raises(IndexError):
        dataset[N]


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    frame = write_packs(tmp_path, [b"no image"]).with_columns(label=1, weight=1.0)
    source = make_source(frame, PackReader(FolderObjects(tmp_path)))
    with pytest.raises(DamagedDataError, match="photos@2: sample 'sample 0' cannot be decoded: not an image"):
        SampleDataset(source)[0]
    with pytest.raises(DamagedDataError, match="photos@2: sample 'sample 0' cannot be decoded: not an image"):
        next(iter(torch_dataset(source, OPTIONS)))
