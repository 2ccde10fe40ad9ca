"""In: a step that reads from, and writes to, places on a device that stay. Out: the same, repeated without the host.

A GPU does a small step faster than the host can tell it what to do. A CUDA graph remembers all that a step did, and
does it again at one word.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

WARM = 3  # times that a step is done before it is recorded, so that libraries have what they need
MOST = 64  # recordings that are kept


class Repeater:
    """Steps on a device: on a GPU each kind is recorded once warm, and then repeated; elsewhere they are just done."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._warm, self._pool = device, Counter[Hashable](), cast("Any", None)
        self._recorded: dict[Hashable, tuple[Any, Tensor]] = {}
        self._refused = set[Hashable]()

    def __call__(self, kind: Hashable, step: Callable[[], Tensor]) -> Tensor:
        """Do a step; those of one kind do the same, but for what stands in their places. Returns what it returns."""
        if self._device.type != "cuda":
            return step()
        if kind not in self._recorded:
            self._warm[kind] += 1
            if self._warm[kind] <= WARM or len(self._recorded) >= MOST or kind in self._refused:
                return self._aside(step)
            try:
                self._recorded[kind] = self._record(step)
            except RuntimeError as error:
                if "out of memory" in str(error).lower():
                    raise
                self._refused.add(kind)
                warnings.warn(f"A step is not repeated by the GPU alone: {error}", RuntimeWarning, stacklevel=2)
                return self._aside(step)  # nothing was done while it was recorded
        graph, found = self._recorded[kind]
        graph.replay()
        return found.clone()  # what comes next is written to the same place

    @cached_property
    def _side(self) -> Any:
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def _aside(self, step: Callable[[], Tensor]) -> Tensor:
        """Do a step on a stream beside the usual one, as PyTorch asks of those to be recorded."""
        usual = torch.cuda.current_stream(self._device)
        self._side.wait_stream(usual)
        with torch.cuda.stream(self._side):
            found = step()
        usual.wait_stream(self._side)
        return found

    def _record(self, step: Callable[[], Tensor]) -> tuple[Any, Tensor]:
        """All recordings share their memory, as one is repeated at a time; what other threads do is theirs."""
        graph, usual = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        try:
            with torch.cuda.graph(graph, self._pool, self._side, capture_error_mode="thread_local"):
                found = step()
        finally:
            torch.cuda.set_stream(usual)
        self._pool = graph.pool()
        return graph, found
