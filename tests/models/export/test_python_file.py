import csv
import importlib.util
import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.readers.files import read_content
from rosenblatt.errors import ExportError
from rosenblatt.models.export import python_cells, python_file, python_program
from rosenblatt.models.export.export import export_model
from rosenblatt.models.export.formats import FORMATS
from rosenblatt.models.export.sample_rows import sample_rows
from rosenblatt.models.export.signature import read_signature
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.predict import predict as predict_table
from tests.models.export.fitted_models import (
    DENSE,
    ENCODINGS,
    make_deep_model,
    make_dense_model,
    make_ensemble,
    typed_rows,
)


def import_file(path):
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def largest_difference(model, path, seed=1):
    python_file.write(model, read_signature(model), path)
    rows = typed_rows(seed).select(column.name for column in model.schema.columns)
    got, expected = import_file(path).predict_proba(rows.to_dicts()), model.predict_typed(rows)
    assert got.shape == expected.shape
    return float((np.abs(got - expected) / np.maximum(np.abs(expected), 1)).max())


@pytest.mark.parametrize("name", DENSE)
def test_dense_networks_predict_as_the_model_does(name, tmp_path):
    assert largest_difference(make_dense_model(name), tmp_path / "x.py") < 1e-5


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_numbers_are_encoded_as_the_model_does(encoding, tmp_path):
    assert largest_difference(make_dense_model("relu", encoding), tmp_path / "x.py") < 1e-5
    assert largest_difference(make_dense_model("relu", encoding), tmp_path / "y.py", seed=0) < 1e-5


def test_an_ensemble_predicts_as_the_model_does(tmp_path):
    assert largest_difference(make_ensemble(), tmp_path / "x.py") < 1e-5


def test_weights_of_large_models_are_written_in_base64(tmp_path, monkeypatch):
    readable, encoded = tmp_path / "x.py", tmp_path / "y.py"
    model = make_dense_model("relu")
    assert largest_difference(model, readable) < 1e-5
    monkeypatch.setattr(python_file, "MAX_READABLE_VALUES", 10)
    assert largest_difference(model, encoded) < 1e-5
    assert "decode_array('" not in readable.read_text()
    assert "decode_array('" in encoded.read_text()
    assert "base64, as float32" in encoded.read_text()


def test_networks_that_are_not_dense_are_refused_before_anything_is_written(tmp_path):
    model = make_deep_model("gru, last")
    with pytest.raises(ExportError, match="dense networks only, but this model is of the kind rnn"):
        python_file.write(model, read_signature(model), tmp_path / "x.py")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def table():
    """A CSV table with units, percentages, decimal commas, dates, booleans, categories and missing markers."""
    rng, n = np.random.default_rng(0), 120
    frame = pl.DataFrame(
        {
            "age": [str(age) if age > 20 else "NA" for age in rng.integers(18, 90, n)],
            "price": [f"{price // 1000}.{price % 1000:03},5 €" for price in rng.integers(1000, 9000, n)],
            "share": [f"{share}%" for share in rng.integers(0, 100, n)],
            "when": [f"20{year}-0{month}-1{day}" for year, month, day in rng.integers([10, 1, 0], [24, 9, 9], (n, 3))],
            "smoker": rng.choice(["yes", "no", ""], n),
            "city": rng.choice(["Rome", "Oslo", "none", "?"], n),
        }
    )
    target = pl.Series("income", ["high" if p > "5" else "low" for p in frame["price"]])
    return frame.with_columns(target).write_csv(separator=";").encode()


def test_cells_of_csv_rows_are_read_as_the_command_predict_reads_them(table, tmp_path):
    rows = read_content(table)
    spec = Spec.from_hyperparameters(members=2, epochs=2, hidden_sizes=(8,))
    model = fit(rows, ["income"], spec, notify=lambda _: None).model
    path = tmp_path / "people.py"
    python_file.write(model, read_signature(model), path)
    expected = predict_table(model, rows, notify=lambda _: None)
    got = import_file(path).predict_proba(list(csv.DictReader(io.StringIO(table.decode()), delimiter=";")))
    assert np.abs(got - expected[:, 1:].to_numpy()).max() < 1e-5


@pytest.mark.slow
def test_the_file_runs_alone_and_prints_a_table(tmp_path):
    model, path = make_dense_model("relu"), tmp_path / "x.py"
    result = export_model(model, FORMATS["python"], path, sample_rows(model))
    assert result.comparison.largest_difference < 1e-5
    rows = typed_rows(1).select(column.name for column in model.schema.columns)
    rows.write_csv(tmp_path / "rows.csv")
    process = subprocess.run(
        [sys.executable, "-I", str(path), str(tmp_path / "rows.csv")], capture_output=True, text=True, check=True
    )
    printed = pl.read_csv(io.StringIO(process.stdout))
    assert printed.columns == ["y", "probability of a", "probability of b", "probability of c"]
    assert np.abs(printed[:, 1:].to_numpy() - model.predict_typed(rows)).max() < 1e-5
    assert printed["y"].to_list() == model.label(model.predict_typed(rows)).tolist()


