"""Binary answers: the length of a header as uint32, the header as JSON padded to a multiple of 8 bytes, and arrays.

The arrays are float32, one after the other; the header has their shapes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, Field


class ArraysHeader(BaseModel):
    """A header that names the arrays behind it."""

    shapes: dict[str, list[int]] = Field({}, description="The shape of each float32 array, in their order.")


def pack_arrays(header: ArraysHeader, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The binary answer of a header, to which the shapes are added, and arrays by name."""
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    values = [np.ascontiguousarray(array, np.float32).tobytes() for array in arrays.values()]
    return pack_header(header.model_copy(update={"shapes": shapes})) + b"".join(values)


def pack_header(header: BaseModel) -> bytes:
    """The beginning of a binary answer, up to its arrays."""
    text = header.model_dump_json().encode()
    text += b" " * (-(4 + len(text)) % 8)
    return struct.pack("<I", len(text)) + text
