"""Training configuration of a member, from its resolved hyperparameters."""

from __future__ import annotations

from math import prod

import numpy as np

from rosenblatt.errors import SpecError
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.networks.layers import GlobalPooling, PerChannelMLP, iter_parameter_layers
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.perceptron import CRAMMER_SINGER, KESLER, ONE_VS_REST, RULES, PerceptronConfig
from rosenblatt.training.state import TrainingConfig

FULL_BATCH = 2**62  # batch size that holds all rows of any table
SCHEMES = {"kesler": KESLER, "crammer_singer": CRAMMER_SINGER, "one_vs_rest": ONE_VS_REST}
LOSS_PARAMETERS = {
    "focal": "focal_gamma",
    "huber": "huber_delta",
    "quantile": "quantile",
    "hinge": "hinge_margin",
}  # the hyperparameter of losses that have one
RUNNING_STATISTICS = ("mean", "variance")  # parts that follow the batches instead of the gradient


def make_training_config(
    spec: Spec, architecture: DenseArchitecture | DeepArchitecture, strata: np.ndarray
) -> TrainingConfig:
    """Return the configuration for resolved hyperparameters; `strata` as in `TrainingConfig`. Raises SpecError."""
    training = spec.training
    groups, rates = _groups(spec, architecture)
    return TrainingConfig(
        batch_size=FULL_BATCH if spec["batch_size"] == "full" else min(spec["batch_size"], FULL_BATCH),
        stratified=int(training.batch_order == "stratified"),
        strata=strata,
        beta1=float(training.beta1),
        beta2=float(training.beta2),
        input_dropout=float(training.input_dropout),
        dropout=float(spec["dropout"]),
        smoothing=float(spec["label_smoothing"]),
        loss_parameter=float(spec[LOSS_PARAMETERS[training.loss]]) if training.loss in LOSS_PARAMETERS else 0.0,
        clip_norm=float(training.clip_norm),
        max_norm=float(training.max_norm),
        l1=float(training.l1),
        ema_decay=float(training.ema_decay),
        groups=groups,
        rates=rates,
        unit_weights=_unit_weights(architecture),
    )


def make_perceptron_config(spec: Spec, architecture: DenseArchitecture, loss: str) -> PerceptronConfig:
    """Return the configuration of a perceptron for resolved hyperparameters."""
    return PerceptronConfig(
        rule=RULES[spec.network.perceptron_rule],
        scheme=ONE_VS_REST if loss == "perceptron" else SCHEMES[spec.training.multiclass],
        n_in=architecture.sizes[0],
        units=architecture.sizes[-1],
        learning_rate=float(spec["learning_rate"]),
        margin=float(spec.training.margin),
        aggressiveness=float(spec.training.aggressiveness),
        shuffled=int(spec.training.batch_order != "in_order"),
    )


def _groups(spec: Spec, architecture: DenseArchitecture | DeepArchitecture) -> tuple[np.ndarray, np.ndarray]:
    """Return groups (G, 2) of adjacent parameters with equal rates (G, 3); running statistics are in none."""
    training, layers = spec.training, architecture.n_layers
    factors = training.layer_lr_multipliers
    if len(factors) not in (1, layers):
        raise SpecError(
            f"layer_lr_multipliers has {len(factors)} values, but the network has {layers} layers. "
            "Give one value, or one for each layer."
        )
    factors = factors * layers if len(factors) == 1 else factors
    multipliers = {
        "bias": training.bias_lr_multiplier,
        "recurrent_bias": training.bias_lr_multiplier,
        "scale": training.scaling_layer_lr_multiplier,
        "blend": training.parametric_activation_lr_multiplier,
    }
    groups: list[list[int]] = []
    rates: list[list[float]] = []
    for part in architecture.parts:
        if part.name in RUNNING_STATISTICS:
            continue
        is_weight = part.name.endswith("weight")
        layer_factor = 1.0 if part.name == "scale" else factors[part.layer]
        rate = spec["learning_rate"] * multipliers.get(part.name, 1.0) * layer_factor
        decay, has_l1 = spec["weight_decay"] * is_weight, float(is_weight and training.l1 > 0)
        if groups and groups[-1][1] == part.start and rates[-1] == [rate, decay, has_l1]:
            groups[-1][1] = part.end
        else:
            groups.append([part.start, part.end])
            rates.append([rate, decay, has_l1])
    return np.array(groups, np.int64), np.array(rates, np.float64)


def _unit_weights(architecture: DenseArchitecture | DeepArchitecture) -> np.ndarray:
    """Return where the weights of all units are (W, 4), as in `TrainingConfig`."""
    towers = architecture.towers if isinstance(architecture, DeepArchitecture) else ()
    tower_layers = [layer for tower in towers for layer in iter_parameter_layers(tower)]
    rows = []
    for part in architecture.parts:
        if not part.name.endswith("weight"):
            continue
        is_dense = part.layer >= len(tower_layers) or isinstance(
            tower_layers[part.layer], PerChannelMLP | GlobalPooling
        )
        n_in, n_units = part.shape[-2:] if is_dense else (prod(part.shape[1:]), part.shape[0])
        rows += [(start, n_units, n_in, is_dense) for start in range(part.start, part.end, n_in * n_units)]
    return np.array(rows, np.int64).reshape(-1, 4)
