import numpy as np
import polars as pl
import pytest

from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.table import TableFormat
from rosenblatt.errors import TableError

RNG = np.random.default_rng(0)
N = 200


def infer_column(cells, name="x"):
    return infer_schema(pl.DataFrame({name: cells}), 64).columns[0]


def read_column(cells, name="x"):
    frame = pl.DataFrame({name: cells})
    return infer_schema(frame, 64).read(frame)


def as_strings(values):
    return [str(value) for value in values]


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1", " 2 ", "3.5", "-4e2"], [1, 2, 3.5, -400]),
        (["1", "?", "NA", "n/a", "", None, "2", "-", "NULL", "nan"], [1, *[None] * 5, 2, *[None] * 3]),
        (["1,234.5", "12", "1,000,000"], [1234.5, 12, 1e6]),
        (["1.234,5", "12", "1.000.000,25"], [1234.5, 12, 1000000.25]),
        (["1 234", "5 000 000", "12"], [1234, 5e6, 12]),
        (["1'234.5", "12"], [1234.5, 12]),
        (["3,5", "4,25"], [3.5, 4.25]),
        (["$1,200", "$ 7", "-$3.50"], [1200, 7, -3.5]),
        (["12 %", "7%"], [0.12, 0.07]),
    ],
)
def test_numbers_are_read_however_they_are_written(cells, numbers):
    assert read_column(cells)["x"].to_list() == numbers


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["yes", "No", " YES", "no"], "boolean"),
        (["true", "false", "True"], "boolean"),
        ([True, False, None], "boolean"),
        (["red", "blue", "red"], "category"),
        ([1, 2, 2, 4], "number"),
        (["a", "a", "a"], "constant"),
        ([5.0, 5.0], "constant"),
        (["?", "", None], "empty"),
        ([float("nan"), None], "empty"),
        (["2020-01-31", "2021-12-01"], "date"),
        (["31.01.2020", "01.12.2021"], "date"),
        (["01/31/2020 10:30", "12/01/2021 11:00"], "date"),
        (["12:30", "09:15"], "date"),
        (["2020-01-31T10:00:00Z", "2020-02-01T11:30:00Z"], "date"),
        (["2024-01-02T10:01:00+02:00", "2024-02-02T11:30:00+02:00"], "date"),
        (as_strings(range(N)), "identifier"),
        ([f"user-{i}" for i in range(N)], "identifier"),
        ([f"the quick brown fox number {i} jumps over it" for i in range(N)], "text"),
        (as_strings(RNG.normal(size=N)), "number"),
        ([[1, 2], [3]], "sequence"),
        ([["a"], ["b"]], "nested"),
        (["a.png", "b.JPG"], "image"),
        (["a", "1", "2", "b"] * 10, "category"),
        ([f"A/{i}" if i % 3 else str(i) for i in range(N)], "identifier"),
    ],
)
def test_column_kinds_are_inferred_from_the_cells(cells, kind):
    assert infer_column(cells).kind == kind


def test_row_numbers_and_columns_named_id_are_noted_identifiers():
    assert infer_column(as_strings(RNG.permutation(N)), "customer_id").kind == "identifier"
    assert infer_column(as_strings(RNG.permutation(N)), "income").kind == "number"
    assert "left out" in infer_column(as_strings(range(1, N + 1)), "income").note


def test_identifiers_beyond_53_bits_are_recognized():
    assert infer_column([str(10**17 + 7 * i) for i in RNG.permutation(N)], "user_id").kind == "identifier"
    assert infer_column([10**17 + 7 * int(i) for i in RNG.permutation(N)], "user_id").kind == "identifier"


def test_many_categories_are_noted():
    column = infer_column([f"c{i % 90}" for i in range(900)])
    assert column.kind == "category"
    assert column.note.startswith("the 64 most frequent categories")
    assert "90 categories" in column.note


def test_a_few_stray_words_among_numbers_are_missing_and_noted():
    cells = as_strings(RNG.normal(size=N))
    cells[100] = "oops"
    column = infer_column(cells)
    assert column.kind == "number"
    assert column.missing == 1
    assert "'oops'" in column.note
    assert read_column(cells)["x"].null_count() == 1


def test_a_frequent_word_in_a_column_of_numbers_means_missing():
    cells = ["unknown" if i % 3 == 0 else str(i / 7) for i in range(N)]
    assert infer_column(cells).kind == "number"
    assert read_column(cells)["x"].null_count() == len(cells[::3])


def test_a_column_that_changes_kind_half_way_is_rejected_with_the_rows():
    cells = as_strings(RNG.normal(size=N)) + ["abc"] * 40
    with pytest.raises(TableError, match=r"changes kind half-way: .* in row 1, but words such as 'abc' in row 201"):
        infer_column(cells)


