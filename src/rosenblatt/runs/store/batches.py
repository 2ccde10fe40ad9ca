"""Batches of records as a line of JSON, in which they wait on disk or travel to another machine."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rosenblatt.errors import StoreError
from rosenblatt.runs.store.records import Row
from rosenblatt.runs.store.row_checks import check_rows


def format_rows(rows: Mapping[str, Sequence[Row]], **attributes: Any) -> bytes:
    """Format the rows of a batch, and attributes, as a line without its end."""
    return json.dumps({**attributes, "rows": rows}, default=_encode_bytes, ensure_ascii=True).encode()


def parse_batch(line: bytes) -> dict[str, list[Row]]:
    """Read the rows of a line. Raises StoreError if it has other than the tables, columns and types of a store."""
    try:
        rows = json.loads(line, object_hook=_decode_bytes)["rows"]
        check_rows(rows)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"it is no batch of records ({error})") from error
    return dict(rows)


def _encode_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} is not plain data")


def _decode_bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"], validate=True) if value.keys() == {"base64"} else value
