"""Attribute a prediction for one row to the pixels, steps or tokens of its images, sequences and texts.

Integrated gradients (Sundararajan, Taly & Yan 2017) average the gradients along the path from a baseline input of
training means to the row; the attributions add up to the change of the output. Grad-CAM (Selvaraju et al. 2017) weights
the last feature maps of a convolutional network by their gradients. Occlusion (Zeiler & Fergus 2014) covers one part of
the input at a time and measures how much the output decreases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from rosenblatt.data.encoding.encoder import MediaEncoding
from rosenblatt.data.encoding.media_encodings import ImageEncoding, TextEncoding
from rosenblatt.data.media.columns import EncodedInputs
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.errors import TableError, did_you_mean, format_list
from rosenblatt.models.model import Model, to_engine_rows
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.layers import Embedding, GlobalPooling, iter_parameter_layers
from rosenblatt.training.torch.batches import DeviceTable
from rosenblatt.training.torch.engine import load_network, predict_with_flips
from rosenblatt.training.torch.forward import Batch, StackedNetworks
from rosenblatt.training.torch.stack import CPU

Method = Literal["gradients", "grad_cam", "occlusion"]
INTEGRATION_STEPS = 32  # points on the path of integrated gradients
PATCHES_PER_SIDE = 6  # size of an occluded patch: this fraction of the side of an image


@dataclass(frozen=True)
class Attribution:
    """Attribution of a prediction to each pixel, step or token of one column."""

    column: str
    kind: str  # image, text or sequence
    inputs: np.ndarray  # image (H, W, C) as read, or sequence (T, channels) as scaled
    tokens: tuple[str, ...]  # of a text
    values: np.ndarray  # (H, W) or (T,): positive values support the explained answer, negative ones oppose it


@dataclass(frozen=True)
class Explanation:
    """A model's prediction for a row, with the attribution of one of its outputs."""

    answer: str  # the explained class, label or target
    predictions: dict[str, float]  # probabilities, sorted from the largest, or values
    method: Method
    attributions: tuple[Attribution, ...]


def explain_row(
    model: Model,
    frame: pl.DataFrame,
    row: int,
    method: Method = "gradients",
    answer: str | None = None,
    format: TableFormat = DETECT_FORMAT,
    messages: list[str] | None = None,
) -> Explanation:
    """Attribute the prediction for one row, by the networks of the first trial.

    Args:
        model: a model with images, sequences or texts as inputs.
        frame: rows as read; for a forecast, its windows.
        row: number of the row, from 1.
        method: attribution method.
        answer: class, label or target to explain; by default the most probable class or label, else the first target.
        format: how the table is written, as far as it differs from the training table.
        messages: receives what was converted, or read as missing.

    Raises:
        TableError: if there is no such row or answer, or if the method does not fit the network.
    """
    if not 1 <= row <= frame.height:
        raise TableError(
            f"There is no row {row}; the table has {frame.height:,}. Choose a row from 1 to {frame.height:,}."
        )
    if model.target.is_per_step:
        raise TableError(f"Attributions need one prediction for each row, but the task is {model.target.task}.")
    trial = model.trials[0]
    typed = model.schema.read(frame, messages, format)[row - 1 : row]
    predictions = model.predict_typed(typed)[0]
    inputs = cast("EncodedInputs", trial.encoder.encode(typed))
    table = DeviceTable(cast("Any", to_engine_rows(inputs)), trial.networks[0].architecture, CPU)
    batch = table.batch_without_augmentation([np.arange(1)])
    names = [str(name) for name in (model.target.labels or model.target.names)]
    index = _answer_index(model, names, predictions, answer)
    unit, sign = (0, 1 if index else -1) if model.target.task == "binary" else (index, 1)
    attributions = []
    for k, encoding in enumerate(trial.encoder.media_encodings):
        if method == "grad_cam" and not _has_feature_maps(cast("DeepArchitecture", trial.networks[0].architecture), k):
            continue
        attribute = _attribution_methods()[method]
        networks = [load_network(network.architecture, network.theta) for network in trial.networks]
        values = np.mean([attribute(network, batch, k, unit, sign) for network in networks], axis=0)
        attributions.append(_make_attribution(encoding, typed[encoding.column], batch.media[k], values))
    if not attributions:
        raise TableError("Grad-CAM needs a convolutional network for images. Use --method gradients or occlusion.")
    pairs = list(zip(names, predictions.tolist(), strict=False))
    if model.target.task != "regression":
        pairs.sort(key=lambda pair: -pair[1])
    return Explanation(names[index], dict(pairs), method, tuple(attributions))


