"""Conversion of the values that users log: numbers, steps and figures of any library."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rosenblatt.errors import RunError

if TYPE_CHECKING:  # a run begins without it
    import numpy as np

MAX_STEP = 2**63


def to_float(name: Any, value: Any) -> float:
    """Convert a value of a metric to a number. Raises RunError."""
    if not isinstance(name, str) or not name:
        raise RunError(f"The name of a metric must be text, but got {name!r}.")
    if not isinstance(value, str | bytes):
        with contextlib.suppress(TypeError, ValueError, OverflowError, RuntimeError):
            return float(value.item() if hasattr(value, "item") else value)
    kind = type(value).__name__
    raise RunError(
        f"The metric {name!r} must be one number, but got {kind} {str(value)[:80]!r}. Log numbers by name; record text "
        "and lists with `run.note(name, value)`."
    )


def to_curve(
    values: Sequence[float] | np.ndarray, steps: Sequence[int] | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Convert a curve to values and steps (n,), by default 0, 1, 2, ... Raises RunError if the shapes differ."""
    import numpy as np

    curve_values = np.asarray(values, np.float64)
    curve_steps = np.arange(len(curve_values)) if steps is None else np.asarray(steps, np.int64)
    if curve_values.ndim != 1 or curve_steps.shape != curve_values.shape:
        raise RunError(
            f"A curve needs one step for each value, but the shape of values is {curve_values.shape} and that of "
            f"steps {curve_steps.shape}."
        )
    return curve_values, curve_steps


def to_step(step: Any) -> int:
    """Convert a step to an integer. Raises RunError."""
    try:
        number = int(step)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != step or not -MAX_STEP <= number < MAX_STEP:
        raise RunError(f"A step must be an integer, but got {step!r}. Count batches or epochs.")
    return number


def as_png(figure: Any) -> bytes:
    """Draw a figure of any library as PNG. Raises RunError."""
    buffer = io.BytesIO()
    if hasattr(figure, "savefig"):
        figure.savefig(buffer, format="png", bbox_inches="tight")
    elif hasattr(figure, "to_image"):
        return bytes(figure.to_image(format="png"))
    elif hasattr(figure, "save"):
        figure.save(buffer, format="PNG")
    else:
        raise RunError(f"Expected a figure, but got {type(figure).__name__}, which cannot be saved as an image.")
    return buffer.getvalue()
