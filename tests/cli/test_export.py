"""The command export: output, files and errors."""

import json

import numpy as np
import pytest

from rosenblatt.models.model_file import to_bytes
from tests.models.export.fitted_models import make_dense_model, typed_rows

pytestmark = pytest.mark.torch


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.rosenblatt").write_bytes(to_bytes(make_dense_model("relu", n_networks=1)))
    typed_rows().drop("text", "steps", "image").write_csv(tmp_path / "people.csv")
    return tmp_path


@pytest.mark.slow
def test_export_compares_on_the_rows_of_a_table_and_names_the_file_after_the_model(run, folder):
    import torch

    status, out, _ = run("export", "people.rosenblatt", "--to", "torch", "--rows", "people.csv")
    assert status == 0
    assert "compared on 60 rows (of the table), in a new process: largest difference" in out
    assert "exported: people.pt2" in out
    program = torch.export.load(folder / "people.pt2").module()
    numbers, categories = torch.zeros(2, 4, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.int64)
    np.testing.assert_allclose(program(numbers, categories).sum(dim=1).detach().numpy(), 1.0)


def test_json_has_the_signature_on_standard_output_and_messages_on_standard_error(run, folder):
    status, out, err = run("export", "people.rosenblatt", "--to", "python", "--out", "models/p.py", "--json")
    assert status == 0
    result = json.loads(out)
    assert result["path"] == "models/p.py"
    assert result["signature"]["numbers"] == ["age", "ties", "time", "constant"]
    assert result["largest_difference"] < 1e-5
    assert "generated rows; --rows TABLE compares on yours" in err


def test_an_unknown_format_is_one_sentence(run, folder):
    status, _, err = run("export", "people.rosenblatt", "--to", "torhc")
    assert status == 2
    assert "There is no format 'torhc'." in err
    assert "Did you mean 'torch'" in err


def test_the_model_and_the_table_are_not_overwritten(run, folder):
    (folder / "people.rosenblatt").rename(folder / "people.py")
    (folder / "people.csv").rename(folder / "rows.py")
    before = (folder / "people.py").read_bytes()
    for options in ((), ("--rows", "rows.py", "--out", "./rows.py")):
        status, _, err = run("export", "people.py", "--to", "python", *options)
        assert status == 2
        assert "is also another file of this command" in err
    assert (folder / "people.py").read_bytes() == before
