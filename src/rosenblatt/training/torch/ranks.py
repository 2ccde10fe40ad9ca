"""Ranks that train one network together: rendezvous, sums and copies of tensors between them, and loss of a rank.

Each rank is a process of its own, usually one for each machine. A process that lost a rank has to end by `os._exit`,
because gloo cannot give up an operation. The store of the rendezvous and the connections of gloo listen on the address
of the rank only; they are not encrypted.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from threading import Event, Thread
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import _distributed_c10d as c10d

from rosenblatt.errors import join_names

HEARTBEAT_INTERVAL_S = 1.0  # seconds between two signs of life of a rank
LOST_AFTER_S = 10.0  # seconds without a sign of life, after which a rank is lost
WAIT_INTERVAL_S = 0.5  # seconds of waiting for the other ranks between two looks at their signs of life
RENDEZVOUS_TIMEOUT_S = 15.0  # seconds in which all ranks have to connect
OPERATION_TIMEOUT_S = 7 * 24 * 3600  # seconds of a collective operation; that a rank is lost is noticed much earlier
POLL_INTERVAL_S = 5e-5  # seconds between two looks at an operation of a GPU

# Groups with an operation that waits for a lost rank: deleted, they would wait for its end.
_unfinished_groups: list[Any] = []


class RankLostError(Exception):
    """A rank that trains a network ended, or is not reachable."""


class Rendezvous(NamedTuple):
    """Where the ranks of a network meet."""

    host: str  # address of rank 0
    port: int
    secret: str  # names the keys of the store; it keeps ranks of other networks apart

    @property
    def prefix(self) -> str:
        """Prefix of the keys."""
        return hashlib.blake2b(self.secret.encode(), digest_size=16).hexdigest()


class Listener:
    """Store of a rendezvous, in the process of rank 0, on one of its addresses.

    Args:
        host: address of this machine that the other ranks can reach.
        secret: from which the names of the keys are derived.
    """

    def __init__(self, host: str, secret: str) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind(address)
        listener.listen()
        self.rendezvous = Rendezvous(host, listener.getsockname()[1], secret)
        self.store = _connect_store(self.rendezvous, is_master=True, master_listen_fd=listener.detach())


def _connect_store(rendezvous: Rendezvous, **options: Any) -> Any:
    timeout = timedelta(seconds=RENDEZVOUS_TIMEOUT_S)
    return c10d.TCPStore(rendezvous.host, rendezvous.port, timeout=timeout, wait_for_workers=False, **options)


class Ranks:
    """One rank's connection to the others.

    Args:
        rendezvous: where the ranks meet; of rank 0 its listener.
        rank: number of this rank, from 0.
        size: number of ranks.
        host: address of this machine that the other ranks can reach.
        device: of the tensors; NCCL connects GPUs, and gloo everything else.

    Raises:
        RankLostError: if the ranks do not meet in time, and in all methods as soon as a rank is lost.
    """

    def __init__(
        self, rendezvous: Rendezvous | Listener, rank: int, size: int, host: str, device: torch.device
    ) -> None:
        self.rank, self.size, self.device = rank, size, device
        try:
            listener = rendezvous if isinstance(rendezvous, Listener) else None
            place = rendezvous.rendezvous if isinstance(rendezvous, Listener) else rendezvous
            self._store = listener.store if listener else _connect_store(place)  # kept, since that of rank 0 serves all
            store = c10d.PrefixStore(f"{place.prefix}/group", self._store)
            self._group = _make_group(store, rank, size, host, device)
            self._heartbeat = _Heartbeat(_connect_store(place), place.prefix, rank, size)
        except RuntimeError as error:
            raise RankLostError(f"{size} ranks did not meet at {place.host}:{place.port}: {error}") from error

    def part(self, n: int) -> slice:
        """The rows of this rank among n rows."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum(self, tensor: Tensor) -> None:
        """Add the tensors of all ranks in place; all ranks have the same result, to the last bit."""
        self._wait(self._group.allreduce([tensor]))

    def broadcast(self, tensor: Tensor) -> None:
        """Copy the tensor of rank 0 to the others."""
        self._wait(self._group.broadcast(tensor, 0))

    def gather(self, tensor: Tensor, sizes: Sequence[int]) -> Tensor:
        """Concatenate the tensors of all ranks, which have these sizes along the first axis."""
        longest = max(sizes)
        padded = tensor.new_zeros(longest, *tensor.shape[1:])
        padded[: tensor.shape[0]] = tensor
        parts = [torch.empty_like(padded) for _ in sizes]
        self._wait(self._group.allgather([parts], [padded]))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def close(self) -> None:
        """Leave the others, which lose this rank if they do not leave as well."""
        self._heartbeat.close()
        self._group = None  # closes the connections

    def _wait(self, work: Any) -> None:
        """Wait for an operation, as long as all ranks are alive."""
        try:
            if self.device.type == "cuda":
                self._poll(work)
            while not work.is_completed():
                # an operation that takes longer raises an error, and goes on
                with suppress(RuntimeError):
                    work.wait(timedelta(seconds=WAIT_INTERVAL_S))
                self._heartbeat.check()
            work.wait()
        except RuntimeError as error:
            raise RankLostError(f"a rank left: {error}") from error
        except RankLostError:
            _unfinished_groups.append(self._group)
            raise

    def _poll(self, work: Any) -> None:
        """Wait for an operation of a GPU, whose `wait` returns at once."""
        next_check = time.monotonic() + WAIT_INTERVAL_S
        while not work.is_completed():
            time.sleep(POLL_INTERVAL_S)
            if time.monotonic() > next_check:
                self._heartbeat.check()
                next_check = time.monotonic() + WAIT_INTERVAL_S


