# ruff: noqa: DTZ001 - tables hold local times
"""Cells of every kind through the exported Python file: as `rosenblatt predict` reads them, or refused."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.readers.files import read_content
from rosenblatt.data.table import TableFormat
from rosenblatt.data.tasks.task import adapt_to_table
from rosenblatt.models.export import python_cells, python_file
from rosenblatt.models.export.inputs import category_codes, prepare_inputs
from rosenblatt.models.export.signature import read_signature
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit

N = 60
MOMENTS = [dt.datetime(2021, 1, 1) + dt.timedelta(hours=37 * k) for k in range(N)]


def table():
    """A column of each kind, in the forms that people write."""
    rng = np.random.default_rng(0)
    pounds = [f"{k % 9 + 1},{k * 17 % 1000:03}.5" for k in range(N)]
    return pl.DataFrame(
        {
            "thousands": pounds,
            "amount": [f"{k + 1.5} €" for k in range(N)],
            "weight": [f"{k + 0.5} kg" for k in range(N)],
            "share": [f"{k % 90}%" for k in range(N)],
            "percent": [f"{k % 90 + 2}{'%' * (k % 2)}" for k in range(N)],
            "code": [str(-999 if k % 7 == 0 else k + 0.25) for k in range(N)],
            "smoker": [("No", "yes", "")[k % 3] for k in range(N)],
            "city": [("Rome", " Oslo ", "?", "Bonn")[k % 4] for k in range(N)],
            "day": [f"{moment:%Y-%m-%d}" for moment in MOMENTS],
            "local": [f"{moment:%Y-%m-%d %H:%M}" for moment in MOMENTS],
            "utc": [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in MOMENTS],
            "shifted": [f"{moment:%Y-%m-%d %H:%M}+02:00" for moment in MOMENTS],
            "zones": [f"{moment:%Y-%m-%dT%H:%M}{('Z', '+02:00')[k % 2]}" for k, moment in enumerate(MOMENTS)],
            "named": [f"{moment:%Y-%m-%d %H:%M} Europe/Berlin" for moment in MOMENTS],
            "clock": [f"{moment:%H:%M}" for moment in MOMENTS],
            "y": rng.choice(["a", "b"], N),
        }
    )


@pytest.fixture(scope="module")
def model():
    spec = Spec.from_hyperparameters(members=1, epochs=1, hidden_sizes=(4,))
    rows = read_content(table().write_csv().encode(), format=TableFormat(missing=("-999",)))
    return fit(rows, ["y"], spec, notify=lambda _: None).model


def read_as_predict(model, frame):
    """Numbers and codes of all rows, as `rosenblatt predict` reads a table; None if it refuses the table."""
    read, messages = read_content(frame.write_csv().encode()), []
    schema, _ = adapt_to_table(model.schema, model.target, read.all_rows, read.format, messages)
    signature = read_signature(model)
    inputs = prepare_inputs(signature, schema.read(read.all_rows, messages, read.format))
    return inputs["numbers"], category_codes(signature, inputs["categories"])


def describe(model):
    return python_file._describe_columns(model.schema.input_columns, read_signature(model))


def test_the_training_table_is_read_as_by_predict(model):
    assert [column.name for column in model.schema.input_columns] == table().columns[:-1]
    frame = table()
    numbers, codes = python_cells.to_arrays(describe(model), frame.drop("y").to_dicts())
    expected_numbers, expected_codes = read_as_predict(model, frame)
    assert np.allclose(numbers, expected_numbers, rtol=1e-12, atol=0, equal_nan=True)
    assert (codes == expected_codes).all()
    assert np.isnan(numbers).any(axis=0).sum() == 1  # -999 of `code`


MISSING = ("", "NA", "n/a", "?", "NaN", "-")
EQUAL = {
    "thousands": ("1234.5", "1,234", "12,345.5", "+7", "-3.25", ".5", "5.", "1e3", "2,34,567.5", "-999", *MISSING),
    "amount": ("5 €", "5€", "€5", "5", "-2.5 €", *MISSING),
    "weight": ("5 kg", "5kg", "5", *MISSING),
    "share": ("12%", "12 %", "0.45", "1", "0", "-999", *MISSING),
    "percent": ("12%", "45", "0", "-999", *MISSING),
    "code": ("-999", "-999.0", "7", *MISSING),
    "smoker": ("NO", "Yes", " yes ", "", "?"),
    "city": ("Rome", " Rome ", "Oslo", "Paris", "rome", "", "?", "NaN"),
    "day": ("2024-02-29", "2024-02-29 23:30", "2024-02-29T23:30:00-05:00", *MISSING),
    "local": ("2024-02-29 08:30", "2024-02-29T08:30:15.25", "2024-02-29 08:30:00Z", "2024-02-29", *MISSING),
    "utc": ("2024-02-29T08:30:00+09:00", "2024-02-29 08:30", "2024-02-29T08:30Z", "2024-02-29T23:30-0100", *MISSING),
    "shifted": ("2024-02-29 08:30+02:00", "2024-02-29T23:30:00Z", "2024-02-29 08:30 UTC", "2024-02-29 08:30+05:30"),
    "zones": ("2024-02-29T08:30:00+09:00", "2024-02-29T00:30+01", "2024-02-29T08:30Z", "2024-02-29 08:30"),
    "named": ("2024-02-29 08:30", "2024-02-29 08:30 Europe/Berlin", "2024-02-29", *MISSING),
    "clock": ("08:30", "23:59:59", "08:30:15.5", *MISSING),
}
REFUSED = {
    "thousands": ("0,123", "123,45,678", "1.234,5", "1_000", "1,23", "5 kg", "(5)", "inf", "1e999", "x", "1,2345"),
    "amount": ("5 $", "5 kg", "€5€", "-€5", "5%"),
    "weight": ("kg5", "5 lb", "5 €", "5 kg kg"),
    "share": ("45", "-1.5", "12%%", "x"),
    "percent": ("0.5", "-0.25", "12 kg"),
    "code": ("1,5", "x"),
    "smoker": ("1", "maybe", "true"),
    "day": ("31.12.2024", "20240131", "2024-W05-3", "2024-02-30", "0999-01-01", "2024-01-31T24:30", "today", "12:30"),
    "local": ("2024-01-31 1:30 PM", "2024-01-31 08:30 CET", "1706659200"),
    "named": ("2024-02-29 08:30Z", "2024-02-29 08:30+01:00", "2024-02-29 08:30 Asia/Tokyo"),
    "clock": ("8", "25:00", "2024-02-29", "08:30+01:00", "08:30Z"),
}


@pytest.mark.parametrize("name", EQUAL)
def test_a_cell_is_read_as_by_predict(model, name):
    cells, frame = EQUAL[name], table()
    probes = frame.head(len(cells)).with_columns(pl.Series(name, cells))
    expected_numbers, expected_codes = read_as_predict(model, pl.concat([probes, frame]))
    for row, cell in enumerate(cells):
        numbers, codes = python_cells.to_arrays(describe(model), [probes.drop("y").to_dicts()[row]])
        assert np.allclose(numbers[0], expected_numbers[row], rtol=1e-12, atol=1e-12, equal_nan=True), cell
        assert (codes[0] == expected_codes[row]).all(), cell


@pytest.mark.parametrize("name", REFUSED)
def test_a_cell_that_the_file_does_not_read_is_refused(model, name):
    columns, row = describe(model), table().drop("y").to_dicts()[0]
    python_cells.to_arrays(columns, [row])
    for cell in REFUSED[name]:
        with pytest.raises(ValueError, match=f"Column '{name}'"):
            python_cells.to_arrays(columns, [row | {name: cell}])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("thousands", 1234.5),
        ("thousands", True),
        ("thousands", np.float32(0.1)),
        ("share", 0.45),
        ("code", -999),
        ("smoker", True),
        ("day", dt.date(2024, 2, 29)),
        ("local", dt.datetime(2024, 2, 29, 8, 30)),
        ("local", dt.datetime(2024, 2, 29, 8, 30, tzinfo=ZoneInfo("Asia/Tokyo"))),
        ("utc", dt.datetime(2024, 2, 29, 8, 30, tzinfo=dt.timezone(dt.timedelta(hours=9)))),
        ("shifted", dt.datetime(2024, 2, 29, 8, 30, tzinfo=dt.UTC)),
        ("clock", dt.time(8, 30)),
    ],
)
def test_values_of_python_are_read_as_in_a_typed_table(model, name, value):
    frame = table().drop("y").head(1)
    dtype = pl.Float32 if isinstance(value, np.float32) else None
    expected = prepare_inputs(
        read_signature(model), model.schema.read(frame.with_columns(pl.Series(name, [value], dtype)))
    )
    numbers, codes = python_cells.to_arrays(describe(model), [frame.to_dicts()[0] | {name: value}])
    assert np.allclose(numbers, expected["numbers"], rtol=1e-12, equal_nan=True)
    assert (codes == category_codes(read_signature(model), expected["categories"])).all()


@pytest.mark.parametrize(
    ("name", "value"), [("city", 1.0), ("thousands", "yes"), ("utc", 1.7e9), ("clock", dt.date(2024, 1, 1))]
)
def test_values_of_another_type_are_refused(model, name, value):
    row = table().drop("y").to_dicts()[0] | {name: value}
    with pytest.raises(ValueError, match=f"Column '{name}'"):
        python_cells.to_arrays(describe(model), [row])


def test_what_is_read_outside_is_said_for_each_kind(model):
    notes = " ".join(read_signature(model).boundaries)
    assert "`numbers` takes 'day (day)'" in notes
    assert "zones (UTC)" in notes
    assert "shifted (+02:00)" in notes
    assert "amount (€)" in notes
    assert "share (%)" in notes
    assert "smoker (no and yes in training)" in notes
    assert "words for a missing value as the empty string" in notes
    assert "code (-999)" in notes
    file_notes = " ".join(python_file._notes(model.schema.input_columns, 10))
    assert "converted to that of training, UTC, in which others are read: 'zones'" in file_notes
    assert "Time zones are ignored, as training had none: 'day' and 'local'" in file_notes
    assert "Times must be in the time zone of training, EUROPE/BERLIN, and without another one: 'named'" in file_notes
    assert "Times must be written as 12:30:00: 'clock'" in file_notes
