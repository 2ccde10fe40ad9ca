from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from rosenblatt.data.volumes.storage.delta_types import is_known_to_python, kept_type, to_kept
from rosenblatt.errors import VolumeError


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (pl.UInt8(), pl.Int16()),
        (pl.UInt32(), pl.Int64()),
        (pl.UInt64(), pl.Decimal(20, 0)),
        (pl.Categorical(), pl.String()),
        (pl.Enum(["a"]), pl.String()),
        (pl.Time(), pl.String()),
        (pl.Datetime("ns"), pl.Datetime("us")),
        (pl.Array(pl.UInt8, 3), pl.List(pl.Int16())),
        (pl.List(pl.Struct({"x": pl.UInt16()})), pl.List(pl.Struct({"x": pl.Int32()}))),
    ],
    ids=str,
)
def test_types_that_a_volume_cannot_hold_become_the_nearest_one(dtype, kept):
    assert kept_type(dtype) == kept
    assert kept_type(kept) == kept


def test_python_objects_are_refused():
    with pytest.raises(VolumeError, match="'x' holds Python objects"):
        to_kept(pl.DataFrame({"x": pl.Series([object()], dtype=pl.Object)}))


def test_structures_without_fields_are_refused():
    with pytest.raises(VolumeError, match="Column 'x' holds structures without fields"):
        to_kept(pl.DataFrame({"x": pl.Series([[{}]], dtype=pl.List(pl.Struct([])))}))


@pytest.mark.parametrize("unit", [1, 86_400_000_000])
def test_years_beyond_those_of_python_are_recognized(unit):
    days = [day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max)]
    dtype = pl.Date() if unit == 1 else pl.Datetime("us")
    for values, is_known in (([*days, None], True), ([days[0] - 1], False), ([days[1] + 1], False)):
        scaled = pl.Series([None if value is None else value * unit for value in values])
        assert is_known_to_python(scaled.cast(pl.Int32 if unit == 1 else pl.Int64).cast(dtype)) == is_known
