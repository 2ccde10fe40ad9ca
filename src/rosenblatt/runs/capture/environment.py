"""Environment of a run: Python, packages, hardware, linear algebra libraries and selected environment variables."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rosenblatt.runs.recorded import Recorded, to_builtin
from rosenblatt.runs.redaction import redact

VARIABLES = re.compile(
    r"^(CUDA_|NVIDIA_VISIBLE|OMP_|MKL_|OPENBLAS_|BLIS_|VECLIB_|NUMEXPR_|NUMBA_|TF_|XLA_|JAX_|KERAS_BACKEND|TORCH_|PYTORCH_|"
    r"NCCL_|PYTHONHASHSEED|LANG$|LC_ALL|TZ$|SLURM_JOB_ID|SLURM_PROCID|RANK$|LOCAL_RANK|WORLD_SIZE)"
)  # names of environment variables that are recorded

_SESSION_VARIABLES = ("LANG", "LC_ALL", "SLURM_JOB_ID")  # recorded, but results do not depend on them


@dataclass(frozen=True, kw_only=True)
class Gpu(Recorded):
    """A GPU; memory in bytes."""

    name: str
    memory: int | None = None
    driver: str | None = None


@dataclass(frozen=True, kw_only=True)
class Environment(Recorded):
    """The environment of a run; memory in bytes."""

    python: str = ""
    implementation: str = ""
    system: str = ""
    processor: str = ""
    cores: int | None = None
    memory: int | None = None
    gpus: tuple[Gpu, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)  # versions by name
    linear_algebra: tuple[dict[str, str | int], ...] = ()  # see `blas_libraries`
    variables: dict[str, str] = field(default_factory=dict)

    def identity_facts(self) -> dict[str, Any]:
        """The facts that are part of the identity of a run."""
        variables = {name: value for name, value in self.variables.items() if name not in _SESSION_VARIABLES}
        facts = {key: to_builtin(getattr(self, key)) for key in ("python", "packages", "processor", "gpus")}
        return facts | {"variables": variables}


@cache
def user_name() -> str:
    """The name of the user of this process, as the system knows it; its number if the user has no name."""
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except ImportError:  # Windows
        return os.environ.get("USERNAME", "")
    except KeyError:
        return str(os.geteuid())


def capture_environment(*, with_libraries: bool = True) -> Environment:
    """Capture the environment of this process, by default with the linear algebra libraries that it has loaded."""
    return Environment(
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        system=platform.platform(),
        processor=_processor(),
        cores=os.cpu_count(),
        memory=_memory(),
        gpus=_gpus(),
        packages=list_packages(),
        linear_algebra=loaded_libraries() if with_libraries else (),
        variables={k: redact(v, k) for k, v in sorted(os.environ.items()) if VARIABLES.match(k)},
    )


def list_packages() -> dict[str, str]:
    """List the versions of all packages on `sys.path`, going by the names of their metadata folders."""
    versions: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - faster, and only names are needed
        except OSError:
            continue
        for name in names:
            match = re.fullmatch(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist-info|egg-info)", name)
            if match:
                versions.setdefault(match[1].lower().replace("_", "-"), match[2])
    return dict(sorted(versions.items()))


@cache
def gpu_library() -> Any:
    """NVIDIA's management library, initialized; None if it is not installed or finds no driver."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def loaded_libraries() -> tuple[dict[str, str | int], ...]:
    """The linear algebra libraries that this process has loaded."""
    import threadpoolctl

    return blas_libraries(threadpoolctl.threadpool_info())


def blas_libraries(libraries: list[dict[str, Any]]) -> tuple[dict[str, str | int], ...]:
    """Select the fields of threadpoolctl's records that may change results."""
    keys = ("user_api", "internal_api", "version", "num_threads", "architecture")
    return tuple(sorted(({key: info[key] for key in keys if info.get(key)} for info in libraries), key=str))


def _gpus() -> tuple[Gpu, ...]:
    nvml, gpus = gpu_library(), []
    for i in range(nvml.nvmlDeviceGetCount() if nvml else 0):
        handle = nvml.nvmlDeviceGetHandleByIndex(i)
        gpu = {"name": nvml.nvmlDeviceGetName(handle)}
        with suppress(nvml.NVMLError):  # not supported by parts of a GPU (MIG)
            gpu["memory"] = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
            gpu["driver"] = nvml.nvmlSystemGetDriverVersion()
        gpus.append(Gpu(**gpu))
    return tuple(gpus)


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
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows
        import psutil

        return int(psutil.virtual_memory().total)
