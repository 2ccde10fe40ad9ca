import base64
import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.schema.dates import DateFormat
from rosenblatt.serving.cells import DTYPES, CellError, Cells, show_cell
from tests.models.export.fitted_models import encode_png

PNG = encode_png(np.zeros((4, 4, 3), np.uint8))
VALID = {
    "number": [1, 2.5, None, -0.0, 1e300],
    "boolean": [True, False, None, "Yes", "no "],
    "category": ["a", None, "", 7],
    "date": ["2024-02-29", "2024-02-29T08:30:00Z", None],
    "time": ["08:30", "23:59:59.5", None],
    "text": ["a text", "", None],
    "image": [base64.b64encode(PNG).decode(), "data:image/png;base64," + base64.b64encode(PNG).decode()],
}
INVALID = {
    "number": ["1", True, [], {}, 10**400, 1e999],
    "boolean": [1, "maybe", 0.5, []],
    "category": [1.5, True, [], {}],
    "date": [20240229, "yesterday", "2024-02-30", "2024-01-01T25:00", True],
    "time": ["8", 8, "25:00"],
    "text": [1, True, ["a"]],
    "image": [None, "", "no base64", base64.b64encode(b"plain text").decode(), "/etc/hostname", 1, ["a"]],
    "sequence": ["1", 1, [True], [[1], [1, 2]], [[1], 2], [1e999], {"a": 1}, [[[1.0]]], [[1.0, 2.0]]],
}


def make_cells(kind):
    return Cells(kind, pair=("no", "yes"))


@pytest.mark.parametrize("kind", VALID)
def test_the_type_of_a_column_does_not_depend_on_its_cells(kind):
    cells = make_cells(kind)
    for cell in VALID[kind]:
        assert cells.join("x", [cells.check("x", [cell])]).dtype == DTYPES[kind], cell
    assert len(cells.join("x", [cells.check("x", VALID[kind]), cells.check("x", [])])) == len(VALID[kind])


@pytest.mark.parametrize("kind", INVALID)
def test_other_cells_are_refused_with_their_position(kind):
    cells = make_cells(kind)
    first = VALID[kind][0] if kind in VALID else [1.0, 2.0]
    for cell in INVALID[kind]:
        with pytest.raises(CellError) as error:
            cells.check("x", [first, cell])
        assert error.value.position == 1, cell
        assert cells.expected in str(error.value)


def test_sequences_have_the_channels_of_the_training():
    cells = Cells("sequence", channels=2)
    series = cells.check("x", [[[1, 2], [3, None]], None, []])
    assert np.frombuffer(series.struct.field("sequence")[0], np.float32)[:3].tolist() == [1, 2, 3]
    with pytest.raises(CellError, match="a list of steps with 2 numbers each"):
        cells.check("x", [[1.0, 2.0]])


def test_dates_keep_the_local_time():
    cells = make_cells("date")
    series = cells.join("x", [cells.check("x", ["2024-02-29T08:30:00+09:00"])])
    assert series.cast(pl.String)[0] == "2024-02-29 08:30:00.000000"


@pytest.mark.parametrize(
    ("dates", "hour"),
    [(DateFormat(), 8), (DateFormat(zone="z", offset=0), 23), (DateFormat(zone="america/new_york"), 18)],
)
def test_times_are_converted_to_the_time_zone_of_training(dates, hour):
    cells, moment = Cells("date", dates=dates), dt.datetime(2024, 2, 29, 8, 30, tzinfo=ZoneInfo("Asia/Tokyo"))
    for part in (cells.check("x", [moment.isoformat()]), cells.check_series(pl.Series([moment]))):
        assert cells.join("x", [part]).dt.hour().to_list() == [hour]


def test_times_with_a_zone_beside_an_unknown_one_of_training_are_refused():
    cells, moment = Cells("date", dates=DateFormat(zone="ist")), dt.datetime(2024, 2, 29, tzinfo=ZoneInfo("Asia/Tokyo"))
    with pytest.raises(CellError, match="a time without a time zone, in that of training, but holds '2024-02-29"):
        cells.check("x", [moment.isoformat()])
    with pytest.raises(CellError, match="a time without a time zone"):
        cells.check_series(pl.Series([moment]))


@pytest.mark.parametrize(
    ("kind", "series"),
    [
        ("number", pl.Series([1, 2, None], dtype=pl.Int8)),
        ("number", pl.Series([1.5, None]).cast(pl.Decimal(10, 2))),
        ("category", pl.Series(["a", None], dtype=pl.Categorical)),
        ("category", pl.Series([1, 2])),
        ("date", pl.Series([dt.date(2024, 2, 29)])),
        ("date", pl.Series([dt.date(2024, 2, 29)]).cast(pl.Datetime("us")).dt.replace_time_zone("Asia/Tokyo")),
        ("time", pl.Series([dt.time(8, 30)])),
        ("image", pl.Series([PNG])),
        ("boolean", pl.Series([True, None])),
    ],
)
def test_columns_of_arrow_are_converted_to_the_same_types(kind, series):
    cells = make_cells(kind)
    converted = cells.join("x", [cells.check_series(series)])
    assert converted.dtype == DTYPES[kind]
    assert converted.null_count() == series.null_count()


def test_a_column_of_arrow_cannot_name_a_file(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(PNG)
    for series in (pl.Series([str(path)]), pl.DataFrame({"image": [str(path)]}).to_struct("x")):
        with pytest.raises(CellError):
            make_cells("image").check_series(series)


def test_cells_in_messages_are_short():
    assert show_cell("a" * 1000) == repr("a" * 1000)[:40] + "..."
    assert show_cell(10**1000) == "an integer of more digits than a number may have"
    assert (show_cell(None), show_cell(True), show_cell({}), show_cell([1])) == (
        "null",
        "true",
        "an object",
        "a list of 1",
    )
