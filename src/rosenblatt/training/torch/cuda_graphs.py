"""CUDA graphs of training steps.

A GPU runs a small step faster than the host can launch its kernels. A CUDA graph records all kernels of a step and
replays them with one call.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

WARMUP_STEPS = 3  # steps before recording, in which libraries allocate their workspaces
MAX_GRAPHS = 64  # graphs to keep


class GraphRunner:
    """Runs steps; on a GPU, each kind of step is recorded after a warm-up and then replayed."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._n_warmups, self._pool = device, Counter[Hashable](), cast("Any", None)
        self._graphs: dict[Hashable, tuple[Any, Tensor]] = {}
        self._not_capturable = set[Hashable]()

    def __call__(self, kind: Hashable, step: Callable[[], Tensor]) -> Tensor:
        """Run a step and return its result; all steps of a kind run the same kernels on the same addresses."""
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
                warnings.warn(
                    f"A training step cannot be captured as a CUDA graph, and runs slower: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
                return self._run_on_side_stream(step)  # recording runs nothing
        graph, output = self._graphs[kind]
        graph.replay()
        return output.clone()  # the next replay overwrites it

    @cached_property
    def _side_stream(self) -> Any:
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def _run_on_side_stream(self, step: Callable[[], Tensor]) -> Tensor:
        """Run a step on a side stream, as PyTorch requires before recording."""
        current_stream = torch.cuda.current_stream(self._device)
        self._side_stream.wait_stream(current_stream)
        with torch.cuda.stream(self._side_stream):
            output = step()
        current_stream.wait_stream(self._side_stream)
        return output

    def _record(self, step: Callable[[], Tensor]) -> tuple[Any, Tensor]:
        """Record a step. All graphs share one memory pool, because only one of them is replayed at a time.

        Other threads may use CUDA meanwhile.
        """
        graph, current_stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        try:
            with torch.cuda.graph(graph, self._pool, self._side_stream, capture_error_mode="thread_local"):
                output = step()
        finally:
            torch.cuda.set_stream(current_stream)
        self._pool = graph.pool()
        return graph, output
