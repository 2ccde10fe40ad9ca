import random

import polars as pl
import pytest
from polars.testing import assert_series_equal

from rosenblatt.data.readers.read import read_table
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.tasks.task import detect_task
from rosenblatt.data.volumes.sources.open import open_samples
from tests.data.schema.test_round_trip import write_table
from tests.data.volumes.sources.files import read

ROWS = """age,city,code,income,date,when,member,answer,mark
31,Oslo,007,"1,200.50",2021-03-04,2021-03-04 05:06,True,yes,?
?,Rome,010,"900.00",2021-03-05,2021-03-04 05:07,False,no,B
29,Lima,011,"1,000.00",2021-03-06,2021-03-04 05:08,True,yes,B
"""


def write(folder, text, name="t.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_text_columns_become_typed_where_no_cell_loses_what_it_says(tmp_path):
    source = open_samples(write(tmp_path, ROWS))
    frame = read(source)
    assert dict(source.columns) == dict(frame.schema) == {
        "id": pl.String, "age": pl.Int64, "city": pl.String, "code": pl.String, "income": pl.Float64, "date": pl.Date,
        "when": pl.Datetime("us"), "member": pl.Boolean, "answer": pl.String, "mark": pl.String,
    }  # fmt: skip
    assert frame["age"].to_list() == [31, None, 29]
    assert frame["code"].to_list() == ["007", "010", "011"]
    assert frame["income"].to_list() == [1200.5, 900.0, 1000.0]
    assert frame["mark"].to_list() == [None, "B", "B"]
    notes = " ".join(source.notes)
    assert "read as missing (--no-missing to keep): age ('?' in 1 cell), mark ('?' in 1 cell)" in notes


@pytest.mark.parametrize(("cells", "dtype"), [
    (["1", "2", "3"], pl.Int64),
    (["9007199254740993", "9007199254740995", "7"], pl.Int64),
    (["12345678901234567890", "12345678901234567891", "5"], pl.String),
    (["1.5", "2", "3"], pl.Float64),
    (["1e3", "2e3", "5"], pl.Int64),
    (["1.234,5", "1.000,5", "2,5"], pl.Float64),
    (["01", "2", "3"], pl.String),
    (["2021-03", "2021-04", "2021-05"], pl.String),
    (["05:30", "06:30", "07:30"], pl.String),
    (["2021-02-03", "2021-02-04", "NA"], pl.Date),
    (["true", "false", "true"], pl.Boolean),
    (["True", "false", "true"], pl.String),
    (["0.5", "0.5", "0.5"], pl.Float64),
    (["", "", ""], pl.String),
])  # fmt: skip
def test_each_way_to_write_cells_has_its_type(tmp_path, cells, dtype):
    rows = "".join(f'{i},"{cell}"\n' for i, cell in enumerate(cells))
    source = open_samples(write(tmp_path, f"a,x\n{rows}"))
    assert source.columns["x"] == dtype


@pytest.mark.parametrize("cells", [["none", "mild", "severe"], ["NA", "EU", "AP"], ["?", "NA", "x"]])
def test_words_that_may_be_categories_stay_and_are_read_as_those_of_the_file(tmp_path, cells):
    path = write(tmp_path, "a,x\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells)))
    assert read(open_samples(path))["x"].to_list() == cells


def test_spaces_around_words_are_left_out_and_counted(tmp_path):
    source = open_samples(write(tmp_path, "a,x\n1, red\n2,red \n3,a  b\n4, \n"))
    assert read(source)["x"].to_list() == ["red", "red", "a  b", None]
    assert "spaces around words are left out: x (2 cells)" in source.notes


def test_given_words_are_missing_and_no_markers_are_on_request(tmp_path):
    path = write(tmp_path, "a,x\n1,red\n-9,?\n3,zero\n")
    table = read_table(path, missing=["-9", "zero"])
    frame = read(open_samples(path, format=table.format))
    assert frame["a"].to_list() == [1, None, 3]
    assert frame["x"].to_list() == ["red", None, None]
    kept = read(open_samples(path, format=read_table(path, missing=[]).format))
    assert kept["x"].to_list() == ["red", "?", "zero"]


def check_same_schema(path, target):
    """Compare what `fit` infers from the columns of a volume with what it infers from the file."""
    source, table = open_samples(path), read_table(path)
    stored = read(source).drop("id" if source.id_origin == "generated" else [])
    for frame, other in ((table.frame, stored),):
        schemas = [infer_schema(frame, 100, table.format), infer_schema(other, 100, source.format)]
        described = [[(c.name, c.kind, c.missing, c.distinct) for c in schema.columns] for schema in schemas]
        assert described[0] == described[1]
        tasks = [detect_task(frame, [target], format=table.format), detect_task(other, [target], format=source.format)]
        assert tasks[0].task == tasks[1].task
        assert tasks[0].labels == tasks[1].labels


@pytest.mark.parametrize(("name", "target"), [
    ("abalone.csv", "rings"), ("adult-test.csv", "income"), ("auto_imports.csv", "price"), ("german.csv", "risk"),
    ("housing.csv", "medv"), ("iris-noheader.csv", "column_5"), ("wine-noheader.csv", "column_1"),
    ("winequality-white.csv", "quality"),
])  # fmt: skip
def test_fit_infers_the_same_schema_from_a_volume_as_from_the_file(shared_data, name, target):
    check_same_schema(shared_data / name, target)


def test_fit_infers_the_same_schema_from_small_tables(tmp_path):
    rows = "".join(f"{i},{i % 3},w{i % 2},{i * 0.5},2021-01-{i + 1:02},{'yes' if i % 2 else 'no'}\n" for i in range(25))
    check_same_schema(write(tmp_path, f"id,group,word,x,day,y\n{rows}"), "y")


def test_values_of_tables_in_any_style_are_those_that_fit_reads(tmp_path):
    for seed in range(4):
        path = tmp_path / f"{seed}.csv"
        write_table(random.Random(seed), path)
        table, source = read_table(path), open_samples(path)
        stored = read(source).drop("id")
        schemas = [infer_schema(table.frame, 100, table.format), infer_schema(stored, 100, source.format)]
        typed = [schemas[0].read(table.frame, None, table.format), schemas[1].read(stored, None, source.format)]
        assert typed[0].columns == typed[1].columns
        for first, second in zip(*typed, strict=True):
            assert_series_equal(first, second, check_dtypes=False)
