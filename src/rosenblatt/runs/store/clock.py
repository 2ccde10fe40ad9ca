"""The clock of the database, by which signs of life are stamped and judged, whatever the clocks of other machines."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class database_time(FunctionElement[float]):  # noqa: N801 - named like a function of SQL
    """The time in seconds since 1970, as an SQL expression."""

    type = Double()
    inherit_cache = True


@compiles(database_time, "sqlite")
def _in_sqlite(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # the Julian date of 1970


@compiles(database_time, "postgresql")
def _in_postgresql(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"