def test_an_infinite_number_is_rejected_with_its_row():
    for cells in (["1", "?", "inf"], [1.0, None, float("inf")]):
        with pytest.raises(TableError, match="infinite number in row 3"):
            infer_column(cells)


def test_dates_become_day_month_weekday_and_hour():
    frame = read_column(["2024-02-29 06:30", "2023-12-31 18:00", None])
    assert frame.columns == ["x (day)", "x (month)", "x (weekday)", "x (hour)"]
    assert frame.row(0) == (19782 + 6.5 / 24, 2, 4, 6.5)
    assert frame.row(2) == (None, None, None, None)


def test_column_kinds_of_real_tables_match_their_documentation(shared_data):
    from rosenblatt.data.readers.read import read_table

    kinds = {c.name: c.kind for c in infer_schema(read_table(shared_data / "adult-train.csv").frame, 64).columns}
    assert [name for name, kind in kinds.items() if kind == "number"] == [
        "age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"
    ]  # fmt: skip
    autos = {c.name: c for c in infer_schema(read_table(shared_data / "auto_imports.csv").frame, 64).columns}
    assert (autos["normalized_losses"].kind, autos["normalized_losses"].missing) == ("number", 37)
    assert autos["num_doors"].kind == "category"


def test_a_point_separates_thousands_if_the_table_has_decimal_commas():
    frame = pl.DataFrame(
        {"x": ["1.535", "2.851", "432"], "z": ["219,35", "1,5", "7,25"], "w": ["0.535", "2.851", "3.5"]}
    )
    read = infer_schema(frame, 64).read(frame)
    assert read["x"].to_list() == [1535, 2851, 432]
    assert read["w"].to_list() == [0.535, 2.851, 3.5]
    single_column = frame.select("x")
    assert infer_schema(single_column, 64).read(single_column)["x"].to_list() == [1.535, 2.851, 432]


def test_years_are_not_identifiers_and_identifiers_can_be_inputs():
    assert infer_column(as_strings(range(1900, 2020)), "year").kind == "number"
    frame = pl.DataFrame({"t": as_strings(range(N)), "name": [f"user-{i}" for i in range(N)]})
    schema = infer_schema(frame, 64).with_identifiers(["t", "name"])
    assert [column.kind for column in schema.columns] == ["number", "category"]
    assert schema.read(frame).dtypes == [pl.Float64, pl.String]


def test_ambiguous_dates_are_noted():
    assert "ambiguous order of day and month, read as month/day/year" in infer_column(["01/02/2020", "03/04/2021"]).note
    assert infer_column(["01/22/2020", "03/04/2021"]).note == ""
    assert infer_column(["22/01/2020", "03/04/2021"]).note == ""
    assert infer_column(["2020/01/02", "2021/03/04"]).note == ""


def test_ambiguous_dates_are_read_as_those_of_other_columns():
    schema = infer_schema(pl.DataFrame({"a": ["01/02/2020", "03/04/2021"], "b": ["22/01/2020", "03/04/2021"]}), 64)
    assert schema.columns[0].date_format.order == "day/month/year"
    assert "as in other columns" in schema.columns[0].note


def test_a_given_order_of_day_and_month_is_used():
    frame = pl.DataFrame({"d": ["01/02/2020", "03/04/2021"]})
    schema = infer_schema(frame, 64, TableFormat(day_first=True))
    assert schema.columns[0].date_format.order == "day/month/year"
    assert schema.read(frame)["d (month)"].to_list() == [2, 4]
    assert schema.read(frame, None, TableFormat(day_first=False))["d (month)"].to_list() == [1, 3]


def test_iso_dates_are_read_whatever_the_schema_format():
    schema = infer_schema(pl.DataFrame({"d": ["22/01/2020", "03/04/2021"]}), 64)
    assert schema.read(pl.DataFrame({"d": ["2020-01-22"]}))["d (day)"][0] == 18283


@pytest.mark.parametrize(("stray", "every"), [("31/02/2021", 400), ("unknown", 5), ("99/99/9999", 3)])
def test_dates_that_are_missing_in_training_are_missing_in_the_same_table_as_read(stray, every):
    days = [stray if i % every == 0 else f"2021-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(400)]
    frame = pl.DataFrame({"when": days})
    schema = infer_schema(frame, 64)
    assert schema.columns[0].kind == "date"
    assert schema.read(frame).to_series().null_count() == days.count(stray)


@pytest.mark.parametrize(("cells", "is_noted"), [(["00501", "10001", "02139"], True), (["0", "0.5", "10"], False)])
def test_leading_zeros_of_numbers_are_noted(cells, is_noted):
    column = infer_column(cells * 10)
    assert column.kind == "number"
    assert ("leading zeros" in column.note) is is_noted
