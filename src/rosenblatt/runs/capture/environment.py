"""What a run runs in: Python, packages, machine, libraries of linear algebra, the environment variables that matter."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from rosenblatt.runs.redaction import redact

VARIABLES = re.compile(
    r"^(CUDA_|NVIDIA_VISIBLE|OMP_|MKL_|OPENBLAS_|BLIS_|VECLIB_|NUMEXPR_|NUMBA_|TF_|XLA_|JAX_|KERAS_BACKEND|TORCH_|PYTORCH_|"
    r"NCCL_|PYTHONHASHSEED|LANG$|LC_ALL|TZ$|SLURM_JOB_ID|SLURM_PROCID|RANK$|LOCAL_RANK|WORLD_SIZE)"
)


def capture_environment() -> dict[str, Any]:
    """All that can be told in some milliseconds."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": _memory(),
        "gpus": _gpus(),
        "packages": list_packages(),
        "linear_algebra": _linear_algebra(),
        "variables": {k: redact(v, k) for k, v in sorted(os.environ.items()) if VARIABLES.match(k)},
    }


def list_packages() -> dict[str, str]:
    """The versions of all packages that can be imported, by what their folders of metadata are called."""
    versions: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - names are enough, and fast
        except OSError:
            continue
        for name in names:
            match = re.fullmatch(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist-info|egg-info)", name)
            if match:
                versions.setdefault(match[1].lower().replace("_", "-"), match[2])
    return dict(sorted(versions.items()))


@cache
def gpu_library() -> Any:
    """NVIDIA's management library, started; None where it is not installed, or finds no driver."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _gpus() -> list[dict[str, Any]]:
    nvml, gpus = gpu_library(), []
    for i in range(nvml.nvmlDeviceGetCount() if nvml else 0):
        handle = nvml.nvmlDeviceGetHandleByIndex(i)
        gpus.append({"name": nvml.nvmlDeviceGetName(handle)})
        with suppress(nvml.NVMLError):  # parts of GPUs do not tell all
            gpus[-1]["memory"] = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
            gpus[-1]["driver"] = nvml.nvmlSystemGetDriverVersion()
    return gpus


def _linear_algebra() -> list[dict[str, Any]]:
    """Libraries that are loaded now, and their threads."""
    import threadpoolctl

    return blas_libraries(threadpoolctl.threadpool_info())


def blas_libraries(libraries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What matters of what threadpoolctl tells."""
    keys = ("user_api", "internal_api", "version", "num_threads", "architecture")
    return sorted(({key: info[key] for key in keys if info.get(key)} for info in libraries), key=str)


@cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)
