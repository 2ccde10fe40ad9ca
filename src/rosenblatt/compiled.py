"""In: a plain Python function. Out: the same function compiled by Numba to machine code that runs without the GIL.

Every compiled function of the project is made here, so that all share one set of floating-point rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be reordered and products fused, which is what lets loops run in vector registers; NaN and infinity keep
# their meaning, because a diverging member is found by them.
_FLOATING_POINT = {"contract", "reassoc", "nsz", "arcp"}


def compiled(function: Function) -> Function:
    """Compile `function` on its first call, keep the machine code on disk, release the GIL while it runs."""
    compile_: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FLOATING_POINT)
    return compile_(function)