def _answer_index(model: Model, names: list[str], predictions: np.ndarray, answer: str | None) -> int:
    """Index of the output to explain. Raises TableError for an unknown answer."""
    if answer is None:
        return 0 if model.target.task == "regression" else int(predictions.argmax())
    if answer not in names:
        raise TableError(
            f"There is no answer {answer!r}; there are {format_list(names, 12)}.{did_you_mean(answer, names)}"
        )
    return names.index(answer)


def _make_attribution(encoding: MediaEncoding, cell: pl.Series, medium: Tensor, values: np.ndarray) -> Attribution:
    """The attribution values of a medium, with the image, tokens or sequence that they belong to."""
    tokens, displayed = tuple[str, ...](), np.empty(0)
    if isinstance(encoding, ImageEncoding):
        displayed = encoding.encode(cell).take(np.arange(1))[0]
    elif isinstance(encoding, TextEncoding):
        text = cell.struct.field("text")[0]
        tokens = tuple(text[a:b] for a, b in encoding.vocabulary.spans(text))[: len(values)]
        values = values[: len(tokens)]
    else:
        displayed = medium[0, 0].numpy()
    return Attribution(encoding.column, encoding.kind, displayed, tokens, values)


def _attribution_methods() -> dict[str, Callable[[StackedNetworks, Batch, int, int, int], np.ndarray]]:
    return {"gradients": _gradients, "grad_cam": _grad_cam, "occlusion": _occlusion}


def _replace_medium(batch: Batch, k: int, medium: Tensor) -> Batch:
    """Replace the k-th medium of a batch of one row, and repeat the others for each of its rows."""
    n_rows = medium.shape[1]

    def expand(a: Tensor) -> Tensor:
        return a.expand(-1, n_rows, *a.shape[2:])

    media = tuple(medium if index == k else expand(original) for index, original in enumerate(batch.media))
    lengths = tuple(None if length is None else expand(length) for length in batch.lengths)
    return batch._replace(x=expand(batch.x), media=media, lengths=lengths)


def _gradients(net: StackedNetworks, batch: Batch, k: int, unit: int, sign: int) -> np.ndarray:
    """Integrated gradients of a signed output, (H, W) or (T,), from a baseline of zeros, the training mean."""
    medium = batch.media[k]
    architecture = cast("DeepArchitecture", net.architecture)
    embeds = isinstance(architecture.towers[k][0], Embedding)
    inputs = _embed_tokens(net, architecture, k, medium) if embeds else medium
    alphas = (torch.arange(INTEGRATION_STEPS, dtype=torch.float32) + 0.5) / INTEGRATION_STEPS
    path = (inputs.detach() * alphas.view(1, -1, *(1,) * (inputs.dim() - 2))).requires_grad_()
    z = (
        _forward_from_embedding(net, _replace_medium(batch, k, path), k)
        if embeds
        else predict_with_flips(net, _replace_medium(batch, k, path))
    )
    (gradient,) = torch.autograd.grad(sign * z[0, :, unit].sum(), path)
    attribution = (gradient.mean(dim=1) * inputs[:, 0])[0]
    return np.asarray(attribution.sum(dim=0 if medium.dim() == 5 else -1).detach().numpy())


def _first_layer(architecture: DeepArchitecture, k: int) -> int:
    """Index of the first layer of the k-th tower."""
    return sum(1 for tower in architecture.towers[:k] for _ in iter_parameter_layers(tower))


def _embed_tokens(net: StackedNetworks, architecture: DeepArchitecture, k: int, tokens: Tensor) -> Tensor:
    return net.values[_first_layer(architecture, k), "weight"][0][tokens[0]][None]


