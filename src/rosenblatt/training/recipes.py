"""Training configuration of a member, from its resolved hyperparameters."""

from __future__ import annotations

import numpy as np

from rosenblatt.errors import SpecError
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.perceptron import CRAMMER_SINGER, KESLER, ONE_VS_REST, RULES, PerceptronConfig
from rosenblatt.training.state import TrainingConfig

FULL_BATCH = 2**62  # rows of a batch that has room for all
SCHEMES = {"kesler": KESLER, "crammer_singer": CRAMMER_SINGER, "one_vs_rest": ONE_VS_REST}


def make_training_config(
    spec: Spec, architecture: DenseArchitecture | DeepArchitecture, strata: np.ndarray
) -> TrainingConfig:
    """How a member learns, from resolved hyperparameters; `strata` (S + 1,) as `TrainingConfig` takes them."""
    training = spec.training
    parameters = {
        "focal": training.focal_gamma,
        "huber": training.huber_delta,
        "quantile": training.quantile,
        "hinge": training.hinge_margin,
    }
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
        loss_parameter=float(parameters.get(training.loss, 0.0)),
        clip_norm=float(training.clip_norm),
        max_norm=float(training.max_norm),
        l1=float(training.l1),
        ema_decay=float(training.ema_decay),
        groups=groups,
        rates=rates,
    )


def make_perceptron_config(spec: Spec, architecture: DenseArchitecture, loss: str) -> PerceptronConfig:
    """How a perceptron learns, from resolved hyperparameters."""
    scheme = ONE_VS_REST if loss == "perceptron" else SCHEMES[spec.training.multiclass]
    return PerceptronConfig(
        rule=RULES[spec.network.perceptron_rule],
        scheme=scheme,
        n_in=architecture.sizes[0],
        units=architecture.sizes[-1],
        learning_rate=float(spec["learning_rate"]),
        margin=float(spec.training.margin),
        aggressiveness=float(spec.training.aggressiveness),
        shuffled=int(spec.training.batch_order != "in_order"),
    )


def _groups(spec: Spec, architecture: DenseArchitecture | DeepArchitecture) -> tuple[np.ndarray, np.ndarray]:
    """The parameters that learn alike, side by side as far as they can be; running statistics do not learn."""
    layers = architecture.n_layers
    factors = spec.training.layer_lr_multipliers
    if len(factors) not in (1, layers):
        raise SpecError(
            f"layer_lr_multipliers holds {len(factors)} factors, but the network has {layers} layers. "
            "Give one for each, or one."
        )
    factors = factors * layers if len(factors) == 1 else factors
    multipliers = {
        "bias": spec.training.bias_lr_multiplier,
        "recurrent_bias": spec.training.bias_lr_multiplier,
        "scale": spec.training.scaling_layer_lr_multiplier,
        "blend": spec.training.parametric_activation_lr_multiplier,
    }
    groups: list[list[int]] = []
    rates: list[list[float]] = []
    for part in architecture.parts:
        if part.name in {"mean", "variance"}:
            continue
        is_weight = part.name.endswith("weight")
        rate = (
            spec["learning_rate"]
            * multipliers.get(part.name, 1.0)
            * (1.0 if part.name == "scale" else factors[part.layer])
        )
        decay, has_l1 = spec["weight_decay"] * is_weight, float(is_weight and spec.training.l1 > 0)
        if groups and groups[-1][1] == part.start and rates[-1] == [rate, decay, has_l1]:
            groups[-1][1] = part.end
        else:
            groups.append([part.start, part.end])
            rates.append([rate, decay, has_l1])
    return np.array(groups, np.int64), np.array(rates, np.float64)
