"""Read samples in order: small ones that are in memory one after the other, others ahead in threads.

Threads help where reading waits for a disk or a network, or copies and hashes many bytes. Else they are slower than a
plain loop, as each call of the operating system hands Python's global lock to another thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from rosenblatt.data.cores import cores
from rosenblatt.data.volumes.columns import LENGTH
from rosenblatt.data.volumes.sources.source import Contents
from rosenblatt.data.volumes.storage.packs import MAX_SAMPLE_BYTES, content_hashes
from rosenblatt.errors import VolumeError

READERS_PER_CORE = 4  # threads that wait for disks and networks
MAX_TASK_SAMPLES, MAX_TASK_BYTES = 32, 4 << 20  # that one thread reads at a time
MAX_LOOP_SAMPLES, MAX_LOOP_SECONDS = 1024, 0.02  # that the loop reads at a time
MAX_LOOP_SAMPLE_BYTES = 16 << 10  # mean size up to which threads would not be faster
MIN_WAIT_RATIO = 4.0  # of elapsed to processor time, from which reading waits
MIN_WAITS = 3  # in a row, as the loop also waits when other programs use the processor
THREAD_SAMPLES = 1 << 14  # that threads read until the loop is tried again

Inspect = Callable[[bytes], Mapping[str, Any]]


class ReadSamples(NamedTuple):
    """Consecutive samples that were read."""

    rows: Sequence[int]
    contents: list[bytes]
    hashes: list[str]
    cells: list[Mapping[str, Any]]  # from inspection


class SampleReader:
    """Reads, hashes and inspects samples.

    Args:
        inspect: returns further columns from the bytes of a sample.
    """

    def __init__(self, inspect: Inspect) -> None:
        self._inspect = inspect
        self._n_threads = READERS_PER_CORE * cores()
        self._pool = ThreadPoolExecutor(self._n_threads, thread_name_prefix="reading")
        self._n_for_threads = 0  # samples that threads read next
        self._n_waits = 0  # of the loop, without any that it did not wait in between

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(cancel_futures=True)

    def read(self, contents: Contents, rows: Sequence[int]) -> Iterator[ReadSamples]:
        """Read samples, in order. Raises VolumeError or StorageError if one cannot be read."""
        position = 0
        while position < len(rows):
            if self._n_for_threads > 0:
                part = rows[position : position + self._n_for_threads]
                self._n_for_threads -= len(part)
                position += len(part)
                yield from self._read_in_threads(contents, part)
            else:
                samples = self._read_in_loop(contents, rows[position : position + MAX_LOOP_SAMPLES])
                position += len(samples.rows)
                yield samples

    def _read_in_loop(self, contents: Contents, rows: Sequence[int]) -> ReadSamples:
        """Read some samples, fewer if that takes long, and decide how the next ones are read."""
        started, processor_started, parts = time.perf_counter(), time.thread_time(), list[bytes]()
        for row in rows:
            parts.append(_read(contents, row))
            if time.perf_counter() - started > MAX_LOOP_SECONDS:
                break
        elapsed, worked = time.perf_counter() - started, time.thread_time() - processor_started
        self._n_waits = self._n_waits + 1 if elapsed > MIN_WAIT_RATIO * worked else 0
        if self._n_waits >= MIN_WAITS or sum(map(len, parts)) > MAX_LOOP_SAMPLE_BYTES * len(parts):
            self._n_for_threads = THREAD_SAMPLES
        return self._finish(rows[: len(parts)], parts)

    def _read_in_threads(self, contents: Contents, rows: Sequence[int]) -> Iterator[ReadSamples]:
        """Read samples some tasks ahead."""

        def read(task: list[int]) -> ReadSamples:
            return self._finish(task, [_read(contents, row) for row in task])

        pending = deque[Future[ReadSamples]]()
        for task in _tasks(contents, rows):
            pending.append(self._pool.submit(read, task))
            if len(pending) >= self._n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _finish(self, rows: Sequence[int], parts: list[bytes]) -> ReadSamples:
        return ReadSamples(rows, parts, content_hashes(parts), [self._inspect(part) for part in parts])


def _read(contents: Contents, row: int) -> bytes:
    content = contents.read(row)
    if len(content) > MAX_SAMPLE_BYTES:
        raise VolumeError(
            f"{contents.name(row)} has {len(content):,} bytes, more than the {MAX_SAMPLE_BYTES:,} of the largest "
            "sample. Split it."
        )
    return content


def _tasks(contents: Contents, rows: Sequence[int]) -> Iterator[list[int]]:
    """Group samples so that a thread reads few large or many small ones at a time."""
    sizes = None if contents.stats is None else contents.stats[LENGTH].to_list()
    task, n_bytes = list[int](), 0
    for row in rows:
        task.append(row)
        n_bytes += MAX_TASK_BYTES // 4 if sizes is None else sizes[row]
        if n_bytes >= MAX_TASK_BYTES or len(task) >= MAX_TASK_SAMPLES:
            yield task
            task, n_bytes = [], 0
    if task:
        yield task
