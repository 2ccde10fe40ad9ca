"""Kind of the program that records a run, which decides whether it can be started again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import MappingProxyType

REPEATABLE = ("script", "module")  # kinds that are started again from their recorded source
OTHER_KINDS = MappingProxyType({  # in words
    "program": "an installed program",
    "notebook": "a notebook",
    "prompt": "an interactive prompt",
    "command": "`python -c`",
    "stdin": "a script from standard input",
    "tests": "pytest",
    "worker": "a worker process of another program",
})  # fmt: skip
_LAUNCHER_VARIABLES = ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


def program_kind() -> str:
    """Find out what this process runs: one of REPEATABLE or OTHER_KINDS."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython else None
    if shell is not None:  # also of a Jupyter kernel or Colab
        return "prompt" if "Terminal" in type(shell).__name__ else "notebook"
    if "_pytest" in sys.modules and "PYTEST_CURRENT_TEST" in os.environ:
        return "tests"
    if _is_worker():
        return "worker"
    script = sys.argv[0] if sys.argv else ""
    if hasattr(sys, "ps1"):
        return "prompt"
    if script in ("-c", "", "-"):
        return "command" if script == "-c" else "stdin"
    if getattr(sys.modules.get("__main__"), "__spec__", None) is not None:
        return "module"
    return "program" if Path(script).absolute().parent == Path(sys.executable).parent else "script"


def _is_worker() -> bool:
    """Whether another program has started this process as one of its workers, with a state that no record shows."""
    parent_process = getattr(sys.modules.get("multiprocessing.process"), "parent_process", None)
    return bool(parent_process and parent_process()) or any(name in os.environ for name in _LAUNCHER_VARIABLES)