def _forward_from_embedding(net: StackedNetworks, batch: Batch, k: int) -> Tensor:
    """Forward pass with a k-th medium that is embedded already."""
    architecture, layer_counter, tower_outputs = cast("DeepArchitecture", net.architecture), count(), list[Tensor]()
    for index, (tower, medium, lengths) in enumerate(zip(architecture.towers, batch.media, batch.lengths, strict=True)):
        if index == k:
            next(layer_counter)
            tower_outputs.append(net.forward_tower(tower[1:], medium, lengths, layer_counter, None))
        else:
            tower_outputs.append(net.forward_tower(tower, medium, lengths, layer_counter, None))
    tower_outputs += [batch.x] * bool(batch.x.shape[-1])
    return net.forward_dense(architecture.head, torch.cat(tower_outputs, dim=-1), next(layer_counter), None)


def _has_feature_maps(architecture: DeepArchitecture, k: int) -> bool:
    """Whether the k-th tower has convolutional feature maps of images."""
    return architecture.media[k].kind == "image" and any(
        isinstance(layer, GlobalPooling) for layer in architecture.towers[k]
    )


def _grad_cam(net: StackedNetworks, batch: Batch, k: int, unit: int, sign: int) -> np.ndarray:
    """Grad-CAM of a signed output, (H, W), without negative values."""
    medium, feature_maps = batch.media[k].clone().requires_grad_(), list[Tensor]()
    architecture, layer_counter, tower_outputs = cast("DeepArchitecture", net.architecture), count(), list[Tensor]()
    for index, (tower, original, lengths) in enumerate(
        zip(architecture.towers, batch.media, batch.lengths, strict=True)
    ):
        maps_out = feature_maps if index == k else None
        tower_outputs.append(
            net.forward_tower(tower, medium if index == k else original, lengths, layer_counter, None, maps_out)
        )
    tower_outputs += [batch.x] * bool(batch.x.shape[-1])
    z = net.forward_dense(architecture.head, torch.cat(tower_outputs, dim=-1), next(layer_counter), None)
    (gradient,) = torch.autograd.grad(sign * z[0, 0, unit], feature_maps[0])
    heatmap = (gradient.mean(dim=(2, 3), keepdim=True) * feature_maps[0]).sum(dim=1, keepdim=True).clamp(min=0)
    upsampled = torch.nn.functional.interpolate(heatmap, size=medium.shape[3:], mode="bilinear", align_corners=False)
    return np.asarray(upsampled[0, 0].detach().numpy())


def _occlusion(net: StackedNetworks, batch: Batch, k: int, unit: int, sign: int) -> np.ndarray:
    """Decrease of a signed output if a part is replaced by zeros (an unknown token in texts), (H, W) or (T,)."""
    medium = batch.media[k]
    is_image = medium.dim() == 5
    sides = medium.shape[3:] if is_image else medium.shape[2:3]
    parts = [_patch_slices(side) for side in sides]
    occluded, regions = [], []
    for rows in parts[0]:
        for columns in parts[1] if is_image else [slice(None)]:
            masked = medium.clone()
            index = (..., rows, columns) if is_image else (slice(None), slice(None), rows)
            masked[index] = 0
            occluded.append(masked)
            regions.append((rows, columns) if is_image else rows)
    with torch.inference_mode():
        reference = predict_with_flips(net, batch)[0, 0, unit]
        z = predict_with_flips(net, _replace_medium(batch, k, torch.cat(occluded, dim=1)))[0, :, unit]
    drops, counts = np.zeros(tuple(sides)), np.zeros(tuple(sides))
    for region, change in zip(regions, (sign * (reference - z)).tolist(), strict=True):
        drops[region] += change
        counts[region] += 1
    return drops / np.maximum(counts, 1)


def _patch_slices(side: int) -> list[slice]:
    """Patches along a side that overlap by half; single steps if the side is short."""
    size = max(1, side // PATCHES_PER_SIDE) if side > 4 * PATCHES_PER_SIDE else 1
    starts = [*range(0, side - size, max(1, size // 2)), side - size]
    return [slice(start, start + size) for start in starts]
