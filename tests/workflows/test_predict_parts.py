import datetime as dt
import os
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.readers import parts as parts_module
from rosenblatt.data.readers.read import read_table
from rosenblatt.data.table import Table, TableFormat
from rosenblatt.errors import TableError
from rosenblatt.models.model_file import to_bytes
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.predict import predict
from rosenblatt.workflows.predict_parts import open_for_prediction, predict_parts

N_ROWS, PART_ROWS = 1000, 128


def make_table(n, seed=0):
    """Cells as people write them: numbers with units and thousands, percentages, dates, booleans, missing markers."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "age": [str(age) if age > 20 else "NA" for age in rng.integers(18, 90, n)],
            "price": [f"{price:,}.5" for price in rng.integers(100, 9000, n)],
            "share": [f"{share}%" for share in rng.integers(0, 100, n)],
            "when": [f"{day}/{month}/20{year}" for day, month, year in rng.integers([13, 1, 10], [29, 13, 24], (n, 3))],
            "smoker": rng.choice(["yes", "no", ""], n),
            "city": rng.choice(["Rome", "Oslo", "none", "?"], n),
            "income": rng.choice(["high", "low"], n),
        }
    )


@pytest.fixture(scope="module")
def model():
    spec = Spec.from_hyperparameters(members=1, epochs=1, hidden_sizes=(4,))
    return fit(Table(make_table(200), "people.csv"), ["income"], spec, notify=lambda _: None).model


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts_module, "_part_rows", lambda *_: PART_ROWS)


def predict_file(model, path, messages=None, *, with_inputs=False, typed=False):
    """Predictions of a file in parts, which are several."""
    parts = open_for_prediction(model, path, TableFormat(), with_inputs=with_inputs, typed=typed, min_bytes=0)
    notify = (lambda _: None) if messages is None else messages.append
    frames = list(predict_parts(model, parts, with_inputs=with_inputs, notify=notify))
    assert len(frames) > 3
    return pl.concat(frames)


def check_equal(model, path, **options):
    """Check that a file in parts is predicted as at once, to the last bit, with the same messages."""
    messages, expected_messages = [], []
    table = read_table(path)
    expected = predict(model, table, notify=expected_messages.append, **options)
    assert predict_file(model, path, messages, **options).equals(expected)
    assert set(messages) >= set(expected_messages)
    return messages


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "arrow"])
@pytest.mark.parametrize("with_inputs", [False, True])
def test_parts_of_a_table_are_predicted_as_the_table_at_once(model, tmp_path, suffix, with_inputs):
    path, frame = tmp_path / f"people.{suffix}", make_table(N_ROWS, seed=1)
    writers = {
        "csv": frame.write_csv, "tsv": lambda path: frame.write_csv(path, separator="\t"),
        "parquet": frame.write_parquet, "arrow": frame.write_ipc,
    }  # fmt: skip
    writers[suffix](path)
    check_equal(model, path, with_inputs=with_inputs)


def test_typed_columns_are_predicted_as_the_table_at_once(model, tmp_path):
    frame = make_table(N_ROWS, seed=1).with_columns(
        age=pl.Series(np.arange(N_ROWS) % 70 + 20.0), price=pl.Series(np.arange(N_ROWS) + 0.5),
        share=pl.Series(np.linspace(0, 1, N_ROWS)), when=pl.Series([dt.date(2020, 1, 1)] * N_ROWS),
    )  # fmt: skip
    path = tmp_path / "people.parquet"
    frame.write_parquet(path)
    check_equal(model, path, with_inputs=True)
    assert open_for_prediction(model, path, TableFormat(), with_inputs=True, typed=True, min_bytes=0) is None


def test_messages_of_all_parts_are_counted_together(model, tmp_path):
    frame = make_table(N_ROWS, seed=1)
    cells = frame["age"].to_list()
    cells[5] = cells[500] = cells[900] = "old"
    frame.with_columns(age=pl.Series(cells), city=pl.Series(["Rome", "Bonn"] * (N_ROWS // 2))).write_csv(
        tmp_path / "people.csv"
    )
    messages = check_equal(model, tmp_path / "people.csv")
    assert "cells read as missing (expected numbers): age (3 cells, such as 'old')" in messages


def test_many_cells_of_another_kind_are_an_error_although_they_are_few_in_each_part(model, tmp_path):
    frame = make_table(N_ROWS, seed=1)
    cells = [cell if k % 40 else "old" for k, cell in enumerate(frame["age"])]
    frame.with_columns(age=pl.Series(cells)).write_csv(tmp_path / "people.csv")
    with pytest.raises(TableError, match=r"25 of 1000 cells do not, such as 'old'"):
        predict_file(model, tmp_path / "people.csv")


def test_clustered_cells_of_another_kind_are_missing_as_in_the_table_at_once(model, tmp_path):
    frame = make_table(N_ROWS, seed=1)
    cells = ["old" if 10 <= k < 25 else cell for k, cell in enumerate(frame["age"])]
    frame.with_columns(age=pl.Series(cells)).write_csv(tmp_path / "people.csv")
    check_equal(model, tmp_path / "people.csv")


def with_last_cells(column, convert):
    frame = make_table(N_ROWS, seed=1)
    cells = [convert(cell) if k >= 6 * PART_ROWS else cell for k, cell in enumerate(frame[column])]
    return frame.with_columns(pl.Series(column, cells))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (with_last_cells("price", lambda cell: cell.replace(",", "").replace(".", ",")), "shows a decimal comma"),
        (with_last_cells("smoker", lambda cell: {"yes": "1", "no": "0"}.get(cell, cell)), "the words for yes and no"),
        (with_last_cells("when", lambda cell: "/".join([*cell.split("/")[1::-1], cell[-4:]])), "order"),
    ],
)  # fmt: skip
def test_parts_that_are_written_otherwise_are_refused(model, tmp_path, frame, message):
    frame.write_csv(tmp_path / "people.csv")
    with pytest.raises(TableError, match=message):
        predict_file(model, tmp_path / "people.csv")


def test_blank_lines_repeated_headers_and_notes_below_are_left_out(model, tmp_path):
    lines = make_table(N_ROWS, seed=1).write_csv().splitlines()
    lines[300:300] = ["", lines[0], ",,,,,,"]
    (tmp_path / "people.csv").write_text("\n".join([*lines, "Source: a registry,,,,,,"]) + "\n")
    check_equal(model, tmp_path / "people.csv")


def test_a_table_that_ends_with_a_total_is_refused(model, tmp_path):
    text = make_table(N_ROWS, seed=1).write_csv()
    (tmp_path / "people.csv").write_text(f"{text}Total,5,,,,,\n")
    with pytest.raises(TableError, match=r"named as a total.*--no-stream"):
        predict_file(model, tmp_path / "people.csv")


def test_a_table_that_lacks_a_column_is_refused_at_once(model, tmp_path):
    make_table(N_ROWS).drop("city").write_csv(tmp_path / "people.csv")
    with pytest.raises(TableError, match="lacks 'city'"):
        predict_file(model, tmp_path / "people.csv")


@pytest.mark.slow
def test_the_command_writes_all_or_nothing(model, tmp_path):
    (tmp_path / "people.rosenblatt").write_bytes(to_bytes(model))
    frame = make_table(20_000, seed=1)
    frame.write_csv(tmp_path / "people.csv")
    command = [sys.executable, "-m", "rosenblatt", "predict", "people.rosenblatt", "people.csv", "--stream", "--out"]
    done = subprocess.run([*command, "out.parquet"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "predictions: out.parquet (20,000 rows)" in done.stdout
    assert "in parts" in done.stderr
    assert pl.read_parquet(tmp_path / "out.parquet").equals(
        predict(model, read_table(tmp_path / "people.csv"), notify=lambda _: None)
    )
    big = subprocess.Popen([*command, "other.csv"], cwd=tmp_path, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".other.csv.*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(big.pid, signal.SIGINT)
    big.communicate(timeout=60)
    assert not list(tmp_path.glob("*other*"))
