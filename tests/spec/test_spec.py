"""Specs: creation, validation, round trips and hashes."""

import subprocess
import sys

import numpy as np
import pytest

from rosenblatt.errors import SpecError
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec


def test_round_trips_through_toml(tmp_path):
    spec = Spec.from_hyperparameters(hidden_sizes=(64, 32), dropout=0.25, class_weight={"yes": 3.0}, activation="gelu")
    path = tmp_path / "spec.toml"
    path.write_text(spec.to_toml())
    assert Spec.from_toml(path) == spec


def test_round_trips_through_json():
    spec = Spec.from_hyperparameters(hidden_sizes=(64,), members=3)
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


def test_hash_is_the_same_in_another_process():
    code = (
        "from rosenblatt.spec.spec import Spec; "
        "print(Spec.from_hyperparameters(dropout=0.3, class_weight={'b': 1, 'a': 2}).hash)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == Spec.from_hyperparameters(dropout=0.3, class_weight={"a": 2, "b": 1}).hash


def test_different_specs_have_different_hashes():
    assert Spec.from_hyperparameters(dropout=0.3).hash != Spec.from_hyperparameters(dropout=0.30001).hash


def test_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Spec().training.epochs = 3


def test_accepts_the_text_of_command_line_options():
    spec = Spec.from_hyperparameters(hidden_sizes="64, 32", dropout="0.1", members="3", class_weight="<=50K=1,>50K=2.5")
    assert spec.network.hidden_sizes == (64, 32)
    assert spec.training.members == 3
    assert spec.training.class_weight == {"<=50K": 1.0, ">50K": 2.5}


def test_accepts_numpy_numbers_and_a_single_size():
    assert Spec.from_hyperparameters(
        members=np.int64(3), dropout=np.float32(0.5), hidden_sizes=16
    ) == Spec.from_hyperparameters(members=3, dropout=0.5, hidden_sizes=(16,))


def test_an_unknown_hyperparameter_is_rejected_with_the_nearest_name():
    with pytest.raises(SpecError, match=r"There is no hyperparameter 'droput'\. Did you mean 'dropout'\?"):
        Spec.from_hyperparameters(droput=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network]\nhidden_size = [3]", "no hyperparameter 'hidden_size'. Did you mean 'hidden_sizes'?"),
        ("[netwrk]\n", r"There is no section \[netwrk\].*Did you mean 'network'?"),
        ("[data]\ndropout = 0.1", r"dropout is in section \[data\], but it belongs in \[training\]"),
        ("dropout = 0.1", r"dropout is outside any section. Move it to \[training\]"),
        ("network = 3", "network must be a section"),
        ("[training]\nepochs = 0", "epochs must be a whole number of at least 1"),
        ("not toml", "is not valid TOML"),
    ],
)
def test_a_wrong_config_is_rejected_with_its_name(tmp_path, text, message):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as caught:
        Spec.from_toml(path)
    assert "my.toml" in str(caught.value)


def test_a_missing_or_binary_config_is_rejected(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        Spec.from_toml(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not UTF-8"):
        Spec.from_toml(tmp_path / "bytes.toml")


def test_every_hyperparameter_is_described():
    for hyperparameter in HYPERPARAMETERS.values():
        assert hyperparameter.help.endswith(".")
        assert hyperparameter.expected


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_required_hyperparameters_and_their_values_exist(name):
    for required, values in HYPERPARAMETERS[name].requires.items():
        choices = HYPERPARAMETERS[required].choices or ("true", "false")
        assert set(values) <= set(choices)
