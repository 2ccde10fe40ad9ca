"""Types of columns in Delta Lake tables, and the Polars types that are stored as another one.

Delta Lake has no unsigned integers, categories or times of day, and stores timestamps in UTC: a column of local times
keeps its time zone (or that it has none) in the schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl
from polars.datatypes import DataTypeClass

from rosenblatt.data.table import is_name_pattern
from rosenblatt.errors import VolumeError

_TIME_ZONE = "rosenblatt.time_zone"  # in the metadata of a timestamp's field; "" for times without a time zone
_PRIMITIVES: dict[str, pl.DataType] = {
    "string": pl.String(), "long": pl.Int64(), "integer": pl.Int32(), "short": pl.Int16(), "byte": pl.Int8(),
    "double": pl.Float64(), "float": pl.Float32(), "boolean": pl.Boolean(), "binary": pl.Binary(), "date": pl.Date(),
    "timestamp": pl.Datetime("us", "UTC"),
}  # fmt: skip
_FIRST_DAY, _LAST_DAY = (day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
_NAMES = {dtype: name for name, dtype in _PRIMITIVES.items()}
_STORED_AS: dict[type[pl.DataType], pl.DataType] = {
    pl.UInt8: pl.Int16(), pl.UInt16: pl.Int32(), pl.UInt32: pl.Int64(), pl.UInt64: pl.Decimal(20, 0),
    pl.Int128: pl.String(), pl.Categorical: pl.String(), pl.Enum: pl.String(), pl.Time: pl.String(),
    pl.Duration: pl.Int64(), pl.Null: pl.String(),
}  # fmt: skip


def kept_type(type_: pl.DataType | DataTypeClass) -> pl.DataType:
    """The type that a column has when it is read again: its own, or the nearest one that a volume can hold."""
    dtype = type_ if isinstance(type_, pl.DataType) else type_()
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", dtype.time_zone)
    if isinstance(dtype, pl.List | pl.Array):
        return pl.List(stored_type(kept_type(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: stored_type(kept_type(field.dtype)) for field in dtype.fields})
    return _STORED_AS.get(type(dtype), dtype)


def stored_type(dtype: pl.DataType) -> pl.DataType:
    """The type in files of a column of a kept type."""
    return pl.Datetime("us", "UTC") if isinstance(dtype, pl.Datetime) else dtype


def check_names(schema: Mapping[str, pl.DataType | DataTypeClass], place: str = "Columns") -> None:
    """Check that Delta Lake and Polars can tell columns, and the fields in them, apart. Raises VolumeError."""
    first_names = dict[str, str]()
    for name, dtype in schema.items():
        if "\0" in name:
            raise VolumeError(
                f"{place} with a null character in their name, such as {name!r}, cannot be kept. Rename it."
            )
        if is_name_pattern(name):
            raise VolumeError(f"{place} whose name is a pattern of names, such as {name!r}, cannot be kept. Rename it.")
        other = first_names.setdefault(name.lower(), name)
        if other != name:
            raise VolumeError(
                f"{place} {other!r} and {name!r} differ in upper and lower case only, which volumes cannot tell apart. "
                "Rename one of them."
            )
        inner = dtype
        while isinstance(inner, pl.List | pl.Array):
            inner = inner.inner
        if isinstance(inner, pl.Struct):
            check_names({field.name: field.dtype for field in inner.fields}, f"Fields of column {name!r}: the fields")


def to_kept(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert columns to types that a volume keeps. Raises VolumeError if it can hold none of their values."""
    expressions = []
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Object | pl.Unknown):
            raise VolumeError(f"Column {name!r} holds Python objects. Give numbers, texts, times or lists of them.")
        if _has_empty_struct(dtype):
            raise VolumeError(f"Column {name!r} holds structures without fields, which no file can hold. Leave it out.")
        expressions.append(pl.col(name).cast(kept_type(dtype), strict=True))
    return frame.with_columns(expressions)


