"""Memory that this process can still allocate."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_CGROUP_FILES = ("memory.max", "memory.current")  # the limit of a container, and what it uses


def free_memory() -> int:
    """Bytes that this process can still allocate: of the machine, of its container, and within its own limit."""
    import psutil

    free = [psutil.virtual_memory().available]
    try:
        limit, used = ((Path("/sys/fs/cgroup") / name).read_text().strip() for name in _CGROUP_FILES)
    except OSError:
        limit = used = ""
    if limit.isdigit() and used.isdigit():
        free.append(int(limit) - int(used))
    with suppress(ModuleNotFoundError):  # on Windows
        import resource

        soft_limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if soft_limit != resource.RLIM_INFINITY:
            free.append(soft_limit - psutil.Process().memory_info().vms)
    return max(min(free), 0)
