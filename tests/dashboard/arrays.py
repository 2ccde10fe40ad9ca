"""Read the binary answers of the dashboard, as the page does."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np


def unpack_arrays(answer: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays by name."""
    (length,) = struct.unpack("<I", answer[:4])
    header, offset = json.loads(answer[4 : 4 + length]), 4 + length
    assert offset % 8 == 0
    arrays = {}
    for name, shape in header["shapes"].items():
        size = int(np.prod(shape))
        arrays[name] = np.frombuffer(answer, "<f4", size, offset).reshape(shape)
        offset += 4 * size
    assert offset == len(answer)
    return header, arrays
