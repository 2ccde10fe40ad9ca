"""A fitted model as an ONNX graph: cells in, predictions out."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from rosenblatt.errors import ExportError
from rosenblatt.models.export.decoding import MAX_EXPONENT, DecodingPlan, make_decoding_plan
from rosenblatt.models.export.feature_plan import make_feature_plan
from rosenblatt.models.export.layer_parameters import LayerParameters
from rosenblatt.models.export.onnx_features import (
    category_codes,
    features,
    masked_tokens,
    standardized_image,
    standardized_steps,
)
from rosenblatt.models.export.onnx_graph import DOUBLE, FLOAT, INT64, ML_DOMAIN, Graph, axes, float32, float64
from rosenblatt.models.export.onnx_layers import (
    ConvolutionalTower,
    dense_network,
    embedding,
    per_channel_network,
    pixel_pooling,
    recurrent_layers,
    step_pooling,
)
from rosenblatt.models.export.signature import FittedModel, MediumInput, Signature, read_signature
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.layers import GlobalPooling, PerChannelMLP, Recurrent

OPSET = 20  # of ai.onnx: the first with Gelu; onnxruntime reads it from version 1.17
ML_OPSET = 3  # of ai.onnx.ml
IR_VERSION = 9  # of the file, as of onnx 1.15
SIGNATURE_KEY = "rosenblatt"  # of the metadata of a file: the signature
OUTPUT = "predictions"
MAX_BYTES = 2**31 - 2**20  # of parameters: protobuf cannot write messages of 2 GiB
OnnxModel: TypeAlias = ModelProto
Tensors = dict[str, str]  # names of results, by name of the tensor


def to_onnx(model: FittedModel, path: str | Path | None = None) -> ModelProto:
    """The model as an ONNX graph, which is written to a file if a path is given.

        proto = to_onnx(load_model("people.rosenblatt"))
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        (probabilities,) = session.run(None, {"numbers": numbers, "categories": categories})

    Raises ExportError if the model is too large for a file of ONNX.
    """
    signature = read_signature(model)
    graph = Graph()
    tensors = {name: name for name in signature.tensor_names}
    codes = category_codes(graph, signature.categories, "categories") if signature.categories else []
    trials = [
        _trial(graph.within(f"trials.{k}"), trial, signature, tensors, codes) for k, trial in enumerate(model.trials)
    ]
    _weighted_mean(graph, trials, [trial.weight for trial in model.trials])
    if graph.n_bytes > MAX_BYTES:
        raise ExportError(
            f"A file of ONNX holds at most 2 GiB, but the parameters take {graph.n_bytes / 2**30:.1f} GiB. Export "
            "fewer networks, or to another format."
        )
    proto = helper.make_model(
        graph.to_proto("rosenblatt", _input_types(signature), [_output_type(signature)]),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="rosenblatt",
        producer_version=version("rosenblatt"),
    )
    helper.set_model_props(proto, {SIGNATURE_KEY: json.dumps(signature.to_json())})
    onnx.checker.check_model(proto, full_check=True)
    if path is not None:
        Path(path).write_bytes(proto.SerializeToString())
    return proto


def write(model: FittedModel, signature: Signature, path: Path) -> Signature:
    """Write a graph to a file; the numbers of rows and steps are dynamic."""
    to_onnx(model, path)
    return signature


def _input_types(signature: Signature) -> list[ValueInfoProto]:
    types: list[tuple[str, int, list[Any]]] = []
    if signature.numbers:
        types.append(("numbers", DOUBLE, ["rows", len(signature.numbers)]))
    if signature.categories:
        types.append(("categories", TensorProto.STRING, ["rows", len(signature.categories)]))
    for medium in signature.media:
        encoding: Any = medium.encoding
        if medium.kind == "image":
            types.append((medium.name, FLOAT, ["rows", encoding.channels, encoding.side, encoding.side]))
            continue
        n_steps = encoding.max_length if medium.is_fixed_length else f"{medium.name} steps"
        is_text = medium.kind == "text"
        shape = ["rows", n_steps] if is_text else ["rows", n_steps, len(encoding.center)]
        types += [(medium.name, INT64 if is_text else FLOAT, shape), (medium.lengths_name, INT64, ["rows"])]
    return [helper.make_tensor_value_info(*type_) for type_ in types]


def _output_type(signature: Signature) -> ValueInfoProto:
    steps = [f"{signature.media[0].name} steps"] if signature.is_per_step else []
    return helper.make_tensor_value_info(OUTPUT, DOUBLE, ["rows", *steps, len(signature.outputs)])


def _weighted_mean(graph: Graph, predictions: list[str], weights: list[float]) -> None:
    if len(predictions) == 1:
        graph.add("Identity", predictions[0], name=OUTPUT)
        return
    weighted = [
        graph.add("Mul", prediction, float64(weight), name=f"trials.{k}.weighted")
        for k, (prediction, weight) in enumerate(zip(predictions, weights, strict=True))
    ]
    graph.add("Sum", *weighted, name=OUTPUT)


def _mean(graph: Graph, results: list[str], count: np.ndarray) -> str:
    """The mean; onnxruntime has no Mean of float64."""
    return graph.add("Div", graph.add("Sum", *results, name="total"), count, name="mean")


def _trial(graph: Graph, trial: TrainedTrial, signature: Signature, tensors: Tensors, codes: list[str]) -> str:
    """The mean prediction of the networks of a trial."""
    plan, x = make_feature_plan(trial.encoder, signature), None
    if plan.n_features:
        x = features(graph, plan, tensors.get("numbers", ""), codes)
    media, decoding = signature.media_of(trial.encoder), make_decoding_plan(trial.target)
    predictions = []
    for k, network in enumerate(trial.networks):
        scope = graph.within(f"networks.{k}")
        logits = _logits(scope, network, media, x, tensors)
        predictions.append(_decoded(scope.within("decoder"), decoding, logits))
    return _mean(graph, predictions, float64(len(predictions))) if len(predictions) > 1 else predictions[0]


def _logits(
    graph: Graph, network: TrainedNetwork, media: tuple[MediumInput, ...], x: str | None, tensors: Tensors
) -> str:
    architecture = network.architecture
    if not isinstance(architecture, DeepArchitecture):
        assert x is not None  # noqa: S101 - for the type checker
        return dense_network(graph, architecture, LayerParameters(architecture, network.theta), x)
    logits = _deep_network(graph, network, media, x, tensors)
    if not architecture.flip_averaging:
        return logits
    images = [medium.name for medium in media if medium.kind == "image"]
    last = np.iinfo(np.int64).min  # the position before the first
    flipped = {
        name: graph.add("Slice", tensors[name], axes(-1), axes(last), axes(3), axes(-1), name=f"{name}.flipped")
        for name in images
    }
    return _mean(graph, [logits, _deep_network(graph, network, media, x, tensors | flipped)], float32(2))


def _deep_network(
    graph: Graph, network: TrainedNetwork, media: tuple[MediumInput, ...], x: str | None, tensors: Tensors
) -> str:
    """A tower for each image, text or sequence column, whose outputs and the features feed a dense head."""
    architecture: Any = network.architecture
    parameters = LayerParameters(architecture, network.theta)
    outputs = [
        _tower(graph.within(f"towers.{k}"), architecture, layers, parameters, medium, tensors)
        for k, (layers, medium) in enumerate(zip(architecture.towers, media, strict=True))
    ]
    if x is not None:
        outputs.append(_repeat_steps(graph, x, outputs[0]) if architecture.is_per_step else x)
    joined = graph.add("Concat", *outputs, name="joined", axis=-1) if len(outputs) > 1 else outputs[0]
    return dense_network(
        graph.within("head"), architecture.head, parameters, joined, is_per_step=architecture.is_per_step
    )


def _repeat_steps(graph: Graph, x: str, a: str) -> str:
    """Features (n, F) repeated for each step of a (n, T, C)."""
    steps = graph.add("Slice", graph.add("Shape", a, name="shape"), axes(1), axes(2), name="n_steps")
    shape = graph.add("Concat", axes(1), steps, axes(1), name="repeats", axis=0)
    return graph.add("Tile", graph.add("Unsqueeze", x, axes(1), name="one_step"), shape, name="repeated")


def _tower(
    graph: Graph, architecture: DeepArchitecture, layers: tuple[Any, ...], parameters: LayerParameters,
    medium: MediumInput, tensors: Tensors,
) -> str:  # fmt: skip
    encoding: Any = medium.encoding
    steps, lengths, activation = tensors[medium.name], tensors.get(medium.lengths_name, ""), architecture.activation
    if medium.kind == "image":
        pixels = standardized_image(graph, encoding, steps)
        if isinstance(layers[0], PerChannelMLP):
            return per_channel_network(graph, layers[0], parameters, activation, pixels)
        tower = ConvolutionalTower(parameters, activation, (encoding.side, encoding.side))
        pooling = next(layer for layer in layers if isinstance(layer, GlobalPooling))
        return pixel_pooling(graph, pooling.kind, tower.add(graph, layers, pixels))
    a = (
        masked_tokens(graph, steps, lengths)
        if medium.kind == "text"
        else standardized_steps(graph, encoding, steps, lengths)
    )
    if any(isinstance(layer, Recurrent) for layer in layers):
        return recurrent_layers(graph, layers, parameters, a, lengths)
    if medium.kind == "text":
        a = embedding(graph.within("embedding"), next(parameters), a)
    return _convolved_steps(
        graph, layers, ConvolutionalTower(parameters, activation, (encoding.max_length, 1)), a, lengths
    )


def _convolved_steps(graph: Graph, layers: tuple[Any, ...], tower: ConvolutionalTower, a: str, lengths: str) -> str:
    """Convolutions over the steps of a (n, T, C), padded to the maximum length, and their pooling."""
    n_steps = tower.sides[0]
    a = graph.add("Transpose", a, name="channels", perm=[0, 2, 1])
    a = tower.add(graph, layers, graph.add("Unsqueeze", a, axes(3), name="columns"))
    a = graph.add("Transpose", graph.add("Squeeze", a, axes(3), name="squeezed"), name="steps", perm=[0, 2, 1])
    ratio = graph.add("Div", graph.cast(lengths, FLOAT, "lengths"), float32(n_steps), name="fraction")
    rest = graph.add("Ceil", graph.add("Mul", ratio, float32(tower.sides[0]), name="part"), name="rounded")
    rest = graph.cast(graph.add("Max", rest, float32(1), name="at_least_one"), INT64, "n_steps")
    pooling = next(layer for layer in layers if isinstance(layer, GlobalPooling))
    return step_pooling(graph, pooling, a, rest)


def _decoded(graph: Graph, plan: DecodingPlan, logits: str) -> str:
    """Logits to predictions (n, K) float64; see `DecodingPlan`."""
    operators = {"softmax": "Softmax", "sigmoid": "Sigmoid", "exponential": "Exp"}  # softmax along the last axis
    if plan.activation in operators:
        logits = graph.add(operators[plan.activation], logits, name=plan.activation)
    out = graph.cast(logits, DOUBLE, "double")
    if plan.splits_classes:
        other = graph.add("Neg", out, name="other") if plan.is_sum else graph.add("Sub", float64(1), out, name="other")
        out = graph.add("Concat", other, out, name="classes", axis=-1)
    if plan.factors.size:
        out = graph.add("Mul", out, plan.factors, name="adjusted")
    if plan.is_normalized:
        out = graph.add("Div", out, graph.add("ReduceSum", out, axes(-1), name="sum"), name="normalized")
    return _values(graph, plan, out) if plan.is_regression else out


def _values(graph: Graph, plan: DecodingPlan, out: str) -> str:
    out = graph.add("Add", graph.add("Mul", out, plan.scale, name="scaled"), plan.center, name="centered")
    if plan.log.any():
        exponent = graph.add("Min", out, float64(MAX_EXPONENT), name="exponent")
        values = graph.add("Sub", graph.add("Exp", exponent, name="exp"), float64(1), name="expm1")
        out = graph.add("Where", plan.log, values, out, name="values")
    return graph.add("Min", graph.add("Max", out, plan.low, name="low"), plan.high, name="high")
