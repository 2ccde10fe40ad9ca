"""Install the input audit in each Python process of a run; Python imports this module when it starts.

`rosenblatt run` puts this folder first in PYTHONPATH, which child processes inherit.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import module_from_spec
from _frozen_importlib_external import PathFinder


def _start() -> None:
    """Install the audit, and then run the `sitecustomize` that this one hides, if there is one."""
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        from audit.hook import install  # type: ignore[import-not-found] # in this folder

        install()
    finally:
        for name in [name for name in sys.modules if name == "audit" or name.startswith("audit.")]:
            del sys.modules[name]
        sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != folder]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec and spec.loader:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    _start()
