"""Numbers mean the same however they are written, from the table to the score."""

import json

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.readers.read import read_table
from rosenblatt.data.table import Table
from rosenblatt.errors import TableError
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.predict import evaluate, predict

FAST = Spec.from_hyperparameters(members=2, epochs=5, hidden_sizes=(8,), bins=4)
RNG = np.random.default_rng(0)
X = np.round(RNG.uniform(0.2, 3.2, 120), 3)
Y = np.round(X * 0.3 + 0.01, 4)


def to_comma(text):
    return text.replace(",", "#").replace(".", ",").replace("#", ".")


def to_percent(number):
    return f"{number * 100:.4f}".rstrip("0") + "%"


STYLES = {
    "point": str,
    "comma": lambda number: to_comma(str(number)),
    "percent": to_percent,
    "dollars": lambda number: f"${number:,.4f}",
    "euros": lambda number: to_comma(f"{number:,.4f}") + " €",
    "unit": lambda number: f"{number} kg",
}


def table(style, rows=slice(None)):
    write = STYLES[style]
    frame = pl.DataFrame({"x": [write(x) for x in X[rows]], "y": [write(y) for y in Y[rows]]})
    return Table(frame, f"{style}.csv")


def fit_table(table, **options):
    return fit(table, ["y"], FAST, notify=lambda _: None, **options)


@pytest.fixture(scope="module")
def models():
    return {style: fit_table(table(style)) for style in ("point", "comma", "percent", "dollars", "euros", "unit")}


@pytest.mark.parametrize("style", ["comma", "percent", "dollars", "euros", "unit"])
def test_a_model_depends_on_the_numbers_and_not_on_how_they_are_written(models, style):
    np.testing.assert_array_equal(models[style].y_test, models["point"].y_test)
    assert models[style].scores == models["point"].scores


@pytest.mark.parametrize(
    ("trained", "later"),
    [("comma", "point"), ("point", "comma"), ("comma", "comma"), ("percent", "percent"), ("dollars", "point"),
     ("euros", "euros"), ("euros", "comma"), ("unit", "comma")],
)  # fmt: skip
def test_later_tables_may_be_written_otherwise(models, trained, later):
    expected = predict(models["point"].model, table("point"), notify=lambda _: None)
    messages = []
    assert predict(models[trained].model, table(later), notify=messages.append).equals(expected)
    scores, _ = evaluate(models[trained].model, table(later), notify=lambda _: None)
    assert scores == evaluate(models["point"].model, table("point"), notify=lambda _: None)[0]
    if {trained, later} == {"point", "comma"}:
        assert messages == [f"numbers with a decimal {later} are converted (decimal {trained} in training): x, y"]


def test_test_and_validation_tables_are_read_alike():
    result = fit_table(table("point", slice(80)), test=table("comma", slice(80, 100)), validation=table("comma"))
    np.testing.assert_allclose(result.y_test[:, 0], Y[80:100])


@pytest.mark.parametrize(
    ("trained", "later", "message"),
    [
        ("dollars", "euros", "must hold numbers in \\$"),
        ("unit", "dollars", "must hold numbers in kg"),
        ("percent", "unit", "must hold numbers in %"),
        ("point", "percent", "must hold numbers without a unit"),
        ("percent", "point", "without a percent sign"),
    ],
)
def test_later_tables_in_another_unit_or_of_unknown_scale_are_an_error(models, trained, later, message):
    with pytest.raises(TableError, match=message):
        predict(models[trained].model, table(later), notify=lambda _: None)


def test_rows_of_two_readings_are_read_as_in_training(models):
    rows = np.flatnonzero([len(to_comma(str(x))) == 5 and len(str(y)) == 6 for x, y in zip(X, Y, strict=True)])
    later = pl.DataFrame({"x": [to_comma(str(X[row])) for row in rows]})
    expected = predict(models["point"].model, table("point", rows), notify=lambda _: None)
    assert predict(models["comma"].model, Table(later, "more.csv"), notify=lambda _: None).equals(expected)
    with pytest.raises(TableError, match="Use --decimal , or --thousands ,"):
        predict(models["point"].model, Table(later.filter(~pl.col("x").str.starts_with("0")), "more.csv"))


def test_the_command_reads_all_rows_of_a_file_in_one_way(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table("comma").frame.write_csv("comma.csv", separator=";")
    pl.DataFrame({"x": ["1,125", "0,5", "2,250"], "z": 1}).write_csv("later.csv", separator=";")
    pl.DataFrame({"x": ["1.125", "0.5", "2.250"], "z": 1}).write_csv("point.csv")
    assert run("fit", "comma.csv", "-t", "y", "--members", "1", "--epochs", "3", "--store", "none")[0] == 0
    outputs = [run("predict", "comma.rosenblatt", name)[1] for name in ("later.csv", "point.csv")]
    assert outputs[0] == outputs[1]
    traces = []
    for name in ("later.csv", "point.csv"):
        status, out, _ = run("explain", "comma.rosenblatt", name, "--row", "1", "--json")
        assert status == 0
        traces.append(json.loads(out))
    assert traces[0]["layers"] == traces[1]["layers"]
    assert "1,125" in json.dumps(traces[0])


def test_options_decide_how_numbers_are_written(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pl.DataFrame({"x": [f"{i},{i % 10}25" for i in range(1, 60)]}).write_csv("n.csv")
    for options, value in (([], "1125"), (["--decimal", ","], "1.125"), (["--thousands", ","], "1125")):
        status, out, _ = run("describe", "n.csv", *options)
        assert status == 0
        assert f"from {value}" in out
    assert read_table("n.csv", decimal=",").format.decimal == ","


def test_a_forecast_reads_numbers_as_written():
    steps = np.arange(60)
    values = np.round(10 + np.sin(steps / 3) * 5, 3)
    tables = [
        Table(pl.DataFrame({"t": steps.astype(str), "sales": list(map(write, values))}), "sales.csv")
        for write in (STYLES["point"], STYLES["comma"], STYLES["euros"])
    ]
    spec = FAST.replace(kind="rnn", time="t", horizon=2, window=6, epochs=1)
    messages = []
    models = [fit(table, ["sales"], spec, notify=messages.append).model for table in tables]
    assert "numbers written as 1.234,5: sales" in messages
    forecasts = [predict(model, table, notify=lambda _: None) for model in models for table in tables[:2]]
    assert all(forecast.equals(forecasts[0]) for forecast in forecasts)