def _make_group(store: Any, rank: int, size: int, host: str, device: torch.device) -> Any:
    """Connect the ranks by NCCL or gloo."""
    if device.type == "cuda" and torch.cuda.device_count() > 0 and hasattr(c10d, "ProcessGroupNCCL"):
        nccl: Any = c10d.ProcessGroupNCCL
        return nccl(store, rank, size, nccl.Options())
    gloo: Any = c10d.ProcessGroupGloo
    options = gloo._Options()  # noqa: SLF001 - the public functions choose the network interface by its name only
    options._devices = [gloo.create_device(hostname=host)]  # noqa: SLF001
    options._timeout = timedelta(seconds=RENDEZVOUS_TIMEOUT_S)  # noqa: SLF001
    group = gloo(store, rank, size, options)
    group.set_timeout(timedelta(seconds=OPERATION_TIMEOUT_S))
    return group


class _Heartbeat:
    """Signs of life of all ranks: each counts its own up in the store, and watches the others'."""

    def __init__(self, store: Any, prefix: str, rank: int, size: int) -> None:
        self._store, self._prefix, self._rank = store, prefix, rank
        now = time.monotonic()
        self._counts, self._seen = [0] * size, [now] * size  # of each rank, and when it changed
        self._last_answer, self._is_closed = now, Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(RuntimeError):  # the store is gone
            while not self._is_closed.wait(HEARTBEAT_INTERVAL_S):
                for rank in range(len(self._counts)):
                    count = self._store.add(f"{self._prefix}/life/{rank}", int(rank == self._rank))
                    if count != self._counts[rank]:
                        self._counts[rank], self._seen[rank] = count, time.monotonic()
                self._last_answer = time.monotonic()

    def reason(self) -> str:
        """Which ranks are lost, or ""."""
        now = time.monotonic()
        if now - self._last_answer > LOST_AFTER_S:
            return "rank 0 is not reachable"
        lost = [str(rank) for rank, seen in enumerate(self._seen) if now - seen > LOST_AFTER_S]
        return f"no sign of life of rank {join_names(lost)} for {LOST_AFTER_S:g} s" if lost else ""

    def check(self) -> None:
        """Raise RankLostError if a rank is lost."""
        reason = self.reason()
        if reason:
            raise RankLostError(reason)

    def close(self) -> None:
        self._is_closed.set()
