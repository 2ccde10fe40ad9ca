"""Hyperparameters set to "auto", resolved by the size of the training table."""

import pytest

from rosenblatt.spec.defaults import PRESETS, cores_per_network, resolve_auto
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.spec.spec import Spec


def resolve(n_rows=1000, n_columns=5, *, has_text=False, **hyperparameters):
    return resolve_auto(Spec.from_hyperparameters(**hyperparameters), n_rows, n_columns, has_text=has_text)


def values(spec, *names):
    return tuple(spec[name] for name in names)


@pytest.mark.parametrize("kind", ["mlp", "perceptron", *DEEP_KINDS])
def test_only_values_that_depend_on_the_target_or_the_network_stay_auto(kind):
    spec = resolve(kind=kind)
    sections = {**spec.network.model_dump(), **spec.training.model_dump()}
    assert {name for name, value in sections.items() if value == "auto"} == {"loss", "weight_scale", "gamma"}


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "hidden_sizes", "members"),
    [
        (149, 32, (128, 128), 16),
        (150, 32, (256, 256), 16),
        (500, 32, (512, 512), 16),
        (2_000, 32, (512, 512), 8),
        (2_800, 128, (512, 512), 8),
        (10_000, 256, (256, 256), 8),
        (50_000, 512, (256, 256), 4),
        (300_000, 1024, (256, 256), 2),
    ],
)
def test_batches_layers_and_members_of_an_mlp_depend_on_the_rows(n_rows, batch_size, hidden_sizes, members):
    assert values(resolve(n_rows), "batch_size", "hidden_sizes", "members") == (batch_size, hidden_sizes, members)


def test_explicit_values_are_never_replaced():
    explicit = {"hidden_sizes": (7,), "dropout": 0.0, "members": 3, "batch_size": "full", "epochs": 5, "folds": 2}
    for kind in ("mlp", "cnn"):
        assert values(resolve(kind=kind, **explicit), *explicit) == tuple(explicit.values())


def test_validation_needs_20_training_rows():
    assert [resolve(n_rows)["folds"] for n_rows in (19, 20, 1_999, 2_000)] == [1, 16, 16, 8]


def test_columns_of_wide_tables_have_no_bins():
    assert [resolve(n_columns=n)["numeric_encoding"] for n in (100, 101)] == ["piecewise", "robust"]
    assert resolve(n_columns=500, numeric_encoding="piecewise")["numeric_encoding"] == "piecewise"
    assert resolve(n_columns=500, bins=8)["numeric_encoding"] == "piecewise"


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "sizes"),
    [(1_000, 100, 512), (1_000, 101, 256), (1_000, 300, 128), (1_000, 2_000, 64), (100, 101, 128), (20_000, 299, 256)],
)
def test_wide_tables_have_narrow_networks(n_rows, n_columns, sizes):
    assert resolve(n_rows, n_columns)["hidden_sizes"] == (sizes, sizes)


def test_networks_of_wide_tables_wait_less_early_in_training():
    names = ("patience", "patience_factor")
    assert values(resolve(1_000, 101), *names) == (16, 2.0)
    assert values(resolve(1_000, 100), *names) == (16, 0.0)
    assert values(resolve(1_000, 101, patience=16), *names) == (16, 0.0)
    assert values(resolve(1_000, 101, kind="perceptron"), *names) == (100, 0.0)
    assert resolve(1_000, 101, kind="cnn")["patience_factor"] == 0.0


def test_bins_shrink_to_keep_wide_tables_within_one_gib():
    assert [resolve(n_rows)["bins"] for n_rows in (4_999, 5_000)] == [16, 48]
    assert resolve(100_000, 100)["bins"] == 2**28 // 10_000_000
    assert resolve(10_000_000, 1000)["bins"] == 8


def test_only_adamw_decays_weights_by_default():
    assert resolve(optimizer="adamw")["weight_decay"] == 0.01
    assert resolve(optimizer="adam")["weight_decay"] == 0.0


def test_the_delta_rule_takes_smaller_steps_on_wider_tables():
    def learning_rate(rule, n_columns):
        return resolve(100, n_columns, kind="perceptron", perceptron_rule=rule)["learning_rate"]

    assert learning_rate("delta", 9) == 0.01
    assert learning_rate("delta", 299) == pytest.approx(0.001)
    assert (learning_rate("adaline", 299), learning_rate("rosenblatt", 299)) == (0.1, 1.0)


def test_the_patience_of_a_deep_network_is_all_its_epochs():
    assert values(resolve(kind="cnn", epochs=11), "epochs", "patience") == (11, 11)
    assert values(resolve(20_000, kind="cnn"), "epochs", "patience") == (30, 30)


def test_recurrent_networks_have_other_defaults_on_texts():
    names = ("epochs", "dropout", "input_dropout")
    assert values(resolve(5_000, kind="rnn", has_text=True), *names) == (40, 0.1, 0.3)
    assert values(resolve(5_000, kind="rnn"), *names) == (24, 0.4, 0.0)
    assert values(resolve(5_000, kind="cnn", has_text=True), *names) == values(resolve(5_000, kind="cnn"), *names)


def test_a_preset_sets_the_shape_and_explicit_values_override_it():
    assert values(resolve(kind="cnn", preset="tiny"), "channels", "residual") == ((16, 32), False)
    assert values(resolve(kind="cnn", preset="tiny", channels=(5,)), "channels", "residual") == ((5,), False)
    for name, preset in PRESETS.items():
        assert values(resolve(kind="cnn", preset=name), *preset) == tuple(preset.values())


def test_resolving_twice_changes_nothing():
    for kind in HYPERPARAMETERS["kind"].choices:
        spec = resolve(kind=kind)
        assert resolve_auto(spec, 10, 1) == spec


def test_cores_are_divided_among_large_networks_and_small_networks_get_one():
    large = {"kind": "rnn", "recurrent_width": 256, "members": 4, "batch_size": 64}
    assert cores_per_network(resolve(**large), 1000, 16) == 4
    assert cores_per_network(resolve(**large), 1000, 2) == 1
    assert cores_per_network(resolve(**large), 15, 16) == 1  # a batch has no more rows than the table
    assert cores_per_network(resolve(**large | {"batch_size": "full"}), 16, 16) == 4
    assert cores_per_network(resolve(kind="cnn", channels=(15, 30), members=1), 1000, 16) == 1
    assert cores_per_network(resolve(kind="cnn", channels=(16, 32), members=1), 1000, 16) == 16


def test_labels_are_smoothed_only_for_a_cross_entropy():
    spec = Spec.from_hyperparameters(kind="cnn")
    smoothing = [resolve_auto(spec, 1000, 0, loss=loss)["label_smoothing"] for loss in ("cross_entropy", "squared")]
    assert smoothing == [0.1, 0.0]


def test_cores_and_precision_depend_on_the_machine_unless_they_are_set():
    def resolve_on_machine(**hyperparameters):
        spec = Spec.from_hyperparameters(channels=(16, 32), members=2, **hyperparameters)
        return values(
            resolve_auto(spec, 1000, 0, available_cores=16, cpu_precision=lambda: "mixed"), "cores", "precision"
        )

    assert resolve_on_machine(kind="cnn") == (8, "mixed")
    assert resolve_on_machine(kind="cnn", device="cuda") == (8, "float32")
    assert resolve_on_machine(kind="cnn", cores=3, precision="float32") == (3, "float32")
