"""Conversion of the values that users log: numbers, steps and figures of any library."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from rosenblatt.errors import RunError

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
