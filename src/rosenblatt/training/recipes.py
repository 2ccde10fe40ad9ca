"""Training configuration of a member, from its resolved hyperparameters."""

from __future__ import annotations

import numpy as np

from rosenblatt.errors import SpecError
from rosenblatt.networks.deep import Deep
from rosenblatt.networks.dense import Architecture
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.perceptron import CRAMMER_SINGER, KESLER, RULES, UNITS, Rule
from rosenblatt.training.state import Recipe

FULL = 2**62  # rows of a batch that has room for all
SCHEMES = {"kesler": KESLER, "crammer_singer": CRAMMER_SINGER, "one_vs_rest": UNITS}


def recipe_of(spec: Spec, architecture: Architecture | Deep, strata: np.ndarray) -> Recipe:
    """How a member learns, from resolved hyperparameters; `strata` (S + 1,) as `Recipe` takes them."""
    training = spec.training
    parameters = {
        "focal": training.focal_gamma,
        "huber": training.huber_delta,
        "quantile": training.quantile,
        "hinge": training.hinge_margin,
    }
    groups, rates = _groups(spec, architecture)
    return Recipe(
        batch_size=FULL if spec["batch_size"] == "full" else min(spec["batch_size"], FULL),
        stratified=int(training.batches == "stratified"),
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
        averaging=float(training.averaging),
        groups=groups,
        rates=rates,
    )


def rule_of(spec: Spec, architecture: Architecture, loss: str) -> Rule:
    """How a perceptron learns, from resolved hyperparameters."""
    scheme = UNITS if loss == "perceptron" else SCHEMES[spec.training.multiclass]
    return Rule(
        rule=RULES[spec.network.rule],
        scheme=scheme,
        n_in=architecture.sizes[0],
        units=architecture.sizes[-1],
        learning_rate=float(spec["learning_rate"]),
        margin=float(spec.training.margin),
        aggressiveness=float(spec.training.aggressiveness),
        shuffled=int(spec.training.batches != "in_order"),
    )


def _groups(spec: Spec, architecture: Architecture | Deep) -> tuple[np.ndarray, np.ndarray]:
    """The parameters that learn alike, side by side as far as they can be; running statistics do not learn."""
    layers = architecture.n_layers
    factors = spec.training.layer_rates
    if len(factors) not in (1, layers):
        raise SpecError(
            f"layer_rates holds {len(factors)} factors, but the network has {layers} layers. Give one for each, or one."
        )
    factors = factors * layers if len(factors) == 1 else factors
    own = {
        "bias": spec.training.bias_rate,
        "recurrent_bias": spec.training.bias_rate,
        "scale": spec.training.front_scale_rate,
        "blend": spec.training.parametric_rate,
    }
    groups: list[list[int]] = []
    rates: list[list[float]] = []
    for part in architecture.parts:
        if part.name in {"mean", "variance"}:
            continue
        is_weight = part.name.endswith("weight")
        rate = spec["learning_rate"] * own.get(part.name, 1.0) * (1.0 if part.name == "scale" else factors[part.layer])
        decay, shrinks = spec["weight_decay"] * is_weight, float(is_weight and spec.training.l1 > 0)
        if groups and groups[-1][1] == part.start and rates[-1] == [rate, decay, shrinks]:
            groups[-1][1] = part.end
        else:
            groups.append([part.start, part.end])
            rates.append([rate, decay, shrinks])
    return np.array(groups, np.int64), np.array(rates, np.float64)
