"""The number of cores for threads that decode, train and predict."""

from __future__ import annotations

import os


def cores() -> int:
    """Number of cores that this process may use.

    They are limited by the affinity of the process, the CPU quota of its container, and the environment variables
    LOKY_MAX_CPU_COUNT and OMP_NUM_THREADS. joblib sets the latter in its workers, which share the cores.
    """
    from joblib import cpu_count

    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(cpu_count(), int(limit)) if limit.isdecimal() and int(limit) else int(cpu_count())
