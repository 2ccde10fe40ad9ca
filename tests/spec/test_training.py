"""Hyperparameters of the training section: how they are parsed, limited and implemented by the engine."""

import pytest

from rosenblatt.errors import SpecError
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec
from rosenblatt.spec.training import TrainingSpec
from rosenblatt.training.compiled.optimizers import OPTIMIZERS
from rosenblatt.training.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"dropout": 1.5}, "dropout must be a number of at least 0 and less than 1 or auto, but it is 1.5."),
        ({"learning_rate": float("nan")}, "learning_rate must be a number .*, but it is nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"seed": 2**63}, "seed must be a whole number .*, but it is 9223372036854775808"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size must be .*full.*, but it is 0"),
        ({"beta1": 1.0}, "beta1 must be a number of at least 0 and less than 1, but it is 1"),
        ({"optimizer": "adamm"}, "optimizer must be .*, but it is 'adamm'. Did you mean 'adam"),
        ({"dropout_schedule": "plateau"}, "dropout_schedule must be .*, but it is 'plateau'"),
        ({"layer_lr_multipliers": "1,-1"}, "layer_lr_multipliers must be .* item 2 is '?-1"),
    ],
)
def test_a_value_outside_its_limits_is_rejected_with_the_expected_values(hyperparameters, message):
    with pytest.raises(SpecError, match=message):
        Spec.from_hyperparameters(**hyperparameters)


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ("heavy", "class_weight must be balanced or a number for each class"),
        ("yes=3,no", "class_weight must give each class a number, .* but 'no' has none. Write no=1"),
        ("yes=3,,no=1", "class_weight must give each class a number, .* but '' has none"),
        ("yes=3,no=", "class_weight must be .*, but it is"),
        ("yes=3,yes=1", "class_weight must name each class once, but 'yes' occurs twice"),
        ({1: 2, "1": 3}, "class_weight must name each class once, but '1' occurs twice"),
        ({"yes": 0}, "class_weight must be"),
    ],
)
def test_class_weights_need_a_positive_number_for_each_class(class_weight, message):
    with pytest.raises(SpecError, match=message):
        Spec.from_hyperparameters(class_weight=class_weight)


def test_keys_of_class_weights_are_class_labels_as_text():
    assert Spec.from_hyperparameters(class_weight="a=b=2,c=1").training.class_weight == {"a=b": 2.0, "c": 1.0}
    assert Spec.from_hyperparameters(class_weight={0: 1, 1: 4}).training.class_weight == {"0": 1.0, "1": 4.0}
    assert Spec.from_hyperparameters(class_weight="balanced").training.class_weight == "balanced"


def test_a_single_layer_multiplier_applies_to_all_layers():
    assert Spec.from_hyperparameters(layer_lr_multipliers=0.5).training.layer_lr_multipliers == (0.5,)
    assert Spec.from_hyperparameters(layer_lr_multipliers="0.5,1").training.layer_lr_multipliers == (0.5, 1.0)


def test_the_batch_size_is_a_number_of_rows_or_the_full_table():
    assert Spec.from_hyperparameters(batch_size="32").training.batch_size == 32
    assert Spec.from_hyperparameters(batch_size="full").training.batch_size == "full"


def test_the_engine_implements_every_optimizer_and_schedule():
    assert set(HYPERPARAMETERS["optimizer"].choices) == set(OPTIMIZERS)
    assert set(HYPERPARAMETERS["schedule"].choices) == {*SCHEDULES, "plateau", "auto"}
    assert set(HYPERPARAMETERS["dropout_schedule"].choices) == set(SCHEDULES)


def test_training_defaults_minimize_the_validation_loss_on_the_cpu_with_adam():
    training = TrainingSpec()
    assert (training.scoring, training.device, training.optimizer) == ("loss", "cpu", "adam")
    assert (training.epochs, training.learning_rate, training.class_weight) == ("auto", "auto", None)
