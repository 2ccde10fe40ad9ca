"""What the process of a run takes: its processor, memory and GPU over time, and its peak."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from rosenblatt.runs.capture.environment import gpu_library

EVERY = 5.0  # seconds between two looks, less often where there are many
FIRST = 1.0  # seconds until the first


class Resources:
    """Looks at a process and those it started; each look is a point of the curves `system/...`."""

    def __init__(self, log: Callable[[dict[str, float], int], None], pid: int | None = None) -> None:
        self._log, self._process = log, psutil.Process(pid)
        self._started = self._looked = time.monotonic()
        self._next = self._started + FIRST
        self._spent: dict[int, float] = {}
        self._look()

    def look(self) -> None:
        """Look, if it is time to."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + max(EVERY, (now - self._started) / 200)
            values = self._look()
            if values:
                self._log(values, round(now - self._started))

    def _look(self) -> dict[str, float]:
        now, total, memory, spent = time.monotonic(), 0.0, 0.0, dict[int, float]()
        try:
            processes = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return {}
        for process in processes:
            try:
                used = process.cpu_times()
                memory += process.memory_info().rss
            except psutil.Error:
                continue
            spent[process.pid] = used.user + used.system
            total += spent[process.pid] - self._spent.get(process.pid, 0.0 if self._spent else spent[process.pid])
        seconds = max(now - self._looked, 1e-3)
        self._looked, self._spent = now, spent
        return {"system/cpu percent": 100 * total / seconds, "system/memory bytes": memory, **_gpu_load()}


def peak_memory(children: bool = False) -> int | None:
    """The most memory in bytes that this process, or the largest of those it started, had at once."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None if children else int(psutil.Process().memory_info().peak_wset)
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    return int(resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def _gpu_load() -> dict[str, float]:
    nvml = gpu_library()
    found: dict[str, float] = {}
    for i in range(nvml.nvmlDeviceGetCount() if nvml else 0):
        handle = nvml.nvmlDeviceGetHandleByIndex(i)
        with suppress(nvml.NVMLError):  # parts of GPUs do not tell all
            found[f"system/gpu {i} percent"] = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        with suppress(nvml.NVMLError):
            found[f"system/gpu {i} memory bytes"] = float(nvml.nvmlDeviceGetMemoryInfo(handle).used)
    return found