def _has_empty_struct(dtype: pl.DataType | DataTypeClass) -> bool:
    if isinstance(dtype, pl.List | pl.Array):
        return _has_empty_struct(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return not dtype.fields or any(_has_empty_struct(field.dtype) for field in dtype.fields)
    return False


def is_known_to_python(column: pl.Series) -> bool:
    """Whether no value of a column is a date or time beyond the years 1 to 9999, which Python does not have."""
    day = {pl.Date: 1, pl.Datetime: 86_400_000_000}.get(type(column.dtype))
    return day is None or column.to_physical().is_between(_FIRST_DAY * day, (_LAST_DAY + 1) * day - 1).all()


def to_stored(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert columns of kept types to those of files."""
    times = {name: dtype for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)}
    return frame.with_columns(
        pl.col(name).dt.convert_time_zone("UTC") if dtype.time_zone else pl.col(name).dt.replace_time_zone("UTC")
        for name, dtype in times.items()
    )


def from_stored(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Give columns that were read from a file the types of a version's schema; columns that it lacks become null."""
    expressions = []
    for name, dtype in schema.items():
        if name not in frame.columns:
            expressions.append(pl.lit(None, dtype).alias(name))
        elif isinstance(dtype, pl.Datetime):
            time = pl.col(name).cast(pl.Datetime("us", "UTC"))
            zone = dtype.time_zone
            expressions.append(time.dt.convert_time_zone(zone) if zone else time.dt.replace_time_zone(None))
        else:
            expressions.append(pl.col(name).cast(dtype))
    return frame.with_columns(expressions).select(list(schema))


def schema_to_delta(schema: pl.Schema) -> str:
    """Return a schema of kept types as Delta Lake's JSON."""
    return json.dumps({"type": "struct", "fields": _fields(schema)}, ensure_ascii=False)


def _fields(schema: dict[str, pl.DataType] | pl.Schema) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "type": _to_delta(dtype),
            "nullable": True,
            "metadata": {_TIME_ZONE: dtype.time_zone or ""} if isinstance(dtype, pl.Datetime) else {},
        }
        for name, dtype in schema.items()
    ]


def _to_delta(dtype: pl.DataType) -> Any:
    if isinstance(dtype, pl.List):
        return {"type": "array", "elementType": _to_delta(dtype.inner), "containsNull": True}  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return {"type": "struct", "fields": _fields({field.name: field.dtype for field in dtype.fields})}  # type: ignore[misc]
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision},{dtype.scale})"
    return _NAMES[stored_type(dtype)]


def schema_from_delta(text: str) -> pl.Schema:
    """Read a schema from Delta Lake's JSON. Raises VolumeError if it has types that no volume has."""
    return pl.Schema({field["name"]: _field_type(field) for field in json.loads(text)["fields"]})


def _field_type(field: dict[str, Any]) -> pl.DataType:
    dtype = _from_delta(field["type"])
    zone = field.get("metadata", {}).get(_TIME_ZONE)
    return pl.Datetime("us", zone or None) if isinstance(dtype, pl.Datetime) and zone is not None else dtype


def _from_delta(type_: Any) -> pl.DataType:
    if isinstance(type_, dict) and type_["type"] == "array":
        return pl.List(_from_delta(type_["elementType"]))
    if isinstance(type_, dict) and type_["type"] == "struct":
        return pl.Struct({field["name"]: _from_delta(field["type"]) for field in type_["fields"]})
    if isinstance(type_, str) and type_.startswith("decimal("):
        precision, scale = type_.removeprefix("decimal(").removesuffix(")").split(",")
        return pl.Decimal(int(precision), int(scale))
    if isinstance(type_, str) and type_ in _PRIMITIVES:
        return _PRIMITIVES[type_]
    raise VolumeError(f"This version of rosenblatt cannot read columns of Delta Lake's type {type_!r}. Update it.")
