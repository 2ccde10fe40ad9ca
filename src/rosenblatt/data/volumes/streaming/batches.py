"""Batches of samples in the order of an epoch, fetched and decoded ahead of training."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, get_args
from weakref import ref

import numpy as np
import polars as pl

from rosenblatt.data.cores import cores
from rosenblatt.data.volumes.columns import ID
from rosenblatt.data.volumes.streaming.damage import DAMAGE_POLICIES, DamagedSample, DamageLog, DamagePolicy
from rosenblatt.data.volumes.streaming.files import FileLoader, LoadedGroup, StreamSource
from rosenblatt.data.volumes.streaming.order import BatchCut, OrderSettings, SampleOrder
from rosenblatt.data.volumes.streaming.windows import FETCH_THREADS, OpenWindow, WindowStream
from rosenblatt.errors import DamagedDataError, Notify, VolumeError

LastBatch = Literal["keep", "drop", "pad"]
Decode = Callable[[memoryview], Any]
DECODED_BATCHES = 4  # ahead of training
DECODE_CHUNK = 16  # samples that a thread decodes at a time


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How samples are batched.

    Args:
        batch_size: samples of a global batch, which all ranks share.
        seed: of the order.
        shuffle: False for the order of the version.
        window_bytes: bytes of packs that are shuffled together; the cache must hold three windows.
        last: what happens to an incomplete last batch: "keep" it, "drop" it, or "pad" it with its own samples. Each
            rank always gets the same number of batches; with "keep", one may be empty for some ranks.
        rank, n_ranks: this process, and how many share the global batches.
        worker, n_workers: of this process, such as a DataLoader's: each gets every n-th batch of the rank.
        decode: called with the bytes of each sample, in threads.
        on_damage: for samples that are damaged or that `decode` fails for: "raise" an error, "skip" them, so that
            their batches are smaller, or "replace" them by the nearest good sample of their batch.
        n_threads: that fetch packs.
        n_decode_threads: by default as many as there are cores.
        notify: receives the summary of damaged samples at the end of an epoch; a warning by default.
    """

    batch_size: int
    seed: int = 0
    shuffle: bool = True
    window_bytes: int = 1 << 30
    last: LastBatch = "keep"
    rank: int = 0
    n_ranks: int = 1
    worker: int = 0
    n_workers: int = 1
    decode: Decode | None = None
    on_damage: DamagePolicy = "raise"
    n_threads: int = FETCH_THREADS
    n_decode_threads: int | None = None
    notify: Notify = warnings.warn

    def __post_init__(self) -> None:
        limits = {"rank": self.n_ranks, "worker": self.n_workers}
        for name in ("batch_size", "window_bytes", "n_ranks", "n_workers", "n_threads", "rank", "worker", "seed"):
            value, low = getattr(self, name), 0 if name in limits else 1
            is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not is_integer or (name != "seed" and not low <= value < limits.get(name, math.inf)):
                limit = f" and less than {limits[name]}" if name in limits else ""
                expected = "an integer" if name == "seed" else f"an integer of at least {low}{limit}"
                raise VolumeError(f"{name} is {value!r}; expected {expected}.")
        for name, choices in (("last", get_args(LastBatch)), ("on_damage", DAMAGE_POLICIES)):
            if getattr(self, name) not in choices:
                raise VolumeError(f"{name} is {getattr(self, name)!r}; expected {', '.join(map(repr, choices))}.")


