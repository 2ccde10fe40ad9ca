"""The number of cores for threads that decode, train and predict."""

from __future__ import annotations

import os


def cores() -> int:
    """Number of cores that this process may use.

    They are limited by the affinity of the process, the CPU quota of its container, and the environment variables
    LOKY_MAX_CPU_COUNT and OMP_NUM_THREADS. joblib sets the latter in its workers, which share the cores.
    """
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    limit = int(text) if text.isdecimal() else 0
    if limit == 1:
        return 1
    from joblib import cpu_count  # takes 0.1 s to import

    return min(cpu_count(), limit) if limit else int(cpu_count())
