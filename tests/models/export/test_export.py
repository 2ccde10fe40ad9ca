from dataclasses import replace

import pytest

from rosenblatt.errors import ExportError
from rosenblatt.models.export import comparison
from rosenblatt.models.export.export import export_model
from rosenblatt.models.export.formats import FORMATS, find_format
from rosenblatt.models.export.sample_rows import sample_rows
from tests.models.export.fitted_models import make_dense_model, typed_rows

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def model():
    return make_dense_model("relu", n_networks=1)


def test_generated_rows_use_all_categories_and_missing_cells(model):
    rows = sample_rows(model)
    assert set(model.encoder.encodings[-1].categories) < set(rows["city"])
    assert rows["city"].has_nulls()
    assert rows["age"].has_nulls()


def test_a_model_that_predicts_otherwise_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(ExportError, match=r"differ by .* Nothing was written"):
        export_model(model, FORMATS["python"], tmp_path / "x.py", sample_rows(model))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_replaced_by_a_folder_nor_a_folder_by_a_file(model, tmp_path):
    with pytest.raises(ExportError, match="is a folder, but torch is a file"):
        export_model(model, FORMATS["torch"], tmp_path, typed_rows())
    file = tmp_path / "x"
    file.write_text("")
    with pytest.raises(ExportError, match="is a file, but torch is a folder"):
        export_model(model, FORMATS["torch"]._replace(suffix=""), file, typed_rows())


@pytest.mark.parametrize("name", ["people", "people.rosenblatt", "people.py.csv"])
def test_a_file_has_the_suffix_with_which_its_framework_loads_it(model, tmp_path, name):
    (tmp_path / name).write_text("kept")
    with pytest.raises(ExportError, match=r"python end with \.py, but .* does not"):
        export_model(model, FORMATS["python"], tmp_path / name, typed_rows())
    assert (tmp_path / name).read_text() == "kept"


def test_a_folder_with_files_is_not_replaced(model, tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter 1")
    with pytest.raises(ExportError, match=r"is not empty. Remove it, or choose another name"):
        export_model(model, FORMATS["safetensors"], tmp_path, typed_rows())
    assert (tmp_path / "thesis.txt").read_text() == "chapter 1"


def test_a_missing_package_names_its_extra(model, tmp_path):
    format_ = FORMATS["torch"]._replace(requires=("no_such_package",))
    with pytest.raises(ExportError, match=r"needs the package no_such_package.*rosenblatt\[torch\]"):
        export_model(model, format_, tmp_path / "x.pt2", typed_rows())


def test_an_unknown_format_names_the_similar_one():
    with pytest.raises(ExportError, match="Did you mean 'torch'"):
        find_format("troch")


def test_a_process_that_fails_is_reported_with_its_last_lines(model, tmp_path):
    checker = tmp_path / "checker.py"
    checker.write_text("raise ValueError('an opset of the future')")
    signature = replace(comparison_signature(model), media=())
    with pytest.raises(ExportError, match=r"cannot be loaded in a new process: .*an opset of the future"):
        comparison.compare(checker, tmp_path, inputs_of(model), model.predict_typed(rows_of(model)), signature)


def comparison_signature(model):
    from rosenblatt.models.export.signature import read_signature

    return read_signature(model)


def rows_of(model):
    return typed_rows().select(column.name for column in model.schema.columns)


def inputs_of(model):
    from rosenblatt.models.export.inputs import prepare_inputs

    return prepare_inputs(comparison_signature(model), rows_of(model))