@dataclass(frozen=True)
class SampleBatch:
    """Samples of one step.

    `samples` are decoded values, or the bytes of samples as views of mapped packs, which stay in the cache as long as
    a view is left; None if samples are rows without bytes.
    """

    epoch: int
    end: int  # position in the epoch of the first sample after the global batch
    positions: np.ndarray  # of the samples in the epoch
    samples: list[Any] | None
    parts: tuple[tuple[LoadedGroup, np.ndarray], ...]  # rows of the metadata
    damage: dict[int, Exception]  # errors of samples that the policy has not been applied to, by their index
    chosen: list[int] | None = None  # of the rows, where samples were left out or repeated

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The metadata of the samples."""
        frames = [group.frame[rows] for group, rows in self.parts]
        frame = pl.concat(frames) if len(frames) > 1 else frames[0]
        return frame if self.chosen is None else frame[self.chosen]

    def choose(self, indices: list[int]) -> SampleBatch:
        """A batch of some of the samples."""
        return SampleBatch(
            self.epoch,
            self.end,
            self.positions[indices],
            None if self.samples is None else [self.samples[index] for index in indices],
            self.parts,
            {new: self.damage[old] for new, old in enumerate(indices) if old in self.damage},
            indices if self.chosen is None else [self.chosen[index] for index in indices],
        )


class Batches:
    """Batches of a version or selection, epoch by epoch.

        batches = Batches(source, BatchOptions(batch_size=64, seed=7))
        for epoch in range(3):
            for batch in batches:
                batch.frame["label"], batch.samples

    Each loop continues at the current epoch and position, and ends with the epoch; the next loop is the next epoch.
    `state_dict` has the global position, which `load_state_dict` continues from, also with another number of ranks.
    """

    def __init__(self, source: StreamSource, options: BatchOptions) -> None:
        if options.decode and source.reader is None:
            raise VolumeError(f"The samples of {source.name} are rows without bytes, so there is nothing to decode.")
        self.source, self.options = source, options
        settings = OrderSettings(source.version, options.seed, options.shuffle, options.window_bytes)
        self._order = SampleOrder(source.n_selected, source.n_bytes, settings)
        self._loader = FileLoader(source)
        self.epoch, self.position = 0, 0
        self._first = 0  # position of the first batch of the current loop
        self._loop: ref[Generator[SampleBatch]] | None = None  # weak, so that it ends when it is left
        self._whole_epoch: OpenWindow | None = None  # its packs stay open for the next epoch
        n_own = -(-source.n_samples // (options.n_ranks * options.n_workers))
        self._damage = DamageLog(source.name, options.on_damage, n_own)

    @property
    def damaged(self) -> list[DamagedSample]:
        """All samples so far that were left out or replaced."""
        return self._damage.samples

    def __len__(self) -> int:
        """Number of global batches of an epoch."""
        return self._n_batches(0)

    def _n_batches(self, first: int) -> int:
        n = max(self._order.n_samples - first, 0)
        return n // self.options.batch_size if self.options.last == "drop" else -(-n // self.options.batch_size)

    def __iter__(self) -> Iterator[SampleBatch]:
        self.close()
        batches = self._run()
        self._loop = ref(batches)
        return batches

    def close(self) -> None:
        """End the current loop and its threads."""
        if self._loop and (loop := self._loop()):
            loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch with the next loop; within the current epoch, the position stays."""
        self.close()
        if epoch != self.epoch:
            self.epoch, self.position, self._first = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch, and what the order depends on."""
        place = {
            "epoch": self.epoch,
            "position": self.position,
            "first": self._first,
            "n_workers": self.options.n_workers,
        }
        return place | self._identity()

    def _identity(self) -> dict[str, Any]:
        options = self.options
        return {
            "version": self.source.version,
            "n_samples": self.source.n_samples,
            "selection": self.source.selection_hash,
            "seed": options.seed,
            "shuffle": options.shuffle,
            "window_bytes": options.window_bytes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state. Raises VolumeError if its order was another one."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise VolumeError(
                    f"The state of {self.source.name} cannot be continued: its {name} is {state.get(name)!r}, and this "
                    f"one's {value!r}. Use the same version, query and options."
                )
        self.close()
        self.epoch, self.position = state["epoch"], state["position"]
        has_same_workers = state.get("n_workers") == self.options.n_workers > 1
        self._first = state["first"] if has_same_workers else self.position

    def _run(self) -> Generator[SampleBatch]:
        """Yield the rest of the epoch. The position moves on when a batch is handed over."""
        raw = self._raw_batches()
        with closing(self._decoded(raw) if self.options.decode else raw) as batches:
            for batch in batches:
                usable = self._without_damage(batch) if batch.damage else batch
                self.position = batch.end
                yield usable
        self.epoch, self.position, self._first = self.epoch + 1, 0, 0
        self._damage.end_epoch(self.options.notify)

    def _raw_batches(self) -> Generator[SampleBatch]:
        """Yield the batches of this process, with views of their bytes."""
        options, first, n_batches = self.options, self._first, self._n_batches(self._first)
        size, end = options.batch_size, min(first + n_batches * options.batch_size, self._order.n_samples)
        number = -((first - self.position) // size)
        number += (options.worker - number) % options.n_workers
        stream = WindowStream(self._loader, self._order, self._cut(end), options.n_threads)
        parts = list[tuple[OpenWindow, slice]]()
        with closing(stream.open(self.epoch, first + number * size)) as windows:
            while number < n_batches:
                window = next(windows)
                self._whole_epoch = window if window.is_whole_epoch else None
                while number < n_batches and (start := first + number * size) < window.end:
                    stop = min(start + size, end)
                    parts.append((window, slice(*np.searchsorted(window.positions, (start, stop)).tolist())))
                    if window.end < stop:
                        break
                    yield self._assemble(parts, stop, stop - start)
                    parts, number = [], number + options.n_workers

    def _cut(self, end: int) -> BatchCut:
        options = self.options
        ranks = options.rank, options.n_ranks, options.worker, options.n_workers
        return BatchCut(end, options.batch_size, self._first, *ranks, has_whole_last=options.last == "pad")

    def _assemble(self, parts: list[tuple[OpenWindow, slice]], end: int, n_global: int) -> SampleBatch:
        """Put together what a rank gets of a global batch from one or more windows."""
        positions = np.concatenate([window.positions[indices] for window, indices in parts])
        samples, damage = list[Any](), dict[int, Exception]()
        for window, indices in parts if self.source.reader else ():
            if window.damage:
                n_before = len(samples) - indices.start
                damage |= {
                    n_before + i: window.damage[i] for i in range(indices.start, indices.stop) if i in window.damage
                }
            samples += window.views(indices)
        rows = tuple((window.group, window.rows[indices]) for window, indices in parts)
        batch = SampleBatch(self.epoch, end, positions, samples if self.source.reader else None, rows, damage)
        if self.options.last == "pad" and n_global < self.options.batch_size:
            slots = np.arange(self.options.rank, self.options.batch_size, self.options.n_ranks) % n_global
            return batch.choose(slots.tolist())
        return batch

    def _decoded(self, raw: Generator[SampleBatch]) -> Generator[SampleBatch]:
        """Decode some batches ahead."""
        n_chunks = -(-self.options.batch_size // (DECODE_CHUNK * self.options.n_ranks))
        n_threads = self.options.n_decode_threads or cores()
        n_ahead = max(DECODED_BATCHES, 2 * n_threads // n_chunks)
        pool, pending = ThreadPoolExecutor(n_threads, "decode"), deque[tuple[SampleBatch, list[Future[None]]]]()
        try:
            for batch in raw:
                chunks = range(0, len(batch), DECODE_CHUNK)
                pending.append((batch, [pool.submit(self._decode, batch, first) for first in chunks]))
                if len(pending) > n_ahead:
                    yield _wait_for(*pending.popleft())
            while pending:
                yield _wait_for(*pending.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
            raw.close()

    def _decode(self, batch: SampleBatch, first: int) -> None:
        """Decode some samples of a batch in place."""
        decode, samples = self.options.decode, batch.samples
        if decode is None or samples is None:
            return
        for index in range(first, min(first + DECODE_CHUNK, len(samples))):
            if index not in batch.damage:
                try:
                    samples[index] = decode(samples[index])
                except MemoryError:
                    raise
                except Exception as error:  # noqa: BLE001 - of any decoder; the policy decides
                    batch.damage[index] = error

    def _without_damage(self, batch: SampleBatch) -> SampleBatch:
        """Apply the policy to the damaged samples of a batch."""
        ids = batch.frame[ID] if ID in batch.frame.columns else batch.positions
        damage = dict[int, DamagedSample]()
        for index, error in sorted(batch.damage.items()):
            reason = str(error)
            if not isinstance(error, DamagedDataError):
                reason = (
                    f"{self.source.name}: sample {ids[index]!r} cannot be decoded: {reason or type(error).__name__}"
                )
            damage[index] = DamagedSample(batch.epoch, int(batch.positions[index]), ids[index], reason)
        try:
            return batch.choose(self._damage.choose(len(batch), damage))
        except DamagedDataError as error:
            raise error from batch.damage[min(batch.damage)]


def _wait_for(batch: SampleBatch, chunks: list[Future[None]]) -> SampleBatch:
    for chunk in chunks:
        chunk.result()
    return batch
