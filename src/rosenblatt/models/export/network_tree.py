"""A model as a tree of dictionaries, lists, numbers and arrays, which formats without a graph of their own write.

    {"trials": [{"weight": 1.0, "features": {...}, "networks": [{"kind": "dense", "layers": [...]}], "decoding": {}}]}

`features` has the arrays of a `FeaturePlan`, `decoding` those of a `DecodingPlan`. Layers are in the order in which
they are applied; `numpy_network` computes what they say.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from rosenblatt.data.encoding.media_encodings import TextEncoding
from rosenblatt.models.export.decoding import MAX_EXPONENT, make_decoding_plan
from rosenblatt.models.export.feature_plan import SMOOTH_LIMIT, FeaturePlan, make_feature_plan
from rosenblatt.models.export.layer_parameters import LayerParameters
from rosenblatt.models.export.signature import FittedModel, MediumInput, Signature
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.networks.layers import (
    MAX_NORM_GROUPS,
    Activation,
    Conv,
    Dropout,
    Embedding,
    GlobalPooling,
    LayerNorm,
    Norm,
    PerChannelMLP,
    Pool,
    Recurrent,
    Residual,
)
from rosenblatt.training.compiled.kernel_perceptron import KERNELS
from rosenblatt.training.compiled.normalization import EPSILON

Tree = dict[str, Any]


def make_network_tree(model: FittedModel, signature: Signature) -> Tree:
    """The networks of a model with their encoding and decoding."""
    return {"trials": [_trial(trial, signature) for trial in model.trials]}


def _trial(trial: TrainedTrial, signature: Signature) -> Tree:
    media = signature.media_of(trial.encoder)
    return {
        "weight": trial.weight,
        "features": _features(make_feature_plan(trial.encoder, signature)),
        "networks": [_network(network, media) for network in trial.networks],
        "decoding": _fields(make_decoding_plan(trial.target)) | {"max_exponent": MAX_EXPONENT},
    }


def _fields(plan: Any) -> Tree:
    return {field.name: getattr(plan, field.name) for field in fields(plan)}


def _features(plan: FeaturePlan) -> Tree:
    quantiles = [{"column": column, "quantiles": values} for column, values in plan.quantile_columns]
    tables = list(plan.category_tables)
    return _fields(plan) | {"quantile_columns": quantiles, "category_tables": tables, "smooth_limit": SMOOTH_LIMIT}


def _network(network: TrainedNetwork, media: tuple[MediumInput, ...]) -> Tree:
    architecture = network.architecture
    parameters = LayerParameters(architecture, network.theta)
    if not isinstance(architecture, DeepArchitecture):
        return _dense(architecture, parameters)
    towers = [
        _tower(layers, medium, parameters, architecture)
        for layers, medium in zip(architecture.towers, media, strict=True)
    ]
    return {
        "kind": "towers",
        "towers": towers,
        "head": _dense(architecture.head, parameters),
        "flip_averaging": architecture.flip_averaging,
        "is_per_step": architecture.is_per_step,
    }


def _dense(architecture: DenseArchitecture, parameters: LayerParameters) -> Tree:
    values, sizes = [next(parameters) for _ in architecture.sizes[1:]], architecture.sizes
    if architecture.activation in KERNELS:
        return {
            "kind": "kernel",
            "kernel": architecture.activation,
            "gamma": architecture.gamma,
            "degree": architecture.degree,
            "support_rows": values[0]["weight"].T,
            "dual_coefficients": values[1]["weight"],
        }
    hidden = {"activation": architecture.activation, "normalization": architecture.normalization, "epsilon": EPSILON}
    output = {"activation": "identity", "normalization": "none", "residual": False}
    scale = {"scale": values[0].pop("scale")} if "scale" in values[0] else {}
    layers = [
        layer | hidden | {"residual": architecture.residual and k > 0 and sizes[k] == sizes[k + 1]}
        for k, layer in enumerate(values[:-1])
    ]
    return {"kind": "dense", **scale, "layers": [*layers, values[-1] | output]}


def _tower(
    layers: tuple[Any, ...], medium: MediumInput, parameters: LayerParameters, architecture: DeepArchitecture
) -> Tree:
    encoding = medium.encoding
    tower: Tree = {"kind": medium.kind, "input": medium.name, "lengths": medium.lengths_name}
    if not isinstance(encoding, TextEncoding):
        tower |= {"center": np.asarray(encoding.center, np.float64), "factor": 1 / np.asarray(encoding.scale)}
    return tower | {"layers": _layers(layers, parameters, architecture)}


def _layers(layers: tuple[Any, ...], parameters: LayerParameters, architecture: DeepArchitecture) -> list[Tree]:
    return [_layer(layer, parameters, architecture) for layer in layers if not isinstance(layer, Dropout)]


def _layer(layer: Any, parameters: LayerParameters, architecture: DeepArchitecture) -> Tree:
    match layer:
        case Conv():
            options = {"stride": list(layer.stride), "dilation": layer.dilation, "groups": layer.groups}
            return {"layer": "convolution", **options, **next(parameters)}
        case Norm():
            groups = max(g for g in range(1, MAX_NORM_GROUPS + 1) if layer.channels % g == 0)
            groups = groups if layer.kind == "group" else 1
            return {"layer": "channel_norm", "kind": layer.kind, "groups": groups, "epsilon": EPSILON} | next(
                parameters
            )
        case Activation():
            return {"layer": "activation", "activation": architecture.activation}
        case Pool():
            return {"layer": "pooling", "kind": layer.kind, "size": list(layer.size)}
        case Residual():
            body = _layers(layer.body, parameters, architecture)
            shortcut = _layer(layer.shortcut, parameters, architecture) if layer.shortcut else None
            return {"layer": "residual", "body": body, "shortcut": shortcut}
        case _:
            return _sequence_layer(layer, parameters, architecture)


def _sequence_layer(layer: Any, parameters: LayerParameters, architecture: DeepArchitecture) -> Tree:
    match layer:
        case Embedding():
            return {"layer": "embedding", **next(parameters)}
        case Recurrent():
            directions = [dict(next(parameters)) for _ in range(layer.directions)]
            return {"layer": "recurrent", "cell": layer.cell, "directions": directions}
        case LayerNorm():
            return {"layer": "layer_norm", "normalization": "layer", "epsilon": EPSILON} | next(parameters)
        case PerChannelMLP():
            values = [dict(next(parameters)) for _ in layer.sizes[1:]]
            return {"layer": "per_channel_mlp", "activation": architecture.activation, "layers": values}
        case GlobalPooling():
            weight = next(parameters) if layer.kind == "attention" else {}
            return {
                "layer": "global_pooling",
                "kind": layer.kind,
                "is_bidirectional": architecture.bidirectional,
            } | weight
        case _:
            raise TypeError(f"no tree for a layer of type {type(layer).__name__}")
