"""A fitted model as a functional model of Keras 3, made of its own layers and operations."""

from __future__ import annotations

from typing import Any, TypeAlias

import keras
import numpy as np
from keras import layers, ops

from rosenblatt.models.export.decoding import DecodingPlan, make_decoding_plan
from rosenblatt.models.export.feature_plan import make_feature_plan
from rosenblatt.models.export.keras_convolutions import convolutional_layers, per_channel_network, pixel_pooling
from rosenblatt.models.export.keras_dense import dense_network
from rosenblatt.models.export.keras_features import (
    Tensor,
    encode_features,
    make_steps,
    mask_tokens,
    standardize_image,
    standardize_sequence,
)
from rosenblatt.models.export.keras_layers import Block, NetworkLayers, chain, embedding
from rosenblatt.models.export.keras_sequences import sequence_layers, step_pooling
from rosenblatt.models.export.layer_parameters import LayerParameters
from rosenblatt.models.export.signature import FittedModel, MediumInput, Signature, read_signature
from rosenblatt.models.export.single_precision import REST, rounded_columns
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.layers import Embedding, GlobalPooling, PerChannelMLP, Recurrent

Tensors = dict[str, Tensor]  # by name
KerasModel: TypeAlias = keras.Model


def to_keras(model: FittedModel) -> KerasModel:
    """The model as a functional model of Keras.

        network = to_keras(load_model("people.rosenblatt"))
        probabilities = network.predict({"numbers": numbers, "categories": codes})

    It takes a dict of the tensors of `Signature.tensor_names`, numbers as float32 and categories as codes: see
    `inputs.category_codes`. If float32 is too coarse for a column of numbers, such as timestamps, there is one more
    tensor, `numbers_rest`: numbers less their values in float32. The output is (n, K) float32, or (n, T, K) for models
    that predict each step. Layers have names; the output of `trial0_network0_logits` are the logits of a network.
    """
    signature = read_signature(model)
    inputs = _make_inputs(signature, has_rest=bool(columns_with_rest(model, signature)))
    total = None
    for k, trial in enumerate(model.trials):
        prediction = _trial(trial, signature, inputs, f"trial{k}")
        weighted = prediction if len(model.trials) == 1 else prediction * float(trial.weight)
        total = weighted if total is None else total + weighted
    output = layers.Identity(name="predictions", dtype="float32")(total)
    return keras.Model(inputs, output, name="rosenblatt")


def columns_with_rest(model: FittedModel, signature: Signature) -> list[str]:
    """Columns of numbers that float32 is too coarse for."""
    plans = [make_feature_plan(trial.encoder, signature) for trial in model.trials]
    columns = {int(column) for plan in plans for column in rounded_columns(plan)}
    return [signature.numbers[column] for column in sorted(columns)]


def _make_inputs(signature: Signature, *, has_rest: bool) -> Tensors:
    inputs = Tensors()
    if signature.numbers:
        inputs["numbers"] = keras.Input((len(signature.numbers),), dtype="float32", name="numbers")
        if has_rest:
            inputs[REST] = keras.Input((len(signature.numbers),), dtype="float32", name=REST)
    if signature.categories:
        inputs["categories"] = keras.Input((len(signature.categories),), dtype="int64", name="categories")
    for medium in signature.media:
        encoding: Any = medium.encoding
        name = medium.name
        if medium.kind == "image":
            shape = (encoding.side, encoding.side, encoding.channels)
            inputs[name] = keras.Input(shape, dtype="float32", name=name)
            continue
        n_steps = encoding.max_length if medium.is_fixed_length else None
        if medium.kind == "text":
            inputs[name] = keras.Input((n_steps,), dtype="int64", name=name)
        else:
            inputs[name] = keras.Input((n_steps, len(encoding.center)), dtype="float32", name=name)
        inputs[medium.lengths_name] = keras.Input((), dtype="int64", name=medium.lengths_name)
    return inputs


def _trial(trial: TrainedTrial, signature: Signature, inputs: Tensors, name: str) -> Tensor:
    """The mean prediction of networks with the same features and targets."""
    plan, features = make_feature_plan(trial.encoder, signature), None
    if plan.n_features:
        features = encode_features(plan, inputs.get("numbers"), inputs.get(REST), inputs.get("categories"), name)
    media, decoding, predictions = signature.media_of(trial.encoder), make_decoding_plan(trial.target), []
    for k, network in enumerate(trial.networks):
        logits = _logits(trial, network, media, features, inputs, f"{name}_network{k}")
        predictions.append(decode(decoding, logits))
    total = predictions[0]
    for prediction in predictions[1:]:
        total = total + prediction
    return total / len(predictions) if len(predictions) > 1 else total


def _logits(
    trial: TrainedTrial, network: TrainedNetwork, media: tuple[MediumInput, ...], features: Tensor | None,
    inputs: Tensors, name: str,
) -> Tensor:  # fmt: skip
    """The logits (n, K) or (n, T, K) of a network."""
    architecture = network.architecture
    parameters = LayerParameters(architecture, network.theta)
    network_layers = NetworkLayers(parameters, name, float(trial.resolved_spec["dropout"]))
    if isinstance(architecture, DeepArchitecture):
        logits = _deep_logits(network_layers, architecture, media, features, inputs)
    else:
        logits = dense_network(network_layers, architecture)(features)
    network_layers.set_weights()
    return network_layers.make(layers.Identity, "logits")(logits)


