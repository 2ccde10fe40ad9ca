"""Volumes as datasets of PyTorch: a stream of batches, and random access to samples."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from rosenblatt.data.media.images import DamagedError, read_image
from rosenblatt.data.volumes.columns import ID
from rosenblatt.data.volumes.streaming.batches import Batches, BatchOptions, Decode, SampleBatch
from rosenblatt.data.volumes.streaming.files import SampleAccess, StreamSource
from rosenblatt.errors import DamagedDataError, VolumeError

SAMPLE_KEY = "sample"  # of what is decoded from the bytes of a sample, beside the columns of its metadata


def decode_image(content: memoryview) -> Tensor:
    """Decode an image as a tensor (C, H, W), of uint8 for most formats. Raises DamagedError."""
    return torch.from_numpy(np.array(read_image(bytes(content)).transpose(2, 0, 1), order="C"))


def torch_dataset(
    source: StreamSource,
    options: BatchOptions,
    *,
    decode: Decode | None = decode_image,
    transform: Callable[[Any], Any] | None = None,
) -> BatchDataset:
    """Make a dataset that streams the batches of a version or selection.

        dataset = torch_dataset(source, BatchOptions(batch_size=64, seed=7))
        for epoch in range(10):
            dataset.set_epoch(epoch)
            for batch in DataLoader(dataset, batch_size=None):
                batch["sample"], batch["label"]

    Args:
        source: what is streamed.
        options: `batch_size` is that of a global batch, which all ranks share. Ranks come from `torch.distributed`, or
            RANK and WORLD_SIZE, unless `n_ranks` is given; workers from the DataLoader.
        decode: makes a value of the bytes of a sample; images are decoded by default. None for the bytes.
        transform: applied to each decoded value, in the threads that decode.
    """
    steps = [step for step in (decode, transform) if step] if source.reader else []
    return BatchDataset(source, replace(options, decode=_Chain(steps) if steps else None))


class _Chain:
    """Functions that are applied one after the other; unlike a closure, it can be sent to workers."""

    def __init__(self, steps: Sequence[Callable[[Any], Any]]) -> None:
        self.steps = steps

    def __call__(self, value: Any) -> Any:
        for step in self.steps:
            value = step(value)
        return value


class BatchDataset(IterableDataset[dict[str, Any]]):
    """Batches in the order of an epoch, as dictionaries of columns; pass `batch_size=None` to the DataLoader.

    Numbers are tensors, other columns lists. Decoded samples are under the key "sample", stacked if all have one shape.
    Each worker of a DataLoader yields every n-th batch, so that the loader yields them in their global order. Workers
    must be started by "spawn" or "forkserver"; since samples are decoded in threads, `num_workers=0` is often as fast.

    Call `set_epoch` before each epoch: workers begin each loop at the epoch that was set last, or at the state that was
    loaded. `state_dict` and `load_state_dict` work with torchdata's StatefulDataLoader, and by themselves without
    workers. For a DataLoader with workers, which read ahead, pass the number of batches that were used:
    `dataset.state_dict(n_batches)`.
    """

    def __init__(self, source: StreamSource, options: BatchOptions) -> None:
        if SAMPLE_KEY in source.columns and source.reader:
            raise VolumeError(f"{source.name} has a column {SAMPLE_KEY!r}, as samples are named. Select other columns.")
        self.source, self._options = source, options
        self._state = Batches(source, options).state_dict()  # where workers begin
        self._batches: Batches | None = None
        shared: Any = torch.zeros(3, dtype=torch.int64)
        self._shared = shared.share_memory_()  # with workers: the epoch set last, how often, and at the last loop
        self._n_set = 0
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        self._find_ranks()
        return self.__dict__ | {"_batches": None, "_state": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._process = os.getpid()

    def _find_ranks(self) -> None:
        if self._options.n_ranks == 1:
            rank, n_ranks = _rank()
            self._options = replace(self._options, rank=rank, n_ranks=n_ranks)

    def __len__(self) -> int:
        """Number of batches of an epoch, for this rank."""
        return len(Batches(self.source, self._options))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if worker := get_worker_info():
            self._begin_worker(worker.id, worker.num_workers)
        elif self._batches is None:
            self._find_ranks()
            self._batches = Batches(self.source, self._options)
            self._batches.load_state_dict(self._first_state())
        elif self._is_epoch_set:
            self._batches.set_epoch(int(self._shared[0]))
        self._n_set = int(self._shared[1])
        for batch in self._batches or ():
            yield collate(batch)

    def _begin_worker(self, worker: int, n_workers: int) -> None:
        """Begin a loop of a worker at the same place as the others, however far each came before."""
        _check_fork(self._process)
        n_set = int(self._shared[1])
        if worker == 0 and int(self._shared[2]) == n_set + 1:
            warnings.warn(
                f"{self.source.name}: this loop has the samples and the order of the one before. Call set_epoch of the "
                "dataset before each epoch.",
                stacklevel=2,
            )
        if worker == 0:
            self._shared[2] = n_set + 1
        self._state = self._first_state()
        options = replace(self._options, worker=worker, n_workers=n_workers, n_decode_threads=1)
        self._batches = Batches(self.source, options)
        self._batches.load_state_dict(self._state)

    @property
    def _is_epoch_set(self) -> bool:
        """Whether the epoch was set since the last loop began here, or the last state was loaded."""
        return int(self._shared[1]) != self._n_set

    def _first_state(self) -> dict[str, Any]:
        """Where a loop begins: at the state that was loaded, or at the epoch that was set since."""
        epoch = int(self._shared[0])
        if self._is_epoch_set and epoch != self._state["epoch"]:
            return self._state | {"epoch": epoch, "position": 0, "first": 0}
        return self._state

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch with the next loop; if it is that of the state that was loaded, at the state's position."""
        self._shared[0] = epoch
        self._shared[1] += 1

    def state_dict(self, n_batches: int | None = None) -> dict[str, Any]:
        """The position after the last batch.

        Args:
            n_batches: used since the last state was loaded or epoch set, for a DataLoader with workers.
        """
        if self._batches is not None:
            if n_batches is not None:
                raise VolumeError("The dataset has counted its batches itself: omit n_batches.")
            return self._batches.state_dict()
        state = self._first_state()
        position = state["position"] + (n_batches or 0) * self._options.batch_size
        return state | {"position": min(position, self.source.n_samples)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state with the next loop. Raises VolumeError if its order was another one."""
        Batches(self.source, self._options).load_state_dict(state)
        self._state, self._n_set = state, int(self._shared[1])
        if self._batches is not None:
            self._batches.load_state_dict(state)


class SampleDataset(Dataset[dict[str, Any]]):
    """Random access to samples, as dictionaries of their metadata and, under "sample", what is decoded.

    Args:
        source: a version or selection.
        decode: makes a value of the bytes of a sample; images are decoded by default. None for the bytes.
        transform: applied to each decoded value.
    """

    def __init__(
        self,
        source: StreamSource,
        decode: Decode | None = decode_image,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.source, self._decode = source, _Chain([step for step in (decode, transform) if step])
        self._access = SampleAccess(source)
        self._process = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleDataset, (self.source, self._decode)

    def __len__(self) -> int:
        return len(self._access)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read and decode a sample. Raises DamagedDataError."""
        if get_worker_info() is not None:
            _check_fork(self._process)
        row = self._access.row(index)
        if self.source.reader is None:
            return row
        try:
            sample = self._decode(self._access.content(index))
        except DamagedError as error:
            name = repr(row.get(ID, index))
            raise DamagedDataError(f"{self.source.name}: sample {name} cannot be decoded: {error}") from error
        return row | {SAMPLE_KEY: bytes(sample) if isinstance(sample, memoryview) else sample}


def collate(batch: SampleBatch) -> dict[str, Any]:
    """Make tensors of a batch: numbers of its metadata, and samples of one shape."""
    columns = {column.name: _as_tensor(column) for column in batch.frame}
    if batch.samples is None:
        return columns
    samples: list[Any] = [bytes(sample) if isinstance(sample, memoryview) else sample for sample in batch.samples]
    shapes = {(sample.shape, sample.dtype) if isinstance(sample, Tensor) else None for sample in samples}
    is_uniform = len(shapes) == 1 and None not in shapes
    return columns | {SAMPLE_KEY: torch.stack(samples) if is_uniform else samples}


def _as_tensor(column: pl.Series) -> Tensor | list[Any]:
    if column.null_count() or not (column.dtype.is_integer() or column.dtype.is_float() or column.dtype == pl.Boolean):
        return column.to_list()
    return torch.from_numpy(np.array(column.to_numpy()))


def _rank() -> tuple[int, int]:
    """This process among those that train together, and their number."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    try:
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        raise VolumeError("RANK and WORLD_SIZE must be integers, as torchrun sets them.") from None


def _check_fork(process: int) -> None:
    """Refuse workers that were forked: threads of Polars and obstore do not live on in them, so they would hang."""
    if process != os.getpid():
        raise VolumeError(
            "Workers of this DataLoader were forked, in which Polars cannot run. Pass "
            "multiprocessing_context='spawn' to the DataLoader, or num_workers=0: samples are decoded in threads."
        )
