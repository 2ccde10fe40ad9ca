import subprocess
import sys

import numpy as np
import pytest

from rosenblatt.errors import SpecError
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.activations import ACTIVATIONS
from rosenblatt.training.compiled.kernel_perceptron import KERNELS
from rosenblatt.training.compiled.normalization import NORMALIZATIONS
from rosenblatt.training.compiled.optimizers import OPTIMIZERS
from rosenblatt.training.compiled.perceptron import RULES
from rosenblatt.training.initializers import BIASES, WEIGHTS
from rosenblatt.training.schedules import SCHEDULES


def test_round_trips_through_toml(tmp_path):
    spec = Spec.of(hidden_sizes=(64, 32), dropout=0.25, class_weight={"yes": 3.0}, activation="gelu")
    path = tmp_path / "spec.toml"
    path.write_text(spec.to_toml())
    assert Spec.from_toml(path) == spec


def test_round_trips_through_json():
    spec = Spec.of(hidden_sizes=(64,), members=3)
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


def test_hash_is_the_same_in_another_process():
    code = "from rosenblatt.spec.spec import Spec; print(Spec.of(dropout=0.3, class_weight={'b': 1, 'a': 2}).hash)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == Spec.of(dropout=0.3, class_weight={"a": 2, "b": 1}).hash


def test_hash_tells_specs_apart():
    assert Spec.of(dropout=0.3).hash != Spec.of(dropout=0.30001).hash


def test_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Spec().training.epochs = 3


def test_takes_text_as_the_command_line_gives_it():
    spec = Spec.of(hidden_sizes="64, 32", dropout="0.1", members="3", class_weight="<=50K=1,>50K=2.5")
    assert spec.network.hidden_sizes == (64, 32)
    assert spec.training.members == 3
    assert spec.training.class_weight == {"<=50K": 1.0, ">50K": 2.5}


def test_takes_numbers_of_numpy_and_a_single_size():
    assert Spec.of(members=np.int64(3), dropout=np.float32(0.5), hidden_sizes=16) == Spec.of(
        members=3, dropout=0.5, hidden_sizes=(16,)
    )


def test_an_empty_list_of_hidden_sizes_is_a_linear_model():
    assert Spec.of(hidden_sizes="").network.hidden_sizes == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"droput": 0.1}, "There is no hyperparameter 'droput'. Did you mean 'dropout'?"),
        ({"activation": "rleu"}, "activation must be one or more of .*, but it is 'rleu'. Did you mean 'relu'?"),
        ({"dropout": 1.5}, "dropout must be a number of at least 0 and less than 1 or auto, but it is 1.5."),
        ({"hidden_sizes": (64, 0)}, "hidden_sizes must be .* at least 1 .*, but item 2 is 0."),
        ({"hidden_sizes": "64,x"}, "item 2 is 'x'"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number .*, but it is nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"hidden_sizes": "64,,32"}, "item 2 is ''"),
        ({"class_weight": "heavy"}, "class_weight must be balanced or a number for each class"),
        ({"class_weight": "yes=3,no"}, "class_weight must give each class a number, .* but 'no' has none. Write no=1"),
        ({"class_weight": "yes=3,,no=1"}, "class_weight must give each class a number, .* but '' has none"),
        ({"class_weight": "yes=3,no="}, "class_weight must be .*, but it is"),
        ({"class_weight": "yes=3,yes=1"}, "class_weight must name each class once, but 'yes' comes twice"),
        ({"class_weight": {1: 2, "1": 3}}, "class_weight must name each class once, but '1' comes twice"),
    ],
)
def test_says_what_came_and_what_was_expected(wrong, message):
    with pytest.raises(SpecError, match=message):
        Spec.of(**wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network]\nhidden_size = [3]", "no hyperparameter 'hidden_size'. Did you mean 'hidden_sizes'?"),
        ("[netwrk]\n", r"There is no section \[netwrk\].*Did you mean 'network'?"),
        ("[data]\ndropout = 0.1", r"dropout stands in section \[data\], but belongs in \[training\]"),
        ("dropout = 0.1", r"dropout stands outside any section; it belongs in \[training\]"),
        ("network = 3", "network must be a section"),
        ("[training]\nepochs = 0", "epochs must be a whole number of at least 1"),
        ("not toml", "is not valid TOML"),
    ],
)
def test_a_config_that_is_wrong_is_refused_with_its_name(tmp_path, text, message):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as caught:
        Spec.from_toml(path)
    assert "my.toml" in str(caught.value)


def test_a_config_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        Spec.from_toml(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not UTF-8"):
        Spec.from_toml(tmp_path / "bytes.toml")


def test_every_hyperparameter_is_described():
    for known in HYPERPARAMETERS.values():
        assert known.help.endswith(".")
        assert known.expected


def test_what_the_spec_names_the_engine_knows():
    assert set(HYPERPARAMETERS["activation"].choices) == set(ACTIVATIONS)
    assert set(HYPERPARAMETERS["optimizer"].choices) == set(OPTIMIZERS)
    assert set(HYPERPARAMETERS["schedule"].choices) == {*SCHEDULES, "plateau", "auto"}
    assert set(HYPERPARAMETERS["dropout_schedule"].choices) == set(SCHEDULES)
    assert set(HYPERPARAMETERS["rule"].choices) == set(RULES)
    assert set(HYPERPARAMETERS["kernel"].choices) == set(KERNELS)
    assert set(HYPERPARAMETERS["initializer"].choices) == set(WEIGHTS)
    assert set(HYPERPARAMETERS["bias_initializer"].choices) == set(BIASES)
    assert set(HYPERPARAMETERS["normalization"].choices) == {*NORMALIZATIONS, "group", "auto"}


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_what_a_hyperparameter_needs_is_there(name):
    for needed, values in HYPERPARAMETERS[name].only.items():
        choices = HYPERPARAMETERS[needed].choices or ("True", "False")
        assert set(values) <= set(choices)