def test_a_cell_of_another_kind_is_one_sentence(tmp_path):
    model = make_dense_model("relu")
    python_file.write(model, read_signature(model), tmp_path / "x.py")
    row = {"age": "old", "ties": 1, "time": 2, "constant": 3, "city": "red"}
    with pytest.raises(ValueError, match="Column 'age' must hold numbers, but holds 'old'"):
        import_file(tmp_path / "x.py").predict([row])
    with pytest.raises(ValueError, match="Row 1 lacks the column 'city'"):
        import_file(tmp_path / "x.py").predict([{"age": 1, "ties": 1, "time": 2, "constant": 3}])
    with pytest.raises(ValueError, match="Column 'age' must hold numbers, but holds '1_000'"):
        import_file(tmp_path / "x.py").predict([row | {"age": "1_000"}])


def test_names_of_the_user_are_text_of_the_file_but_not_code(tmp_path):
    quotes = '""" + open("executed", "w").name + """'
    names = {"age": quotes, "ties": "back\\slash\\N", "city": "{outputs} {model}", "time": "line\nbreak"}
    model = make_dense_model("relu", n_networks=1)
    encodings = [
        encoding.model_copy(update={"column": names.get(encoding.column, encoding.column)})
        for encoding in model.encoder.encodings
    ]
    columns = [
        column.model_copy(update={"name": names.get(column.name, column.name)}) for column in model.schema.columns
    ]
    target = model.target.model_copy(update={"names": (quotes,), "labels": (quotes, "{model}", '"')})
    trial = replace(
        model.trials[0], encoder=model.encoder.model_copy(update={"encodings": tuple(encodings)}), target=target
    )
    odd = replace(model, schema=model.schema.model_copy(update={"columns": tuple(columns)}), trials=(trial,))
    python_file.write(odd, read_signature(odd), tmp_path / "x.py")
    module = import_file(tmp_path / "x.py")
    assert quotes in module.__doc__
    assert "{model}" in module.predict_proba.__doc__
    rows = typed_rows().select(column.name for column in model.schema.columns)
    assert np.abs(module.predict_proba(rows.rename(names).to_dicts()) - model.predict_typed(rows)).max() < 1e-5
    assert set(module.predict(rows.rename(names).to_dicts())) <= {quotes, "{model}", '"'}


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "plain"),
    [
        ("-1,234.5", ".", ",", "-1234.5"),
        ("12,34,567", ".", ",", "1234567"),
        ("1 234 567,5", ",", " '", "1234567.5"),
        ("1 234'567,5", ",", " '", ""),
        ("0,123", ".", ",", ""),
        (".5", ".", "", ".5"),
        ("3.", ".", "", "3."),
        ("1,5", ".", ",", ""),
        ("1.234,5", ".", ",", ""),
        ("1_000", ".", "", ""),
        (".", ".", "", ""),
        ("\u0661", ".", "", ""),
    ],
)
def test_numbers_are_read_only_if_written_as_in_training(text, decimal, thousands, plain):
    assert python_cells.plain_number(text, decimal, thousands) == plain


def test_booleans_are_the_words_of_training_or_values_of_python():
    column = {"name": "smoker", "kind": "boolean", "words": ["N", "Y"], "categories": ["false", "true"]}
    column |= {"missing": [], "missing_words": [], "missing_numbers": []}
    codes = [python_cells.read_category(column, cell) for cell in ("n", " Y ", False, np.True_, None)]
    assert codes == [0, 1, 0, 1, 2]
    with pytest.raises(ValueError, match="Column 'smoker' must hold 'N' or 'Y', but holds 'perhaps'"):
        python_cells.read_category(column, "perhaps")


COLUMNS = [{"name": name} for name in ("column_1", "a, b", "a, b_3", "c")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_with_unnamed_and_repeated_columns_are_read(tmp_path, delimiter):
    path = tmp_path / "x.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([["", "a, b", "a, b", " c "], ["1", "2", "3", "4"], []])
    (row,) = next(python_program.read_batches(str(path), COLUMNS))
    assert row == {"column_1": "1", "a, b": "2", "a, b_3": "3", "c": "4"}


def test_tables_that_lack_a_column_or_a_cell_are_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("x;y\n1;2\n3\n")
    with pytest.raises(ValueError, match="must name the columns, but lacks 'z'"):
        next(python_program.read_batches(str(path), [{"name": "x"}, {"name": "z"}]))
    with pytest.raises(ValueError, match="Line 3 has 1 cells, but the header has 2"):
        next(python_program.read_batches(str(path), [{"name": "x"}]))