def _deep_logits(
    network: NetworkLayers, architecture: DeepArchitecture, media: tuple[MediumInput, ...], features: Tensor | None,
    inputs: Tensors,
) -> Tensor:  # fmt: skip
    """A tower for each image, text or sequence column, whose outputs and the features feed a dense head."""
    towers = [
        _tower(network.inside(f"tower{k}"), architecture, tower_layers, medium)
        for k, (tower_layers, medium) in enumerate(zip(architecture.towers, media, strict=True))
    ]
    head = dense_network(network.inside("head"), architecture.head)

    def logits(*, flip: bool) -> Tensor:
        outputs = [tower(inputs, flip) for tower in towers]
        if features is not None:
            outputs.append(_repeat(features, outputs[0]) if architecture.is_per_step else features)
        return head(ops.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0])

    return (logits(flip=False) + logits(flip=True)) / 2 if architecture.flip_averaging else logits(flip=False)


def _repeat(features: Tensor, steps: Tensor) -> Tensor:
    """Features (n, F) for each of the steps (n, T, C), (n, T, F)."""
    return ops.expand_dims(features, 1) + ops.zeros_like(steps[:, :, :1])


def _tower(
    network: NetworkLayers, architecture: DeepArchitecture, tower_layers: tuple[Any, ...], medium: MediumInput
) -> Any:
    """A function of the inputs, and of whether images are mirrored, to one vector for each row or step."""
    if medium.kind == "image":
        block = _image_tower(network, architecture, tower_layers)

        def image_tower(inputs: Tensors, flip: bool) -> Tensor:
            pixels = inputs[medium.name]
            return block(standardize_image(medium.encoding, ops.flip(pixels, axis=2) if flip else pixels))

        return image_tower
    is_recurrent = any(isinstance(layer, Recurrent) for layer in tower_layers)
    sequence_tower = _recurrent_tower if is_recurrent else _convolutional_tower
    apply = sequence_tower(network, architecture, tower_layers, medium)
    return lambda inputs, _: apply(inputs[medium.name], inputs[medium.lengths_name])


def _image_tower(network: NetworkLayers, architecture: DeepArchitecture, tower_layers: tuple[Any, ...]) -> Block:
    if isinstance(tower_layers[0], PerChannelMLP):
        return per_channel_network(network, tower_layers[0], architecture.activation)
    blocks = list(convolutional_layers(network, tower_layers, architecture.activation, 2))
    return chain([*blocks, pixel_pooling(network, _pooling(tower_layers)), network.dropout()])


def _recurrent_tower(
    network: NetworkLayers, architecture: DeepArchitecture, tower_layers: tuple[Any, ...], medium: MediumInput
) -> Any:
    """Recurrent layers over the steps (n, T, C) or tokens (n, T) of a column."""
    blocks = list(sequence_layers(network, tower_layers, is_bidirectional=architecture.bidirectional))

    def apply(sequence: Tensor, lengths: Tensor) -> Tensor:
        steps = make_steps(sequence, lengths)
        a = _prepare(medium, sequence, steps)
        for block in blocks:
            a = block(a, steps)
        return a

    return apply


def _convolutional_tower(
    network: NetworkLayers, architecture: DeepArchitecture, tower_layers: tuple[Any, ...], medium: MediumInput
) -> Any:
    """Convolutions over the steps or tokens of a column, padded to the maximum length."""
    blocks = list[Block]()
    if isinstance(tower_layers[0], Embedding):
        blocks.append(embedding(network, "embedding", next(network.parameters)["weight"]))
    blocks += convolutional_layers(network, tower_layers, architecture.activation, 1)
    pooling, dropout = step_pooling(network, _pooling(tower_layers)), network.dropout()

    def apply(sequence: Tensor, lengths: Tensor) -> Tensor:
        a = chain(blocks)(_prepare(medium, sequence, make_steps(sequence, lengths)))
        n_steps = ops.ceil(ops.cast(lengths, "float32") / sequence.shape[1] * a.shape[1])
        return dropout(pooling(a, make_steps(a, ops.maximum(n_steps, 1))))

    return apply


def _prepare(medium: MediumInput, sequence: Tensor, steps: Any) -> Tensor:
    if medium.kind == "text":
        return mask_tokens(sequence, steps)
    return standardize_sequence(medium.encoding, sequence, steps)


def _pooling(tower_layers: tuple[Any, ...]) -> str:
    return next(layer.kind for layer in tower_layers if isinstance(layer, GlobalPooling))


def decode(plan: DecodingPlan, logits: Tensor) -> Tensor:
    """Logits to predictions; see `DecodingPlan`."""
    out = logits
    if plan.activation == "softmax":
        out = ops.softmax(out, axis=-1)
    elif plan.activation == "sigmoid":
        out = ops.sigmoid(out)
    elif plan.activation == "exponential":
        out = ops.exp(out)
    if plan.splits_classes:
        out = ops.concatenate([-out if plan.is_sum else 1 - out, out], axis=-1)
    if plan.factors.size:
        out = out * plan.factors.astype(np.float32)
    if plan.is_normalized:
        out = out / ops.sum(out, axis=-1, keepdims=True)
    if plan.is_regression:
        out = out * plan.scale.astype(np.float32) + plan.center.astype(np.float32)
        if plan.log.any():
            out = ops.where(plan.log, ops.expm1(out), out)
        out = ops.minimum(ops.maximum(out, plan.low.astype(np.float32)), plan.high.astype(np.float32))
    return out
