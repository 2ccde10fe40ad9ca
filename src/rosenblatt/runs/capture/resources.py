"""Resources that the process of a run uses: processor, memory and GPU over time, and peak memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress

from rosenblatt.runs.capture.environment import gpu_library
from rosenblatt.runs.store.records import SYSTEM_METRICS

SAMPLE_INTERVAL_S = 5.0  # seconds between two samples; longer in long runs
FIRST_SAMPLE_S = 1.0  # seconds until the first sample


class ResourceMonitor:
    """Samples the resources of a process and its children, as points of the curves `system/...`."""

    def __init__(self, log: Callable[[dict[str, float], int], None], pid: int | None = None) -> None:
        self._log, self._pid = log, pid
        self._started = self._last_sampled = time.monotonic()
        self._next_sample = self._started + FIRST_SAMPLE_S
        self._cpu_times: dict[int, float] = {}
        self._is_started = False

    def sample(self) -> None:
        """Log a sample if it is time for one; the first call only notes the time that was used before."""
        if not self._is_started:  # not when the run begins, which has to be fast
            self._is_started = True
            self._read_usage()
        now = time.monotonic()
        if now >= self._next_sample:
            self._next_sample = now + max(SAMPLE_INTERVAL_S, (now - self._started) / 200)
            values = self._read_usage()
            if values:
                self._log(values, round(now - self._started))

    def _read_usage(self) -> dict[str, float]:
        import psutil

        now, cpu_seconds, memory, cpu_times = time.monotonic(), 0.0, 0.0, dict[int, float]()
        try:
            process = psutil.Process(self._pid)
            processes = [process, *process.children(recursive=True)]
        except psutil.Error:
            return {}
        for process in processes:
            try:
                times = process.cpu_times()
                memory += process.memory_info().rss
            except psutil.Error:
                continue
            cpu_times[process.pid] = times.user + times.system
            cpu_seconds += cpu_times[process.pid] - self._cpu_times.get(
                process.pid, 0.0 if self._cpu_times else cpu_times[process.pid]
            )
        seconds = max(now - self._last_sampled, 1e-3)
        self._last_sampled, self._cpu_times = now, cpu_times
        return {
            f"{SYSTEM_METRICS}cpu percent": 100 * cpu_seconds / seconds,
            f"{SYSTEM_METRICS}memory bytes": memory,
            **_gpu_load(),
        }


def peak_memory(children: bool = False) -> int | None:
    """Peak memory in bytes of this process, or of the largest of its ended children."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        import psutil

        return None if children else int(psutil.Process().memory_info().peak_wset)
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    return int(resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def _gpu_load() -> dict[str, float]:
    nvml = gpu_library()
    load: dict[str, float] = {}
    for i in range(nvml.nvmlDeviceGetCount() if nvml else 0):
        handle = nvml.nvmlDeviceGetHandleByIndex(i)
        with suppress(nvml.NVMLError):  # not supported by parts of a GPU (MIG)
            load[f"{SYSTEM_METRICS}gpu {i} percent"] = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        with suppress(nvml.NVMLError):
            load[f"{SYSTEM_METRICS}gpu {i} memory bytes"] = float(nvml.nvmlDeviceGetMemoryInfo(handle).used)
    return load
