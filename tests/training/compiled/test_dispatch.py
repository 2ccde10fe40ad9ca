import subprocess
import sys

import numpy as np
import pytest

from rosenblatt.errors import SpecError
from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.dispatch import compile_kernels, compiled_layout
from rosenblatt.training.recipes import make_training_config


def config_for(**changes):
    spec = resolve_auto(Spec.from_hyperparameters(hidden_sizes=(4, 4), learning_rate=0.1, **changes), 100, 3)
    architecture = build_dense(spec.network, 3, 2)
    return architecture, make_training_config(spec, architecture, np.array([0, 100]))


def test_parameters_with_equal_rates_form_one_group():
    architecture, config = config_for()
    np.testing.assert_array_equal(config.groups, [[0, architecture.n_parameters]])
    np.testing.assert_array_equal(config.rates, [[0.1, 0, 0]])


def test_weights_decay_biases_do_not_and_running_statistics_are_not_trained():
    architecture, config = config_for(
        weight_decay=0.5, normalization="batch", layer_lr_multipliers=(1, 2, 3), bias_lr_multiplier=0.1
    )
    rates = {}
    for (start, end), rate in zip(config.groups, config.rates, strict=True):
        rates |= dict.fromkeys(range(start, end), tuple(rate[:2]))
    for part in architecture.parts:
        factor = {"bias": 0.1}.get(part.name, 1.0) * (part.layer + 1)
        expected = (0.1 * factor, 0.5 if part.name == "weight" else 0.0)
        for k in range(part.start, part.end):
            if part.name in {"mean", "variance"}:
                assert k not in rates
            else:
                assert rates[k] == pytest.approx(expected)


def test_multipliers_for_another_number_of_layers_are_rejected():
    with pytest.raises(SpecError, match="layer_lr_multipliers has 2 values, but the network has 3 layers"):
        config_for(layer_lr_multipliers=(1, 2))


def test_the_layout_has_the_position_of_every_part():
    architecture, _ = config_for(normalization="batch", parametric_activation=True, scaling_layer=True)
    layout = compiled_layout(architecture)
    starts = sorted([layout.scale, *layout.parts[layout.parts >= 0].tolist()])
    assert starts == sorted(part.start for part in architecture.parts)


def test_kernels_of_equal_names_have_equal_addresses():
    assert compile_kernels("relu", "none", "squared", "sgd") == compile_kernels("relu", "none", "squared", "sgd")


@pytest.mark.slow
def test_only_the_kernels_that_a_network_uses_are_compiled():
    """The time to compile does not grow with the number of activations, losses and optimizers."""
    script = """
import numpy as np
from rosenblatt import MLPClassifier
from rosenblatt.training.compiled.activations import ACTIVATIONS
from rosenblatt.training.compiled.losses import LOSSES
from rosenblatt.training.compiled.normalization import FORWARD_AND_BACKWARD
from rosenblatt.training.compiled.optimizers import OPTIMIZERS
rng = np.random.default_rng(0)
MLPClassifier(members=1, epochs=1, activation="relu").fit(rng.normal(size=(40, 2)), rng.integers(0, 2, 40))
pairs = {f"{kind} {name}": k for kind, pair in FORWARD_AND_BACKWARD.items() for name, k in zip(("z", "dz"), pair)}
print(sorted(name for name, kernel in {**ACTIVATIONS, **LOSSES, **OPTIMIZERS, **pairs}.items() if kernel.overloads))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['adam', 'adamw', 'binary_cross_entropy', 'relu']"
