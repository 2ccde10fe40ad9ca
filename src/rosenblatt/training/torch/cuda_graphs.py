"""CUDA graphs of training steps.

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

WARMUP_STEPS = 3  # times that a step is done before it is recorded, so that libraries have what they need
MAX_GRAPHS = 64  # recordings that are kept


class GraphRunner:
    """Steps on a device: on a GPU each kind is recorded once warm, and then repeated; elsewhere they are just done."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._n_warmups, self._pool = device, Counter[Hashable](), cast("Any", None)
        self._graphs: dict[Hashable, tuple[Any, Tensor]] = {}
        self._not_capturable = set[Hashable]()

    def __call__(self, kind: Hashable, step: Callable[[], Tensor]) -> Tensor:
        """Do a step; those of one kind do the same, but for what stands in their places. Returns what it returns."""
        if self._device.type != "cuda":
            return step()
        if kind not in self._graphs:
            self._n_warmups[kind] += 1
            if self._n_warmups[kind] <= WARMUP_STEPS or len(self._graphs) >= MAX_GRAPHS or kind in self._not_capturable:
                return self._run_on_side_stream(step)
            try:
                self._graphs[kind] = self._record(step)
            except RuntimeError as error:
                if "out of memory" in str(error).lower():
                    raise
                self._not_capturable.add(kind)
                warnings.warn(f"A step is not repeated by the GPU alone: {error}", RuntimeWarning, stacklevel=2)
                return self._run_on_side_stream(step)  # nothing was done while it was recorded
        graph, output = self._graphs[kind]
        graph.replay()
        return output.clone()  # what comes next is written to the same place

    @cached_property
    def _side_stream(self) -> Any:
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def _run_on_side_stream(self, step: Callable[[], Tensor]) -> Tensor:
        """Do a step on a stream beside the usual one, as PyTorch asks of those to be recorded."""
        current_stream = torch.cuda.current_stream(self._device)
        self._side_stream.wait_stream(current_stream)
        with torch.cuda.stream(self._side_stream):
            output = step()
        current_stream.wait_stream(self._side_stream)
        return output

    def _record(self, step: Callable[[], Tensor]) -> tuple[Any, Tensor]:
        """All recordings share their memory, as one is repeated at a time; what other threads do is theirs."""
        graph, current_stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        try:
            with torch.cuda.graph(graph, self._pool, self._side_stream, capture_error_mode="thread_local"):
                output = step()
        finally:
            torch.cuda.set_stream(current_stream)
        self._pool = graph.pool()
        return graph, output
